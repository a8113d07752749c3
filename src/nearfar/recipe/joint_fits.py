"""Whether settings of towers go together. What does not is a ValueError that names the keys and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nearfar.recipe.image_encoders import TimmEncoder
from nearfar.recipe.item_fits import seconds_fit, window_fits
from nearfar.recipe.joint import (
    AnyTower,
    AudioTower,
    BundleEncoder,
    Clip,
    HuggingFaceAudioEncoder,
    HuggingFaceImageEncoder,
    ImageTower,
    JointEncoder,
    PairFile,
    PairsSource,
    SeriesTower,
    TextTower,
)
from nearfar.recipe.text import HuggingFaceEncoder, StaticEncoder
from nearfar.recipe.text_fits import tokenizer_fits

if TYPE_CHECKING:
    from nearfar.recipe.schema import Recipe

_TEMPERATURES = {"clip": (0.01, 1.0), "siglip": (0.005, 1.0)}
"""What a learned temperature is kept within."""


def towers_stand_alone(recipe: Recipe) -> None:
    """Refuse towers beside what is for one kind of items, and what is for towers where there are none.

    Args:
        recipe: of any kind.

    Raises:
        ValueError: it names the keys and the mend.
    """
    pairs = isinstance(recipe.data.source, PairsSource)
    if not recipe.towers:
        if pairs:
            raise ValueError(
                "data.source 'pairs' is read by towers, and there are none: set towers, one for each side of a row, "
                "such as towers: {text: {}, image: {}}"
            )
        if recipe.modality == "joint":
            raise ValueError(
                "frontend 'joint' is that of towers, and there are none: set towers, or another frontend.kind"
            )
        if recipe.export.gap != "keep":
            raise ValueError("export.gap is for several modalities in one space: leave it out")
        return
    if not pairs:
        raise ValueError(
            f"towers learn from tables of pairs, but data.source is '{recipe.data.source.kind}': set data.source.kind to pairs, or leave "
            "towers out"
        )
    if recipe.modality != "joint":
        raise ValueError(
            "frontend is set beside towers, each of which has its own: leave it out, or set towers.NAME.frontend"
        )
    own = None if isinstance(recipe.encoder, JointEncoder) else recipe.encoder
    if own is not None:
        raise ValueError(
            f"encoder '{own.kind}' is set beside towers, each of which has its own: leave all but encoder.dim out, and set "
            "towers.NAME.encoder"
        )
    if recipe.views is not None:
        raise ValueError(
            "views are set beside towers, each of which has its own: leave them out, or set towers.NAME.views"
        )


def joint_fits(recipe: Recipe) -> None:
    """Refuse settings of towers that do not go together.

    Args:
        recipe: for several modalities in one space.

    Raises:
        ValueError: two settings do not; it names them and the mend.
    """
    source, pairing, towers, encoder, method = recipe.of_joint
    if len(towers) < 2:
        raise ValueError("towers has only one: a space of several modalities needs two at least")
    _files_fit(source.files, towers)
    _towers_meet(source.files, towers, pairing.anchor)
    if pairing.captions > 0 and not any(isinstance(tower, TextTower) for tower in towers.values()):
        raise ValueError("captions of the pairing 'partners' are texts, but no tower is for text: leave them out")
    for name, tower in towers.items():
        _tower_fits(name, tower, encoder.dim)
    _split_fits(recipe, source.files)
    low, high = _TEMPERATURES[method.kind]
    if not low <= method.temperature.initial <= high:
        raise ValueError(
            f"method.temperature.initial is {method.temperature.initial:g}, but that of {method.kind} lies between {low:g} and {high:g}"
            + ("" if isinstance(method, Clip) else " (it divides the cosines)")
        )
    if recipe.compress is not None:
        raise ValueError(
            "compress is for text and pictures: leave it out; the encoders of towers say how small they are"
        )
    if recipe.export.dim is not None:
        raise ValueError("export.dim is for one encoder: leave it out; encoder.dim says how small the vectors are")


def _files_fit(files: tuple[PairFile, ...], towers: Mapping[str, AnyTower]) -> None:
    """Every side of a file is a tower, and every tower a side of a file."""
    for number, file in enumerate(files):
        for name in file.columns:
            if name not in towers:
                raise ValueError(
                    f"data.source.files.{number}.columns.{name} has no tower: set towers.{name}, or name one of {', '.join(towers)}"
                )
    for name in towers:
        if not any(name in file.columns for file in files):
            raise ValueError(
                f"towers.{name} is in no file: name its column in data.source.files.0.columns.{name}, or leave it out"
            )


def _towers_meet(files: tuple[PairFile, ...], towers: Mapping[str, AnyTower], anchor: str | None) -> None:
    """All towers hang together by the pairs that are learned from."""
    if anchor is not None and anchor not in towers:
        raise ValueError(
            f"anchor of the pairing 'partners' is {anchor}, which is no tower: name one of {', '.join(towers)}"
        )
    first = anchor or next(iter(towers))
    met, grown = {first}, True
    while grown:
        known = len(met)
        for file in files:
            if (anchor is None and met & file.columns.keys()) or anchor in file.columns:
                met |= file.columns.keys()
        grown = len(met) > known
    apart = [name for name in towers if name not in met]
    if apart and anchor is not None:
        raise ValueError(
            f"towers.{apart[0]} shares no file with {anchor}, the anchor, so that nothing would be learned of it: leave anchor out, or give "
            "a table that pairs the two"
        )
    if apart:
        raise ValueError(
            f"towers.{apart[0]} and towers.{first} are paired with nothing in common, so that they would not share a space: give a table "
            "that pairs one with the other, or a recipe for each"
        )


def _tower_fits(name: str, tower: AnyTower, dim: int) -> None:
    at = f"towers.{name}."
    encoder = tower.encoder
    if isinstance(encoder, BundleEncoder):
        _bundle_stays_as_it_is(at, tower)
        return
    if isinstance(tower, TextTower):
        _text_fits(at, tower)
    elif isinstance(tower, ImageTower) and tower.views is not None:
        for key in ("second", "local"):
            if getattr(tower.views, key) is not None:
                raise ValueError(
                    f"{at}views.{key} is for methods that compare views: leave it out; a tower shows one view of a picture"
                )
    elif isinstance(tower, AudioTower) and tower.views is not None:
        seconds_fit(tower.frontend, tower.views, at=at)
    elif isinstance(tower, SeriesTower):
        assert not isinstance(tower.encoder, BundleEncoder)
        window_fits(tower.frontend, tower.encoder, at=at)
    own = getattr(encoder, "output_dim", None)  # that of a pretrained model is known when it is loaded
    if tower.projection == "none" and own is not None and own != dim:
        raise ValueError(
            f"{at}projection is none, but {at}encoder gives {own} components and encoder.dim is {dim}: set one to the other, or "
            f"{at}projection to linear"
        )
    if not tower.frozen:
        return
    if tower.rate != 1.0:
        raise ValueError(f"{at}rate is of an encoder that trains, but {at}frozen is true: leave one out")
    pretrained = isinstance(encoder, HuggingFaceEncoder | HuggingFaceImageEncoder | HuggingFaceAudioEncoder)
    pretrained = pretrained or (isinstance(encoder, TimmEncoder) and encoder.pretrained)
    if tower.start is None and not pretrained:
        raise ValueError(
            f"{at}frozen is true, but encoder '{encoder.kind}' starts from random weights, and would keep them: set {at}start to a run, or "
            f"leave {at}frozen out"
        )


def _text_fits(at: str, tower: TextTower) -> None:
    encoder = tower.encoder
    assert not isinstance(encoder, BundleEncoder)
    if tower.frontend.tokenizer.kind == "teacher" or (
        isinstance(encoder, StaticEncoder) and encoder.start == "teacher"
    ):
        key = "frontend.tokenizer" if tower.frontend.tokenizer.kind == "teacher" else "encoder.start"
        raise ValueError(f"{at}{key} is teacher, but towers have none: leave it out")
    tokenizer_fits(tower.frontend, encoder, at=at)
    if getattr(encoder, "projection", None) is not None:
        raise ValueError(
            f"{at}encoder.projection stands beside that of the tower: leave it out, and see {at}projection"
        )


def _bundle_stays_as_it_is(at: str, tower: AnyTower) -> None:
    """What is said of a tower whose encoder is that of a bundle must not be about its encoder or its items."""
    for key in ("frontend", "views", "start", "rate", "word_dropout"):
        field = type(tower).model_fields.get(key)
        if field is not None and getattr(tower, key) != field.default:
            raise ValueError(f"{at}{key} is set, but the encoder of a bundle stays as it is: leave it out")


def _split_fits(recipe: Recipe, files: tuple[PairFile, ...]) -> None:
    if recipe.data.split.by == "group" and not any(file.group is not None for file in files):
        raise ValueError(
            "data.split.by is group, but no file says what its groups are: set data.source.files.0.group to a column, or data.split.by "
            "to random"
        )
