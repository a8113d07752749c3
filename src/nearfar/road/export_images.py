"""From a trained image encoder to the bundle that ships, with what was measured on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import BundleError, RunError
from nearfar.progress import Stages
from nearfar.road.measure_images import compare_images
from nearfar.road.provenance import provenance_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle, Manifest
    from nearfar.learn.pictures import TrainedPictures

_CALIBRATED_ON = 512
_AT_A_TIME = 64
_GRAPH = "encoder.onnx"


def export_image_bundle(
    trained: TrainedPictures, target: Path, *, dim: int | None, quantise: str, baselines: Sequence[str], stages: Stages
) -> Bundle:
    """Write the bundle of a trained run over pictures: graph, figures, card.

    Args:
        trained: the run.
        target: directory of the bundle.
        dim: keep only the first so many components; None keeps all.
        quantise: `int8` or `none`.
        baselines: what to measure beside the bundle, of `pixels` and `untrained`.
        stages: told what is being done.

    Raises:
        BundleError: where it cannot be written; what was there stays.
        DataError: where the pictures to measure on are no longer where they were.
        RunError: where the encoder has fewer than `dim` components, or cannot be turned into a graph.
    """
    from nearfar.bundle import BundleWriter, render_card
    from nearfar.learn.export import export_image_graph

    method = trained.method()
    encoder, frontend = method.encoder, trained.recipe.of_images.frontend
    if dim is not None and dim > encoder.dim:
        raise RunError(f"dim is {dim}, but the encoder gives only {encoder.dim} components")
    head: Any = getattr(method, "head", None)

    def fill(writer: BundleWriter, manifest: Manifest, graph: bytes) -> Bundle:
        writer.add(_GRAPH, graph)
        return writer.finish(manifest, render_card(manifest))

    try:
        # Entered first, so that a target that cannot be written is known before minutes of measuring.
        with BundleWriter(target) as writer:
            tick = stages("exporting")
            graph = export_image_graph(
                encoder,
                size=frontend.size,
                channels=frontend.channels,
                dim=dim,
                quantise=quantise,
                calibration=_calibration(trained),
                head=head,
            )
            tick(1)
            classes = trained.corpus.counts.classes if head is not None else ()
            manifest = _manifest(trained, dim or encoder.dim, classes)
            with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
                with BundleWriter(Path(folder) / "bundle") as draft_writer:
                    draft = fill(draft_writer, manifest, graph)
                metrics = compare_images(trained, draft, baselines=baselines, dim=dim, stages=stages)
            return fill(writer, manifest.model_copy(update={"metrics": metrics}), graph)
    except OSError as error:  # what writes into the folder for temporary files; the writer has errors of its own
        raise BundleError(
            f"{target}: the bundle could not be made ({error}); what was there is untouched. "
            f"Free some space in {tempfile.gettempdir()}, or set TMPDIR to another folder."
        ) from error


def _manifest(trained: TrainedPictures, dim: int, classes: Sequence[str]) -> Manifest:
    from nearfar.bundle import Manifest, Tower

    recipe, counts = trained.recipe, trained.corpus.counts
    tower = Tower(graph=_GRAPH)
    return Manifest(
        name=recipe.name,
        kind="image-encoder",
        towers={"query": tower, "document": tower},
        dim=dim,
        classes=tuple(classes),
        frontend=trained.frontend.settings,
        provenance=provenance_of(
            recipe,
            fingerprint=counts.fingerprint,
            data_counts={
                "pictures": counts.pictures,
                "training_pictures": counts.train,
                "validation_pictures": counts.validation,
                "test_pictures": counts.test,
                "labelled_pictures": counts.labelled,
                "twins_dropped": counts.twins_dropped,
                "skipped": sum(counts.skipped.values()),
            },
            augmentations=[recipe.of_images.views.model_dump(mode="json", exclude_none=True)],
        ),
    )


def _calibration(trained: TrainedPictures) -> Iterator[npt.NDArray[np.float32]]:
    """Training pictures as the device will see them: they say which numbers the int8 graph has to hold."""
    import numpy as np

    from nearfar.learn.data.picture_rows import as_on_device
    from nearfar.learn.data.split import TRAIN

    corpus, frontend = trained.corpus, trained.recipe.of_images.frontend
    numbers = np.random.default_rng([trained.recipe.seed, 7]).permutation(corpus.numbers_of(TRAIN))[:_CALIBRATED_ON]
    for first in range(0, len(numbers), _AT_A_TIME):
        some = numbers[first : first + _AT_A_TIME]
        yield as_on_device(corpus, some, frontend.size, frontend.fit).numpy()
