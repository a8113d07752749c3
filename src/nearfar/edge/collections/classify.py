"""Classifying texts or pictures with the classifier of a bundle, which may say that it does not know."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.encoder import Encoder
from nearfar.embedder import Item
from nearfar.errors import BundleError, DataError

Vectors = npt.NDArray[np.float32]


class Label(NamedTuple):
    """What an item is taken for.

    Attributes:
        label: None where the classifier abstains.
        score: how likely the best label is, 0 to 1.
        best: the most likely label, also of an item that it abstains from.
    """

    label: str | None
    score: float
    best: str


class Classifier:
    """The classifier of a bundle: its stored head, or else the `classes` that its graph was fine-tuned for.

    One classifier may be used from several threads.
    """

    def __init__(self, encoder: Encoder, *, abstain: float | None = None) -> None:
        """Take the head from the bundle of `encoder`, which must keep all components; see `open`."""
        bundle = encoder.bundle
        head = bundle.manifest.head
        if abstain is not None and not 0 <= abstain <= 1:
            raise DataError(f"abstain is {abstain}: give a likelihood from 0 (never abstain) to 1")
        if head is None and not encoder.classes:
            raise BundleError(
                f"{bundle.path}: this bundle has no classifier, only embeddings: "
                "make one with: nearfar classify fit BUNDLE LABELLED -o NEW"
            )
        if head is not None and encoder.dim != bundle.manifest.dim:
            raise BundleError(
                f"{bundle.path}: the classifier needs all {bundle.manifest.dim} components, but dim is {encoder.dim}: leave dim out"
            )
        self._encoder = encoder
        self._weights = None if head is None else _weights(bundle, len(head.labels))
        self.labels: tuple[str, ...] = encoder.classes if head is None else head.labels
        """What it tells apart."""
        self.threshold: float = abstain if abstain is not None else (head.threshold if head else 0.0)
        """It abstains where the best label is less likely than this."""

    @classmethod
    def open(
        cls, bundle: str | Path | Bundle, *, abstain: float | None = None, tower: str | None = None, threads: int = 1
    ) -> Self:
        """Open the classifier of a bundle.

        Args:
            bundle: a directory, or a bundle that is already open.
            abstain: give no label that is less likely than this; by default what was chosen when the head was fitted.
            tower: of a bundle of several modalities, which one takes the items: its head may have been learned from those of another.
            threads: CPU threads of one `classify`.

        Raises:
            BundleError: the bundle is damaged, or has no classifier.
            DataError: `abstain` is not between 0 and 1.
        """
        return cls(Encoder.open(bundle, threads=threads, tower=tower), abstain=abstain)

    def classify(self, items: Sequence[Item]) -> list[Label]:
        """The label of each item.

        Args:
            items: texts or pictures, as `Encoder.embed` takes them.

        Returns:
            One label an item.

        Raises:
            DataError: an item is not a string, or not a picture that can be used.
        """
        return self._labels(self.likelihoods(items))

    def likelihoods(self, items: Sequence[Item]) -> Vectors:
        """How likely each label is for each item: float32 (n, labels), rows add up to 1."""
        if self._weights is None:
            return self._encoder.classify(items)
        return softmax(logits(self._encoder.embed(items), self._weights))

    def classify_vectors(self, vectors: Vectors) -> list[Label]:
        """The label of each item that is embedded already by the same bundle.

        Args:
            vectors: float32 (n, d), rows of unit length, with all components.

        Raises:
            BundleError: the classifier is part of the graph and needs the items.
        """
        if self._weights is None:
            raise BundleError(
                f"{self._encoder.bundle.path}: its classifier is part of the graph and needs the items, not vectors: "
                "give the source, or make a head with: nearfar classify fit"
            )
        return self._labels(softmax(logits(vectors, self._weights)))

    def _labels(self, likely: Vectors) -> list[Label]:
        best = likely.argmax(axis=1) if len(likely) else np.empty(0, dtype=np.int64)
        found = []
        for row, column in enumerate(best.tolist()):
            score, name = float(likely[row, column]), self.labels[column]
            found.append(Label(name if score >= self.threshold else None, score, name))
        return found


def logits(vectors: Vectors, weights: Vectors) -> Vectors:
    """Scores (n, c) of vectors (n, d) by weights (c, d + 1), whose last column is the bias."""
    return vectors @ weights[:, :-1].T + weights[:, -1]


def softmax(scores: Vectors) -> Vectors:
    """Each row (n, c) as likelihoods that add up to 1."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def _weights(bundle: Bundle, labels: int) -> Vectors:
    head = bundle.manifest.head
    assert head is not None
    where = bundle.path / head.weights
    shape = (labels, bundle.manifest.dim + 1)
    try:
        weights = np.load(io.BytesIO(bundle.read(head.weights)), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BundleError(f"{where}: not a sound .npy file ({error}): fit the classifier again") from error
    if weights.dtype != np.float32 or weights.shape != shape or not np.isfinite(weights).all():
        raise BundleError(
            f"{where}: holds {weights.dtype} {weights.shape} where the manifest promises finite float32 {shape}: "
            "fit the classifier again"
        )
    return np.asarray(weights)
