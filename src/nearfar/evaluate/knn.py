"""Classification by neighbours: what embeddings know of labels, without training anything on them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.index.exact import exact_search

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_QUERIES_AT_A_TIME = 1024
"""Bounds the table of neighbours that are voted on."""


def knn_predict(bank: Vectors, bank_labels: Labels, queries: Vectors, *, classes: int, k: int = 10) -> Labels:
    """The label that most of the k nearest vectors of the bank have, by cosine.

    A tie goes to the label with the larger sum of cosines, and then to the lower label.

    Args:
        bank: (m, d) float32, rows of unit length, labelled.
        bank_labels: (m,) int64, 0 to classes - 1.
        queries: (n, d) float32, rows of unit length.
        classes: how many labels there are.
        k: how many neighbours vote, at least 1; more than m are m.

    Returns:
        (n,) int64.

    Raises:
        DataError: the bank is empty.
        ValueError: shapes do not fit, a label is out of range, or `k` is below 1.

    Source: Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination (arXiv:1805.01978), section
    3.4, with plain votes in place of weighted ones, as lightly and dkobak/simclr-cifar10 measure it with k = 10.
    """
    _check(bank, bank_labels, classes)
    predicted = np.empty(len(queries), dtype=np.int64)
    for first in range(0, len(queries), _QUERIES_AT_A_TIME):
        rows = slice(first, first + _QUERIES_AT_A_TIME)
        cosines, ids = exact_search(queries[rows], bank, k)
        predicted[rows] = _voted(cosines, bank_labels[ids], classes)
    return predicted


def knn_correct(
    bank: Vectors, bank_labels: Labels, queries: Vectors, query_labels: Labels, *, classes: int, k: int = 10
) -> npt.NDArray[np.float64]:
    """Whether `knn_predict` is right, for each query.

    Args:
        bank: (m, d) float32, rows of unit length, labelled.
        bank_labels: (m,) int64, 0 to classes - 1.
        queries: (n, d) float32, rows of unit length.
        query_labels: (n,) int64, the true labels.
        classes: how many labels there are.
        k: how many neighbours vote.

    Returns:
        (n,) float64, 1 or 0; its mean is the accuracy, and `mean_interval` of it the interval.

    Raises:
        DataError: the bank is empty.
        ValueError: shapes do not fit, a label is out of range, or `k` is below 1.
    """
    if query_labels.shape != queries.shape[:1]:
        raise ValueError(f"{len(queries)} queries but labels of shape {query_labels.shape}")
    predicted = knn_predict(bank, bank_labels, queries, classes=classes, k=k)
    return np.asarray(predicted == query_labels, dtype=np.float64)


def leave_one_out_knn(vectors: Vectors, labels: Labels, *, classes: int, k: int = 10) -> npt.NDArray[np.float64]:
    """Whether the k nearest others vote for the label that a vector has, for each vector of one labelled set.

    Args:
        vectors: (n, d) float32, rows of unit length.
        labels: (n,) int64, 0 to classes - 1.
        classes: how many labels there are.
        k: how many neighbours vote; more than n - 1 are n - 1.

    Returns:
        (n,) float64, 1 or 0.

    Raises:
        DataError: there are fewer than two vectors.
        ValueError: shapes do not fit, a label is out of range, or `k` is below 1.
    """
    _check(vectors, labels, classes)
    if len(vectors) < 2:
        raise DataError("leaving one out needs at least two labelled items; give more")
    right = np.empty(len(vectors), dtype=np.float64)
    for first in range(0, len(vectors), _QUERIES_AT_A_TIME):
        own = np.arange(first, min(first + _QUERIES_AT_A_TIME, len(vectors)))
        cosines, ids = exact_search(vectors[own], vectors, k + 1)
        # Among many equal vectors the own one may not be found at all; then the last of k + 1 is left out in its place.
        itself = ids == own[:, None]
        itself[~itself.any(axis=1), -1] = True
        shape = (len(own), ids.shape[1] - 1)
        cosines, ids = cosines[~itself].reshape(shape), ids[~itself].reshape(shape)
        right[own] = _voted(cosines, labels[ids], classes) == labels[own]
    return right


def class_mean_predict(bank: Vectors, bank_labels: Labels, queries: Vectors, *, classes: int) -> Labels:
    """The label whose mean vector is nearest by cosine: what is left of kNN when each label has a few examples only.

    Args:
        bank: (m, d) float32, rows of unit length, labelled.
        bank_labels: (m,) int64, 0 to classes - 1; a label without an example is never predicted.
        queries: (n, d) float32.
        classes: how many labels there are.

    Returns:
        (n,) int64; of equally near labels the lower.

    Raises:
        DataError: the bank is empty.
        ValueError: shapes do not fit or a label is out of range.

    Source: Snell et al., Prototypical Networks for Few-shot Learning (arXiv:1703.05175), eq. 1, with cosine for distance.
    """
    _check(bank, bank_labels, classes)
    present = np.unique(bank_labels)
    means = np.stack([bank[bank_labels == label].mean(axis=0, dtype=np.float64) for label in present])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    # Below this the mean of vectors of length 1 is rounding error, and points nowhere.
    directions = np.divide(means, lengths, out=np.zeros_like(means), where=lengths > 1e-6)
    return np.asarray(present[np.argmax(queries @ directions.T.astype(np.float32), axis=1)])


def few_of_each(labels: Labels, per_class: int, seed: int | tuple[int, ...]) -> Labels:
    """Row numbers of `per_class` examples of each label, drawn without replacement; of a rarer label all of it.

    Args:
        labels: (n,) int64.
        per_class: how many of each, at least 1.
        seed: of the draw.

    Returns:
        (at most classes * per_class,) int64, in ascending order.
    """
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    drawn = [shuffled[labels[shuffled] == label][:per_class] for label in np.unique(labels)]
    return np.sort(np.concatenate(drawn)) if drawn else np.empty(0, dtype=np.int64)


def _voted(cosines: Vectors, labels: Labels, classes: int) -> Labels:
    """The winner of each row (n, k) of neighbours."""
    rows = np.arange(len(labels))[:, None]
    votes = np.zeros((len(labels), classes), dtype=np.int64)
    sums = np.zeros((len(labels), classes), dtype=np.float64)
    np.add.at(votes, (rows, labels), 1)
    np.add.at(sums, (rows, labels), cosines)
    sums[votes < votes.max(axis=1, keepdims=True)] = -np.inf
    return np.asarray(np.argmax(sums, axis=1))


def _check(bank: Vectors, bank_labels: Labels, classes: int) -> None:
    if bank.ndim != 2 or bank_labels.shape != bank.shape[:1]:
        raise ValueError(f"vectors must be (n, d) and labels (n,), got {bank.shape} and {bank_labels.shape}")
    if not len(bank):
        raise DataError("there is no labelled item to compare with; give the evaluation at least one")
    if bank_labels.min() < 0 or bank_labels.max() >= classes:
        raise ValueError(
            f"labels must be 0 to {classes - 1} for {classes} classes, got {bank_labels.min()} to {bank_labels.max()}"
        )
