"""The linear probe: how much of the labels a linear classifier reads off embeddings that stay as they are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError, MissingExtraError
from nearfar.evaluate.knn import Labels, Vectors, few_of_each

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""What the probe chooses from, in this order: the weight of half the squared norm beside the mean loss of an example."""

_FEW_LABEL_PENALTY = 1.0
"""With a few labels there is nothing to choose by. On raw pixels of MNIST and CIFAR-10, at 1 to 100 a class, 0.1 to 10 differ
by about a hundredth, save that 10 loses more on MNIST."""

_FOLDS = 5
_FOLDS_BELOW = 5_000
"""With fewer examples one fifth is too few to choose by, and every fifth is held out in turn."""
_ITERATIONS, _TOLERANCE = 100, 1e-3
"""Stops at the accuracy of ten times the effort, to within a few thousandths."""


class Probe(NamedTuple):
    """What a linear probe found.

    Attributes:
        correct: (n,) float64, 1 where the prediction for a query is right, else 0.
        penalty: the regularisation that was chosen on the training set.
    """

    correct: npt.NDArray[np.float64]
    penalty: float


def linear_probe(
    bank: Vectors,
    bank_labels: Labels,
    queries: Vectors,
    query_labels: Labels,
    *,
    penalties: Sequence[float] = PENALTIES,
    seed: int = 0,
) -> Probe:
    """Multinomial logistic regression on standardised components; its regularisation is chosen on a fifth of the bank.

    With under 5,000 examples each fifth is held out in turn. The queries have no part in any choice.

    Args:
        bank: (m, d) float32, labelled.
        bank_labels: (m,) int64.
        queries: (n, d) float32.
        query_labels: (n,) int64, the true labels.
        penalties: what to choose from, from large to small; of equally good ones the first.
        seed: which examples are held out.

    Returns:
        Whether each query is classified correctly, and the penalty.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        DataError: the bank is empty.
        ValueError: shapes do not fit.

    Source: Chen et al., A Simple Framework for Contrastive Learning of Visual Representations (arXiv:2002.05709), appendix
    B.6: logistic regression by L-BFGS, its l2 penalty chosen on a part of the training set.
    """
    _check(bank, bank_labels, queries, query_labels)
    mean, std = bank.mean(axis=0, dtype=np.float64), bank.std(axis=0, dtype=np.float64)
    scale = 1 / np.where(std > 1e-8, std, 1)
    known, asked = (_scaled(part, mean, scale) for part in (bank, queries))
    penalty = _chosen(known, bank_labels, penalties, seed)
    return Probe(_right(_regression(penalty, len(known)), known, bank_labels, asked, query_labels), penalty)


def few_label_probe(
    bank: Vectors,
    bank_labels: Labels,
    queries: Vectors,
    query_labels: Labels,
    *,
    per_class: int = 10,
    draws: int = 5,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Logistic regression where each label has `per_class` examples only, over several draws of them.

    Centre and scale, one for all components, are those of the whole bank, which needs no labels; the penalty is fixed.

    Args:
        bank: (m, d) float32, labelled.
        bank_labels: (m,) int64.
        queries: (n, d) float32.
        query_labels: (n,) int64, the true labels.
        per_class: examples of each label, at least 1; of a rarer label all that there are.
        draws: how often examples are drawn, at least 1.
        seed: of the draws.

    Returns:
        (n,) float64, for each query the share of the draws in which it is classified correctly.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        DataError: the bank is empty.
        ValueError: shapes do not fit, or `per_class` or `draws` is below 1.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    _check(bank, bank_labels, queries, query_labels)
    mean = bank.mean(axis=0, dtype=np.float64)
    std = np.sqrt(bank.var(axis=0, dtype=np.float64).mean())
    known, asked = (_scaled(part, mean, 1 / std if std > 1e-8 else 1.0) for part in (bank, queries))
    found = np.zeros(len(queries), dtype=np.float64)
    for draw in range(draws):
        few = few_of_each(bank_labels, per_class, (seed, draw))
        regression = _regression(_FEW_LABEL_PENALTY, len(few))
        found += _right(regression, known[few], bank_labels[few], asked, query_labels)
    return found / draws


def _chosen(known: Vectors, labels: Labels, penalties: Sequence[float], seed: int) -> float:
    """The penalty with which held-out examples are classified best; no further ones after two that are worse."""
    if len(penalties) == 1:
        return penalties[0]
    folds = _folds(labels, seed)
    held = [folds == fold for fold in range(_FOLDS if len(known) < _FOLDS_BELOW else 1)]
    held = [out for out in held if out.any() and not out.all()]
    # One for each fold, because each penalty starts from where the one before it ended.
    regressions = [_regression(penalties[0], 1) for _ in held]
    right: list[float] = []
    for penalty in penalties:
        of_folds = 0.0
        for regression, out in zip(regressions, held, strict=True):
            regression.C = 1 / (penalty * np.count_nonzero(~out))
            of_folds += _right(regression, known[~out], labels[~out], known[out], labels[out]).sum()
        right.append(of_folds)
        if len(right) - np.argmax(right) > 2:
            break
    return penalties[int(np.argmax(right))]


def _folds(labels: Labels, seed: int) -> Labels:
    """The fold of each example, 0 to 4; every label is spread evenly over them."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[by_label] = np.arange(len(labels)) % _FOLDS
    return folds


def _right(
    regression: Any, known: Vectors, labels: Labels, asked: Vectors, asked_labels: Labels
) -> npt.NDArray[np.float64]:
    """1 or 0 for each of `asked`, after fitting on `known`."""
    if len(np.unique(labels)) == 1:
        return np.asarray(asked_labels == labels[0], dtype=np.float64)
    with warnings.catch_warnings():
        # A penalty so small that the iterations do not suffice is judged by where they end.
        warnings.simplefilter("ignore")
        regression.fit(known, labels)
    return np.asarray(regression.predict(asked) == asked_labels, dtype=np.float64)


def _regression(penalty: float, examples: int) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("train", "A linear probe") from error
    return LogisticRegression(C=1 / (penalty * examples), max_iter=_ITERATIONS, tol=_TOLERANCE, warm_start=True)


def _scaled(vectors: Vectors, mean: npt.NDArray[np.float64], scale: npt.NDArray[np.float64] | float) -> Vectors:
    return np.asarray((vectors - mean) * scale, dtype=np.float32)


def _check(bank: Vectors, bank_labels: Labels, queries: Vectors, query_labels: Labels) -> None:
    if bank.ndim != 2 or bank_labels.shape != bank.shape[:1] or query_labels.shape != queries.shape[:1]:
        raise ValueError(
            f"vectors must be (n, d) and labels (n,), got {bank.shape} and {bank_labels.shape}, "
            f"{queries.shape} and {query_labels.shape}"
        )
    if not len(bank):
        raise DataError("there is no labelled item to fit a linear probe on; give the evaluation at least one")
