"""Whether settings of different blocks go together, for each kind of items. What does not is a ValueError that names both keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nearfar.recipe.audio import AudioFolderSource, AudioTableSource
from nearfar.recipe.data import ImagesSource, ImageTableSource
from nearfar.recipe.identity import IdentityMethodSettings
from nearfar.recipe.image_encoders import CnnEncoder
from nearfar.recipe.item_fits import seconds_fit, window_fits
from nearfar.recipe.joint_fits import joint_fits
from nearfar.recipe.methods import Classifier, SupCon
from nearfar.recipe.modality import Modality
from nearfar.recipe.text_fits import text_fits
from nearfar.recipe.views import Views

if TYPE_CHECKING:
    from nearfar.recipe.schema import Recipe


def image_fits(recipe: Recipe) -> None:
    """Refuse settings of pictures that do not go together.

    Args:
        recipe: for pictures.

    Raises:
        ValueError: two settings do not; it names them and the mend.
    """
    source, frontend, views, encoder, method = recipe.of_images
    if views.local is not None and not method.takes_crops:
        raise ValueError(f"views.local are of no use to method '{method.kind}': leave them out, or choose swav")
    if method.needs_labels:
        named = source.columns.label_name or source.columns.label if isinstance(source, ImageTableSource) else None
        _has_labels(recipe, named)
    if views.local is not None and views.local.size >= frontend.size:
        raise ValueError(
            f"views.local.size is {views.local.size}, but frontend.size is {frontend.size}: local views are smaller"
        )
    if views.local is not None and isinstance(encoder, CnnEncoder) and encoder.pool == "map":
        raise ValueError("encoder.pool is map, which takes views of one size: leave views.local out, or set it to mean")
    _keeps_at_most(recipe, getattr(encoder, "output_dim", None))


def audio_fits(recipe: Recipe) -> None:
    """Refuse settings of recordings that do not go together.

    Args:
        recipe: for recordings of sound.

    Raises:
        ValueError: two settings do not; it names them and the mend.
    """
    source, frontend, views, encoder, method = recipe.of_audio
    if method.needs_labels:
        _has_labels(recipe, source.columns.label if isinstance(source, AudioTableSource) else None)
    seconds_fit(frontend, views)
    _is_not_compressed(recipe)
    _keeps_at_most(recipe, encoder.output_dim)


def series_fits(recipe: Recipe) -> None:
    """Refuse settings of series that do not go together.

    Args:
        recipe: for series.

    Raises:
        ValueError: two settings do not; it names them and the mend.
    """
    _, frontend, _, encoder, _, _ = recipe.of_series
    window_fits(frontend, encoder)
    if recipe.data.split.by != "random":
        raise ValueError("data.split.by is for text and pictures: series are split in time; leave it out")
    if recipe.export.dim is not None:
        raise ValueError(
            "export.dim is for text and pictures: leave it out; encoder.dim and encoder.width say how small it is"
        )
    _is_not_compressed(recipe)


def table_fits(recipe: Recipe) -> None:
    """Refuse settings of rows that do not go together.

    Args:
        recipe: for rows of tables.

    Raises:
        ValueError: two settings do not; it names them and the mend.
    """
    _is_not_compressed(recipe)
    _keeps_at_most(recipe, recipe.of_table.encoder.output_dim)


def events_fits(recipe: Recipe) -> None:
    """Refuse settings of events that do not go together.

    Args:
        recipe: for what users did.

    Raises:
        ValueError: two settings do not; it names them and the mend.
    """
    source, _, views, _, method, recommend = recipe.of_events
    if recommend.facts and source.items is None:
        raise ValueError("recommend.facts names columns of a table of items: say in data.source.items which it is")
    if method.cosine and method.loss in ("gbce", "bce"):
        raise ValueError(
            f"method.loss {method.loss} is for dot products: set method.cosine to false, or choose another"
        )
    if source.columns.user is None and views.weight:
        raise ValueError("views are of histories, but data.source.columns.user is null: set views.weight to 0")
    if recipe.export.dim is not None:
        raise ValueError("export.dim is for other items: leave it out; encoder.dim says how small the vectors are")
    _is_not_compressed(recipe)


FITS: dict[Modality, Callable[[Recipe], None]] = {
    "text": text_fits,
    "image": image_fits,
    "audio": audio_fits,
    "series": series_fits,
    "table": table_fits,
    "events": events_fits,
    "joint": joint_fits,
}
"""What is asked of a recipe of each kind."""


def identity_fits(recipe: Recipe) -> None:
    """Refuse settings that do not go with learning who is who, and a method of identities without them.

    Args:
        recipe: of any kind.

    Raises:
        ValueError: two settings do not go together; it names them and the mend.
    """
    pairing, method = recipe.identity, recipe.method
    if pairing is None:
        if isinstance(method, IdentityMethodSettings):
            raise ValueError(
                f"method '{method.kind}' needs several samples of each identity in a batch: set data.pairings to [{{kind: identity}}]"
            )
        return
    learns = isinstance(method, SupCon | IdentityMethodSettings)
    if not learns:
        why = "learns classes" if isinstance(method, Classifier) else "does not learn from labels"
        raise ValueError(
            f"the pairing 'identity' is for methods that learn who is who, but '{method.kind}' {why}: choose sup_con, arc_face or "
            "triplet, or set data.pairings to [{kind: views}]"
        )
    size, samples = recipe.train.batch_size, pairing.samples
    if size % samples or size < 2 * samples:
        fitting = max(2, round(size / samples)) * samples
        raise ValueError(
            f"train.batch_size is {size}, but a batch of the pairing 'identity' holds whole identities of {samples} samples, at least "
            f"two: set it to a multiple of {samples}, such as {fitting}"
        )
    if pairing.turned > 1 and recipe.modality != "image":
        raise ValueError("the key turned of the pairing 'identity' is for pictures: leave it out")
    if recipe.data.labels_per_class is not None:
        raise ValueError("data.labels_per_class is not for the pairing 'identity': leave it out")
    if isinstance(recipe.views, Views) and recipe.views.second is not None:
        raise ValueError("the pairing 'identity' takes one view of each sample: leave views.second out")


def _has_labels(recipe: Recipe, column: str | None) -> None:
    """Refuse a source that says of nothing what it is.

    Args:
        recipe: for pictures or recordings.
        column: of a table, the column of labels.
    """
    source = recipe.data.source
    if isinstance(source, ImagesSource | AudioFolderSource) and source.labels == "none":
        key = "data.source.labels to folder"
    elif isinstance(source, ImageTableSource | AudioTableSource) and column is None:
        key = "data.source.columns.label"
    else:
        return
    other = "" if recipe.identity is not None else ", or choose another such as simclr"
    raise ValueError(f"method '{recipe.method.kind}' learns from labels: set {key}{other}")


def _is_not_compressed(recipe: Recipe) -> None:
    if recipe.compress is not None:
        raise ValueError(
            "compress is for text and pictures: leave it out; encoder.dim and encoder.width say how small it is"
        )


def _keeps_at_most(recipe: Recipe, output_dim: int | None) -> None:
    if recipe.export.dim is not None and output_dim is not None and recipe.export.dim > output_dim:
        raise ValueError(f"export.dim is {recipe.export.dim}, but the encoder gives only {output_dim} dimensions")
