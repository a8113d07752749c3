"""An encoder measured on labelled items that it was not trained on: neighbours, a linear probe, few labels, clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Embedder
from nearfar.errors import DataError, RunError
from nearfar.evaluate.bootstrap import Interval, mean_interval
from nearfar.evaluate.clustering import k_means, nmi_interval
from nearfar.evaluate.knn import Labels, Vectors, knn_correct
from nearfar.evaluate.pixels import at_unit_length
from nearfar.evaluate.probe import few_label_probe, linear_probe

_ITEMS_AT_A_TIME = 1024


@dataclass(frozen=True, slots=True)
class LabelledTask:
    """Items with labels to learn from, and others to be judged by.

    Attributes:
        train: m items, whatever the embedder takes: paths, bytes, arrays.
        train_labels: (m,) int64, 0 to classes - 1.
        test: n other items.
        test_labels: (n,) int64.
        classes: how many labels there are.

    Raises:
        DataError: either part is empty, labels and items differ in number, or a label is out of range.
    """

    train: Sequence[Any]
    train_labels: Labels
    test: Sequence[Any]
    test_labels: Labels
    classes: int

    def __post_init__(self) -> None:
        parts = {"train": (self.train, self.train_labels), "test": (self.test, self.test_labels)}
        for name, (items, labels) in parts.items():
            if not len(items):
                raise DataError(f"nothing to measure: the {name} part has no items; give at least one")
            if labels.shape != (len(items),):
                raise DataError(
                    f"{len(items)} {name} items but labels of shape {labels.shape}; every item needs its own"
                )
            if labels.min() < 0 or labels.max() >= self.classes:
                raise DataError(
                    f"{name} labels go from {labels.min()} to {labels.max()}; {self.classes} classes need labels from 0 to "
                    f"{self.classes - 1}; leave out items without a label"
                )


@dataclass(frozen=True, slots=True)
class LabelledScores:
    """What embeddings know of labels; every figure is a share from 0 to 1 with its bootstrap interval.

    Attributes:
        knn_accuracy: of the vote of the 10 nearest training items.
        probe_accuracy: of a linear classifier fitted on all training items.
        few_label_accuracy: of one fitted on 10 training items a class, mean over five draws.
        nmi: normalised mutual information of the labels and as many k-means clusters of the test items.
        per_query: the figures of the single test items by the names above, each float64 (n,); NMI has none.
    """

    knn_accuracy: Interval
    probe_accuracy: Interval
    few_label_accuracy: Interval
    nmi: Interval
    per_query: dict[str, npt.NDArray[np.float64]]

    def intervals(self) -> dict[str, Interval]:
        """Every figure by its name, in the order of the attributes."""
        return {**{name: getattr(self, name) for name in self.per_query}, "nmi": self.nmi}


def measure_labelled(
    embedder: Embedder,
    task: LabelledTask,
    *,
    k: int = 10,
    per_class: int = 10,
    draws: int = 5,
    resamples: int = 2000,
    seed: int = 0,
) -> LabelledScores:
    """Embed all items and measure them; vectors are compared by cosine.

    Args:
        embedder: whatever embeds the task's items.
        task: items and labels.
        k: neighbours that vote.
        per_class: labels a class for `few_label_accuracy`.
        draws: how often these are drawn.
        resamples: how many bootstrap resamples the intervals rest on.
        seed: of held-out fifths, draws, clusters and resampling.

    Returns:
        The figures with 95 % intervals, and those of every test item.

    Raises:
        RunError: an embedding has the wrong shape or a component that is not finite.
        MissingExtraError: scikit-learn is not installed.
    """
    train, test = (embedded_units(embedder, items) for items in (task.train, task.test))
    return score_labelled(
        train, test, task, k=k, per_class=per_class, draws=draws, resamples=resamples, seed=seed
    )  # fmt: skip


def score_labelled(
    train: Vectors,
    test: Vectors,
    task: LabelledTask,
    *,
    k: int = 10,
    per_class: int = 10,
    draws: int = 5,
    resamples: int = 2000,
    seed: int = 0,
) -> LabelledScores:
    """`measure_labelled` of items that are embedded already.

    Args:
        train: (m, d) float32, rows of unit length, of the task's training items.
        test: (n, d) float32, rows of unit length, of its test items.
        task: labels; its items are not looked at.
        k: neighbours that vote.
        per_class: labels a class for `few_label_accuracy`.
        draws: how often these are drawn.
        resamples: how many bootstrap resamples the intervals rest on.
        seed: of held-out fifths, draws, clusters and resampling.

    Returns:
        The figures with 95 % intervals, and those of every test item.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ValueError: shapes do not fit.
    """
    known, asked = task.train_labels, task.test_labels
    per_query = {
        "knn_accuracy": knn_correct(train, known, test, asked, classes=task.classes, k=k),
        "probe_accuracy": linear_probe(train, known, test, asked, seed=seed).correct,
        "few_label_accuracy": few_label_probe(train, known, test, asked, per_class=per_class, draws=draws, seed=seed),
    }
    intervals = {name: mean_interval(values, resamples=resamples, seed=seed) for name, values in per_query.items()}
    clusters = k_means(test, min(task.classes, len(test)), seed=seed)
    nmi = nmi_interval(clusters, asked, resamples=resamples, seed=seed)
    return LabelledScores(**intervals, nmi=nmi, per_query=per_query)


def embedded_units(embedder: Embedder, items: Sequence[Any]) -> Vectors:
    """Embed items part by part, as documents, at unit length.

    Args:
        embedder: whatever embeds them.
        items: anything with a length and integer indexing.

    Returns:
        (n, d) float32.

    Raises:
        RunError: an embedding has the wrong shape or a component that is not finite.
    """
    vectors = np.empty((len(items), embedder.dim), dtype=np.float32)
    for first in range(0, len(items), _ITEMS_AT_A_TIME):
        part = [items[index] for index in range(first, min(first + _ITEMS_AT_A_TIME, len(items)))]
        found = embedder.embed(part, "document")
        if found.shape != (len(part), embedder.dim):
            raise RunError(f"{len(part)} items embedded to shape {found.shape}, not {(len(part), embedder.dim)}")
        broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(broken):
            raise RunError(
                f"{len(broken)} of {len(part)} embeddings are not finite, the first for item {first + broken[0]}; the model has "
                "diverged or is damaged: train with a lower learning rate, or export again"
            )
        vectors[first : first + len(part)] = found
    return at_unit_length(vectors)
