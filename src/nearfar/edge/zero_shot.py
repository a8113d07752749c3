"""Classifying items of any modality by the names of the classes alone, without one labelled example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.encoder import Encoder
from nearfar.edge.towers import Towers
from nearfar.embedder import Embedder, Item
from nearfar.errors import BundleError, DataError
from nearfar.evaluate.zero_shot import TEMPLATES, class_vectors
from nearfar.frontend.settings import JointSettings

Vectors = npt.NDArray[np.float32]


class Named(NamedTuple):
    """What an item is taken for.

    Attributes:
        label: name of the nearest class; None where the classifier abstains.
        score: how far its cosine stands out of what chance gives, in standard deviations where the bundle knows these, else the cosine.
        best: the nearest class, also of an item that it abstains from.
        margin: how much the score is above that of the second.
    """

    label: str | None
    score: float
    best: str
    margin: float


class ZeroShot:
    """Names of classes, embedded by the tower of texts of a bundle, against items of another tower.

    Attributes:
        labels: names of the classes.
    """

    def __init__(
        self,
        encoder: Embedder,
        texts: Embedder,
        labels: Sequence[str],
        *,
        templates: Sequence[str] = TEMPLATES,
        scale: tuple[float, float] = (0.0, 1.0),
        abstain: float | None = None,
    ) -> None:
        """Embed the names.

        Args:
            encoder: of the items.
            texts: of the names, into the same space.
            labels: names of the classes.
            templates: ways to say a name.
            scale: mean and standard deviation of cosines by chance.
            abstain: give no label with a lower score.

        Raises:
            DataError: labels or templates cannot be used.
        """
        self.labels = tuple(labels)
        self._encoder, self._scale, self._abstain = encoder, scale, abstain
        self._classes = class_vectors(texts, self.labels, templates)

    @classmethod
    def open(
        cls,
        bundle: str | Path | Bundle,
        labels: Sequence[str],
        *,
        tower: str,
        texts: str | None = None,
        templates: Sequence[str] = TEMPLATES,
        abstain: float | None = None,
        threads: int = 1,
    ) -> Self:
        """Open two towers of a bundle.

        Args:
            bundle: of several modalities, texts among them.
            labels: names of the classes, two or more, in a language of the training texts.
            tower: of the items.
            texts: the tower of the names; None takes the first one of texts.
            templates: ways to say a name, each with `{}` in its place; vectors are averaged over them.
            abstain: give no label whose score is lower.
            threads: CPU threads of one `classify`.

        Raises:
            BundleError: the bundle is damaged, or has not these towers.
            DataError: labels or templates cannot be used.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        manifest = opened.manifest
        if not isinstance(manifest.frontend, JointSettings):
            raise BundleError(
                f"{opened.path}: this bundle is of kind {manifest.kind}, and names can be compared with items only in one space of several "
                "modalities: give such a bundle, or fit a classifier from examples: nearfar classify fit"
            )
        encoder = Encoder.open(opened, tower=tower, threads=threads)
        towers = Towers.of_bundle(opened)
        try:
            named_by = towers.of_kind("text", texts)
        except DataError as error:
            raise BundleError(str(error)) from error
        known = manifest.joint.scales if manifest.joint is not None else ()
        scale = next(
            ((one.mean, one.spread) for one in known if (one.query, one.items) == (tower, named_by)), (0.0, 1.0)
        )
        names = encoder if named_by == tower else Encoder.open(opened, tower=named_by, threads=threads)
        return cls(encoder, names, labels, templates=templates, scale=scale, abstain=abstain)

    def scores(self, items: Sequence[Item]) -> Vectors:
        """How well each class fits each item.

        Args:
            items: n, as `Encoder.embed` of the tower takes them.

        Returns:
            float32 (n, classes), in the order of `labels`.

        Raises:
            DataError: an item cannot be used.
        """
        return self._scored(self._encoder.embed(items))

    def classify(self, items: Sequence[Item]) -> list[Named]:
        """The class of each item; arguments and errors as in `scores`."""
        return self.name_vectors(self._encoder.embed(items))

    def name_vectors(self, vectors: Vectors) -> list[Named]:
        """The class of each item that is embedded already, by the same tower: float32 (n, d), rows of unit length."""
        found = []
        for scores in self._scored(vectors):
            best, second = np.argsort(-scores, kind="stable")[:2]
            score, name = float(scores[best]), self.labels[best]
            kept = self._abstain is None or score >= self._abstain
            found.append(Named(name if kept else None, score, name, score - float(scores[second])))
        return found

    def _scored(self, vectors: Vectors) -> Vectors:
        mean, spread = self._scale
        return np.asarray((vectors @ self._classes.T - mean) / spread, np.float32)
