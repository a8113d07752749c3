"""Encoders of pictures on their way to a bundle: what they are written as, and how the ladder of compression measures them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.progress import Stages, silent
from nearfar.road.compress import Workbench
from nearfar.road.draft import Draft
from nearfar.road.picture_items import RandomViews
from nearfar.road.provenance import provenance_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle
    from nearfar.edge import Encoder
    from nearfar.embedder import Embedder
    from nearfar.learn.compress.model import PictureModel
    from nearfar.learn.pictures import TrainedPictures
    from nearfar.recipe.compress import Step

    Ints = npt.NDArray[np.int64]
    Figures = npt.NDArray[np.float64]

_AT_A_TIME = 64
_PICTURES, _BANK = 1_000, 10_000  # of the validation part and of its neighbours, which every step embeds anew
_SAMPLE = 256
_GRAPH = "encoder.onnx"


def picture_draft(trained: TrainedPictures, model: PictureModel, stages: Stages) -> Draft:
    """The bundle of an encoder of pictures.

    Args:
        trained: the run that it comes from.
        model: what ships.
        stages: told how far it is.

    Raises:
        RunError: where the encoder cannot be turned into a graph.
    """
    from nearfar.bundle import Manifest, Tower
    from nearfar.learn.export import export_picture_model

    tick = stages("exporting")
    graph = export_picture_model(model, _calibration(trained, model.form.samples))
    tick(1)
    recipe, counts, tower = trained.recipe, trained.corpus.counts, Tower(graph=_GRAPH)
    manifest = Manifest(
        name=recipe.name,
        kind="image-encoder",
        towers={"query": tower, "document": tower},
        dim=model.dim or model.encoder.dim,
        classes=tuple(counts.classes) if model.head is not None else (),
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
    return Draft({_GRAPH: graph}, manifest)


def picture_bench(trained: TrainedPictures, stages: Stages) -> Workbench[PictureModel]:
    """How the steps of a run over pictures are done, and measured: kNN of its labelled validation pictures among training ones.

    Without labels: whether a random view of a validation picture finds it.

    Args:
        trained: the run.
        stages: told of what takes long.
    """
    import numpy as np

    from nearfar.edge import Encoder
    from nearfar.learn.compress.steps import misfit, picture_step
    from nearfar.learn.data.split import TRAIN, VALIDATION
    from nearfar.learn.pictures import PictureEmbedder

    corpus, settings = trained.corpus, trained.recipe.evaluate
    rng = np.random.default_rng([trained.recipe.seed, 10])
    held_out = rng.permutation(corpus.numbers_of(VALIDATION))[: min(_PICTURES, settings.max_queries)]
    learned = rng.permutation(corpus.numbers_of(TRAIN))
    asked = held_out[corpus.labels[held_out] >= 0]
    bank = learned[corpus.labels[learned] >= 0][: min(_BANK, settings.max_documents)]
    figure: str
    judge: Callable[[Encoder], Figures]
    if len(asked) and len(bank) and len(corpus.counts.classes) > 1:
        figure, judge = "knn_accuracy", lambda encoder: _neighbours(trained, encoder, np.sort(asked), np.sort(bank))
    else:
        figure, judge = "view_recall_at_1", lambda encoder: _found_views(trained, encoder, np.sort(held_out))

    def apply(model: PictureModel, step: Step, number: int) -> PictureModel:
        folder = trained.directory / "compress" / f"{number}-{step.kind}"
        return picture_step(model, step, trained, folder, stages)

    def write(model: PictureModel, folder: Path) -> Bundle:
        return picture_draft(trained, model, silent).written(folder)

    def judged(bundle: Bundle) -> Figures | None:
        return judge(Encoder.open(bundle, threads=os.cpu_count() or 1)) if len(held_out) >= 2 else None

    def embedder(model: PictureModel) -> Embedder:
        return PictureEmbedder(model.encoder, trained.frontend, dim=model.dim)

    some = held_out if len(held_out) else learned
    return Workbench(misfit, apply, write, judged, figure, {"query": _arrays(trained, some[:_SAMPLE])}, embedder)


def _neighbours(trained: TrainedPictures, encoder: Encoder, asked: Ints, bank: Ints) -> Figures:
    """Whether the nearest training pictures vote for the label of each picture (n,)."""
    from nearfar.evaluate.knn import knn_correct

    labels = trained.corpus.labels
    return knn_correct(
        _embedded(trained, encoder, bank),
        labels[bank],
        _embedded(trained, encoder, asked),
        labels[asked],
        classes=len(trained.corpus.counts.classes),
        k=trained.recipe.evaluate.neighbours,
    )


def _found_views(trained: TrainedPictures, encoder: Encoder, numbers: Ints) -> Figures:
    """Whether a random view of each picture finds it (n,)."""
    from nearfar.evaluate.instances import instance_recall_at_1
    from nearfar.evaluate.labelled import embedded_units

    views = embedded_units(encoder, RandomViews(trained, numbers))
    return instance_recall_at_1(views, _embedded(trained, encoder, numbers))


def _embedded(trained: TrainedPictures, encoder: Encoder, numbers: Ints) -> npt.NDArray[np.float32]:
    import numpy as np

    parts = [
        encoder.embed(_arrays(trained, numbers[first : first + _AT_A_TIME]))
        for first in range(0, len(numbers), _AT_A_TIME)
    ]
    return np.concatenate(parts)


def _arrays(trained: TrainedPictures, numbers: Ints) -> list[Any]:
    """Prepared pictures as the device sees them, each (size, size, c) float32."""
    from nearfar.learn.data.picture_rows import as_on_device

    frontend = trained.recipe.of_images.frontend
    pixels = as_on_device(trained.corpus, numbers, frontend.size, frontend.fit)
    return list(pixels.permute(0, 2, 3, 1).contiguous().numpy())


def _calibration(trained: TrainedPictures, count: int) -> Iterator[npt.NDArray[np.float32]]:
    """Training pictures as the device will see them: they say which numbers the int8 graph has to hold."""
    import numpy as np

    from nearfar.learn.data.picture_rows import as_on_device
    from nearfar.learn.data.split import TRAIN

    corpus, frontend = trained.corpus, trained.recipe.of_images.frontend
    numbers = np.random.default_rng([trained.recipe.seed, 7]).permutation(corpus.numbers_of(TRAIN))[:count]
    for first in range(0, len(numbers), _AT_A_TIME):
        some = numbers[first : first + _AT_A_TIME]
        yield as_on_device(corpus, some, frontend.size, frontend.fit).numpy()
