"""Learning a classifier from a few labels, with what cross-validation says of it, and storing it in a bundle."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import CARD, MANIFEST, Bundle
from nearfar.bundle.card import render_card
from nearfar.bundle.manifest import Head, Manifest
from nearfar.bundle.writer import BundleWriter
from nearfar.edge.collections.abstain import choose_threshold
from nearfar.edge.collections.classify import logits, softmax
from nearfar.edge.collections.logistic import fit_logistic
from nearfar.errors import DataError

PENALTIES = (0.3, 0.1, 0.03, 0.01)
"""What a logistic head chooses from, the plainest first."""
WEIGHTS = "head.npy"
_FOLDS = 5
_ENOUGH = 5_000
"""With so many examples one fold of the five is enough to choose by."""
_TEMPERATURES = np.geomspace(0.005, 20, 200)

Kind = Literal["auto", "prototypes", "logistic"]
KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Fit = Callable[[Vectors, Labels, int], Vectors]


class FittedHead(NamedTuple):
    """A head and its weights, float32 (labels, d + 1)."""

    head: Head
    weights: Vectors


class _HeldOut(NamedTuple):
    """Scores of labelled items by heads that had not seen them.

    Attributes:
        labels: (m,) int64, the true ones.
        scores: (m, classes) float32; a label that the head had not seen has -inf.
    """

    labels: Labels
    scores: Vectors

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.scores.argmax(axis=1) == self.labels))


def fit_head(
    vectors: Vectors,
    labels: Sequence[str],
    *,
    kind: Kind = "auto",
    precision: float = 0.9,
    unknown: float = 0.1,
    seed: int = 0,
) -> FittedHead:
    """Fit prototypes and a logistic head, keep the better, and choose when to abstain.

    Everything is chosen on held-out fifths of the labelled items. The temperature makes their likelihoods fit (Guo et al., On
    Calibration of Modern Neural Networks, arXiv:1706.04599). The threshold is the lowest likelihood at which a share `precision` of the answers is
    right, if a share `unknown` of the items is of none of the labels; as such items serve those of labels that a head was not
    shown, a fifth of the labels at a time.

    Args:
        vectors: (n, d) float32, rows of unit length.
        labels: n names.
        kind: `auto` takes what cross-validation prefers, prototypes where both are equally good.
        precision: share of the answers that shall be right.
        unknown: share of the items that is expected to be of none of the labels.
        seed: of the folds.

    Raises:
        DataError: there are fewer than two labels, or a share is out of range.
        ValueError: shapes do not fit.

    Source: prototypes: Snell et al., Prototypical Networks for Few-shot Learning (arXiv:1703.05175), with cosine for distance.
    """
    if vectors.ndim != 2 or len(labels) != len(vectors):
        raise ValueError(f"vectors must be (n, d) with n labels, got {vectors.shape} and {len(labels)}")
    if not (0 < precision <= 1 and 0 <= unknown < 1):
        raise DataError(
            f"precision is {precision} and unknown {unknown}: give shares, precision above 0 and unknown below 1"
        )
    names = sorted(set(labels))
    if len(names) < 2:
        raise DataError(
            f"a classifier needs at least two labels, but the items have {len(names)}: give examples of more"
        )
    numbers = {name: number for number, name in enumerate(names)}
    known = np.array([numbers[label] for label in labels], dtype=np.int64)
    folds = _folds(known, seed)
    if not np.any(folds >= 0):
        # One example a label: nothing can be held out, so nothing is known of the scores either.
        if kind == "logistic":
            raise DataError("every label has a single example, so no penalty can be chosen: use --head prototypes")
        head = Head(kind="prototypes", weights=WEIGHTS, labels=tuple(names), examples=len(known))
        return FittedHead(head, prototypes(vectors, known, len(names)))
    found = _candidates(vectors, known, folds, len(names), kind)
    accuracy: dict[str, float] = {
        name: max(held.accuracy for of, _, _, held in found if of == name)
        for name in dict.fromkeys(c[0] for c in found)
    }
    chosen, penalty, fit, held = max(found, key=lambda candidate: candidate[3].accuracy)
    temperature = _temperature(held)
    likely = softmax(held.scores / np.float32(temperature))
    strange = _strangers(fit, vectors, known, folds, len(names), temperature)
    threshold = choose_threshold(
        likely.max(axis=1), held.scores.argmax(axis=1) == held.labels, strange, precision=precision, unknown=unknown
    )
    head = Head(
        kind=chosen,
        weights=WEIGHTS,
        labels=tuple(names),
        examples=len(known),
        threshold=threshold.likelihood,
        temperature=temperature,
        penalty=penalty,
        accuracy=accuracy,
        target_precision=precision,
        unknown=unknown if len(strange) else 0.0,
        precision=threshold.precision,
        coverage=threshold.coverage,
    )
    return FittedHead(head, fit(vectors, known, len(names)) / np.float32(temperature))


def store_head(bundle: Bundle, fitted: FittedHead, target: str | Path) -> Bundle:
    """Write a copy of a bundle with this head in it; an older head gives way.

    Args:
        bundle: the encoder that made the vectors of the head.
        fitted: what `fit_head` gave.
        target: where the new bundle goes; a bundle that is there is replaced. Its parent is the bundle without a head, so that
            an index which that one made can be classified without embedding anything again.

    Raises:
        BundleError: it cannot be written, or `bundle` has changed meanwhile.
        ValueError: the head is of another dimension.
    """
    if fitted.weights.shape[1] != bundle.manifest.dim + 1:
        raise ValueError(f"a head of {fitted.weights.shape} does not fit {bundle.manifest.dim} dimensions")
    before = bundle.manifest
    older = {before.head.weights} if before.head else set()
    parent = before.provenance.parent if before.head else bundle.digest
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(fitted.weights, dtype=np.float32), allow_pickle=False)
    fields = {name: getattr(before, name) for name in Manifest.model_fields if name != "created"}
    provenance = before.provenance.model_copy(update={"parent": parent})
    manifest = Manifest(**{**fields, "head": fitted.head, "provenance": provenance})
    with BundleWriter(target) as writer:
        for name in sorted(bundle.sums.keys() - {MANIFEST, CARD} - older):
            writer.add(name, bundle.read(name))
        writer.add(fitted.head.weights, content.getvalue())
        return writer.finish(manifest, render_card(manifest))


def prototypes(vectors: Vectors, labels: Labels, classes: int) -> Vectors:
    """The direction of each label's mean, with a bias of 0: float32 (classes, d + 1).

    A label without an example has a bias of -inf, so that it is never the answer.
    """
    weights = np.zeros((classes, vectors.shape[1] + 1), dtype=np.float64)
    np.add.at(weights[:, :-1], labels, vectors)
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    # Below this the sum of unit vectors is rounding error, and points nowhere.
    np.divide(weights, lengths, out=weights, where=lengths > 1e-6)
    weights[np.bincount(labels, minlength=classes) == 0, -1] = -np.inf
    return weights.astype(np.float32)


def _logistic(penalty: float) -> Fit:
    def fit(vectors: Vectors, labels: Labels, classes: int) -> Vectors:
        present, numbers = np.unique(labels, return_inverse=True)
        weights = np.zeros((classes, vectors.shape[1] + 1), dtype=np.float32)
        weights[:, -1] = -np.inf
        weights[present] = fit_logistic(vectors, numbers.astype(np.int64), classes=len(present), penalty=penalty)
        return weights

    return fit


Candidate = tuple[Literal["prototypes", "logistic"], float | None, Fit, _HeldOut]


def _candidates(vectors: Vectors, labels: Labels, folds: Labels, classes: int, kind: Kind) -> list[Candidate]:
    """What there is to choose from, the plainest first."""
    found: list[Candidate] = []
    if kind != "logistic":
        found.append(("prototypes", None, prototypes, _held_out(prototypes, vectors, labels, folds, classes)))
    for penalty in PENALTIES if kind != "prototypes" else ():
        fit = _logistic(penalty)
        found.append(("logistic", penalty, fit, _held_out(fit, vectors, labels, folds, classes)))
    return found


def _held_out(fit: Fit, vectors: Vectors, labels: Labels, folds: Labels, classes: int) -> _HeldOut:
    """Hold out each fold in turn."""
    scores, truth = [], []
    for fold in _used(folds):
        out = folds == fold
        scores.append(logits(vectors[out], fit(vectors[~out], labels[~out], classes)))
        truth.append(labels[out])
    return _HeldOut(np.concatenate(truth), np.concatenate(scores))


def _strangers(
    fit: Fit, vectors: Vectors, labels: Labels, folds: Labels, classes: int, temperature: float
) -> npt.NDArray[np.float32]:
    """The best likelihoods of items whose label the head was not shown, (m,); none with fewer than three labels."""
    if classes < 3:
        return np.empty(0, dtype=np.float32)
    groups = np.arange(classes) % min(_FOLDS, classes)
    best = []
    for group in np.unique(groups)[: 1 if len(labels) >= _ENOUGH else None]:
        out = np.isin(labels, np.flatnonzero(groups == group))
        # A head of a fold knows four fifths of the examples; so must this one, or it would be surer than those it is set beside.
        shown = ~out & (folds != group % _FOLDS)
        scores = logits(vectors[out], fit(vectors[shown], labels[shown], classes)) / np.float32(temperature)
        best.append(softmax(scores).max(axis=1))
    return np.concatenate(best) if best else np.empty(0, dtype=np.float32)


def _folds(labels: Labels, seed: int) -> Labels:
    """The fold of each example, 0 to 4, every label spread evenly; -1, never held out, of a label's only example."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[by_label] = np.arange(len(labels)) % _FOLDS
    folds[np.bincount(labels)[labels] == 1] = -1
    return folds


def _used(folds: Labels) -> list[int]:
    used = [int(fold) for fold in np.unique(folds[folds >= 0])]
    return used[:1] if len(folds) >= _ENOUGH else used


def _temperature(held: _HeldOut) -> float:
    """What to divide scores by so that held-out labels are most likely; a label that a fold had not seen is left out.

    Of m items the true label counts (m + 1) / (m + 2), and the others share the rest (Platt, Probabilistic Outputs for
    Support Vector Machines, 1999). Where every item is right
    the best temperature would else be 0, and all likelihoods 1, also those of what fits no label.
    """
    rows = np.flatnonzero(np.isfinite(held.scores[np.arange(len(held.labels)), held.labels]))
    if not len(rows):
        return 1.0
    scores, labels = held.scores[rows].astype(np.float64), held.labels[rows]
    target = (len(rows) + 1) / (len(rows) + 2)
    seen = np.isfinite(scores)
    centred = scores - scores.max(axis=1, keepdims=True)
    true = centred[np.arange(len(labels)), labels]
    others = np.where(seen, centred, 0).sum(axis=1) - true
    wanted = target * true + (1 - target) * others / np.maximum(seen.sum(axis=1) - 1, 1)
    losses = [
        float(np.mean(np.log(np.exp(centred / temperature).sum(axis=1)) - wanted / temperature))
        for temperature in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])
