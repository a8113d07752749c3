"""Measuring an image encoder as it ships, with what it should be compared with beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nearfar.progress import Stages
from nearfar.road.measure import in_manifest
from nearfar.road.measure_items import compare_items
from nearfar.road.picture_items import RandomViews, SourceItems

if TYPE_CHECKING:
    from nearfar.bundle import Bundle, Metric
    from nearfar.edge import Encoder
    from nearfar.embedder import Embedder
    from nearfar.learn.pictures import TrainedPictures

_PIXELS = 32  # height and width at which pixels are the baseline


def picture_rows(
    trained: TrainedPictures, encoder: Encoder, *, baselines: Sequence[str], dim: int | None
) -> dict[str, Embedder]:
    """What is measured: the baselines that are asked for, the float model, and the bundle.

    Args:
        trained: the run.
        encoder: of the bundle, as on the device.
        baselines: of `pixels` and `untrained`.
        dim: components that the bundle keeps; None for all.
    """
    from nearfar.evaluate.pixels import PixelEmbedder
    from nearfar.frontend.image import ImageFrontend

    frontend = trained.recipe.of_images.frontend
    rows: dict[str, Embedder] = {}
    if "pixels" in baselines:
        # Of large pictures fewer pixels do better, and a linear probe on all of them would not end.
        side = min(frontend.size, _PIXELS)
        small = ImageFrontend(trained.frontend.settings.model_copy(update={"size": side}))
        rows["pixels"] = PixelEmbedder(small.encode, frontend.channels * side**2)
    if "untrained" in baselines:
        rows["untrained"] = trained.untrained()
    return rows | {"model": trained.embedder(dim=dim), "bundle": encoder}


def compare_images(
    trained: TrainedPictures, bundle: Bundle, *, baselines: Sequence[str], dim: int | None, stages: Stages
) -> dict[str, dict[str, Metric]]:
    """Measure what ships on the test pictures, read from their source anew and embedded as on the device.

    With labels: kNN, a linear probe, one with ten labels a class, clusters; and for a fine-tuned bundle what its classifier gets
    right. With or without: whether a random view of a picture finds it.

    Args:
        trained: the run.
        bundle: run through the device's own encoder.
        baselines: what to measure beside it, of `pixels` and `untrained`.
        dim: components that the bundle keeps; None for all.
        stages: told what is being done.

    Returns:
        Metrics by row: `pixels`, `untrained`, `model`, `bundle`; nothing where no picture was held out.

    Raises:
        DataError: the pictures are no longer where they were.
    """
    import numpy as np

    from nearfar.edge import Encoder
    from nearfar.evaluate.bootstrap import mean_interval
    from nearfar.evaluate.labelled import LabelledTask
    from nearfar.learn.data.pictures import open_source
    from nearfar.learn.data.split import TEST, TRAIN

    recipe, corpus = trained.recipe, trained.corpus
    settings = recipe.evaluate
    rng = np.random.default_rng([recipe.seed, 3])
    test = np.sort(rng.permutation(corpus.numbers_of(TEST))[: settings.max_queries])
    if len(test) < 2:
        return {}
    encoder = Encoder.open(bundle, threads=os.cpu_count() or 1)
    rows = picture_rows(trained, encoder, baselines=baselines, dim=dim)
    source = open_source(recipe.of_images.source)
    items = SourceItems(source.contents, [corpus.ids[int(number)] for number in test])
    bank = corpus.numbers_of(TRAIN)
    bank = np.sort(rng.permutation(bank[corpus.labels[bank] >= 0])[: settings.max_documents])
    labelled = np.flatnonzero(corpus.labels[test] >= 0)
    task = None
    if len(bank) and len(labelled) and len(corpus.counts.classes) > 1:
        neighbours = SourceItems(source.contents, [corpus.ids[int(number)] for number in bank])
        # Of the test part only the labels are looked at: all test pictures are embedded for the views as well.
        task = LabelledTask(
            neighbours,
            corpus.labels[bank],
            range(len(labelled)),
            corpus.labels[test][labelled],
            len(corpus.counts.classes),
        )
    views = RandomViews(trained, test)
    found = compare_items(rows, items, views, task, labelled, settings, seed=recipe.seed, stages=stages)
    if task is not None and encoder.classes:
        right = encoder.classify(items).argmax(axis=1)[labelled] == task.test_labels
        found["bundle"]["accuracy"] = mean_interval(
            right.astype(np.float64), resamples=max(1, settings.bootstrap), seed=recipe.seed
        )
    return in_manifest(found)
