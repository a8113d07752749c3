"""Measuring an encoder of sound as it ships, with what it should be compared with beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nearfar.progress import Stages
from nearfar.road.clip_items import ClipViews, clip_items
from nearfar.road.measure import in_manifest
from nearfar.road.measure_items import compare_items

if TYPE_CHECKING:
    from nearfar.bundle import Bundle, Metric
    from nearfar.embedder import Embedder
    from nearfar.learn.clips import TrainedClips


def audio_rows(
    trained: TrainedClips, bundle: Bundle, *, baselines: Sequence[str], dim: int | None
) -> dict[str, Embedder]:
    """What is measured: the baselines that are asked for, the float model, and the bundle through the device's own encoder.

    Args:
        trained: the run.
        bundle: what ships.
        baselines: of `spectrum` and `untrained`.
        dim: components that the bundle keeps; None for all.
    """
    from nearfar.edge import Encoder
    from nearfar.evaluate.spectrum import SpectrumEmbedder

    rows: dict[str, Embedder] = {}
    if "spectrum" in baselines:
        rows["spectrum"] = SpectrumEmbedder(trained.frontend)
    if "untrained" in baselines:
        rows["untrained"] = trained.untrained()
    encoder = Encoder.open(bundle, threads=os.cpu_count() or 1)
    return rows | {"model": trained.embedder(dim=dim), "bundle": encoder}


def compare_audio(
    trained: TrainedClips, bundle: Bundle, *, baselines: Sequence[str], dim: int | None, stages: Stages
) -> dict[str, dict[str, Metric]]:
    """Measure what ships on the test recordings, read from their source anew and embedded as on the device.

    With labels on both sides: kNN, a linear probe, one with ten labels a class, clusters. With or without: whether a random view of a
    recording finds it.

    Args:
        trained: the run.
        bundle: run through the device's own encoder.
        baselines: what to measure beside it, of `spectrum` and `untrained`.
        dim: components that the bundle keeps; None for all.
        stages: told what is being done.

    Returns:
        Metrics by row: `spectrum`, `untrained`, `model`, `bundle`; nothing where no recording was held out.

    Raises:
        DataError: the recordings are no longer where they were.
    """
    import numpy as np

    from nearfar.evaluate.labelled import LabelledTask
    from nearfar.learn.data.clips import open_clips
    from nearfar.learn.data.split import TEST, TRAIN

    recipe, corpus = trained.recipe, trained.corpus
    settings, rate = recipe.evaluate, corpus.counts.rate
    rng = np.random.default_rng([recipe.seed, 3])
    test = np.sort(rng.permutation(corpus.numbers_of(TEST))[: settings.max_queries])
    if len(test) < 2:
        return {}
    source = open_clips(recipe.of_audio.source)
    items = clip_items(source, [corpus.ids[int(number)] for number in test], rate)
    bank = corpus.numbers_of(TRAIN)
    bank = np.sort(rng.permutation(bank[corpus.labels[bank] >= 0])[: settings.max_documents])
    labelled = np.flatnonzero(np.isin(corpus.labels[test], corpus.labels[bank]))
    task = None
    if len(bank) and len(labelled) and len(corpus.counts.classes) > 1:
        neighbours = clip_items(source, [corpus.ids[int(number)] for number in bank], rate)
        # Of the test part only the labels are looked at: all test recordings are embedded for the views as well.
        task = LabelledTask(
            neighbours,
            corpus.labels[bank],
            range(len(labelled)),
            corpus.labels[test][labelled],
            len(corpus.counts.classes),
        )
    views = ClipViews(trained, test)
    rows = audio_rows(trained, bundle, baselines=baselines, dim=dim)
    found = compare_items(rows, items, views, task, labelled, settings, seed=recipe.seed, stages=stages)
    return in_manifest(found)
