"""A sample's embedding held against sealed templates, as in the trials that chose the threshold."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.verify.cohort import read_cohort
from nearfar.edge.verify.normalise import CohortStatistics, cohort_statistics, normalised
from nearfar.edge.verify.record import Record
from nearfar.edge.verify.template import make_template, match_scores
from nearfar.edge.verify.transform import KeyedTransform, apply_each

Vectors = npt.NDArray[np.float32]

SEED_BYTES = 32


class Scoring:
    """Makes templates, and scores samples against them.

    Args:
        bundle: whose encoder gives the embeddings; its cohort, where it has one, normalises the scores.
        components: of a template.

    Raises:
        BundleError: the cohort is no matrix of embeddings.
    """

    def __init__(self, bundle: Bundle, components: int) -> None:
        self._dim, self._components = bundle.manifest.dim, components
        self._cohort = read_cohort(bundle)

    def record(self, identity: str, vectors: Vectors, *, version: int, now: float) -> Record:
        """Make the template of an identity, with a rotation of its own.

        Args:
            identity: the name.
            vectors: embeddings of its samples, unit rows (k, d).
            version: of the template.
            now: seconds since 1970.

        Raises:
            ValueError: the embeddings cancel each other out.
        """
        seed = secrets.token_bytes(SEED_BYTES)
        transform = KeyedTransform(seed, self._dim, self._components)
        template = make_template(vectors, transform)
        return Record(identity, version, seed, template, now, len(vectors), self._of_template(template, transform))

    def stand_in(self) -> Record:
        """A template of nobody, to be compared where a name has none."""
        direction = np.frombuffer(secrets.token_bytes(self._dim), dtype=np.int8).astype(np.float32) + 0.5
        return self.record("", direction[None] / np.linalg.norm(direction), version=1, now=time.time())

    def scores(self, records: Sequence[Record], vector: Vectors) -> Vectors:
        """Score a sample against templates.

        Args:
            records: N of them.
            vector: embedding of the sample, unit (d,).

        Returns:
            float32 (N,): cosines, or normalised scores where the bundle has a cohort.
        """
        probes = apply_each([record.seed for record in records], vector, self._components)
        scores = match_scores(np.stack([record.template for record in records]), probes)
        probes.fill(0)
        if self._cohort is None:
            return scores
        kept = np.array([record.cohort for record in records], dtype=np.float32)
        return normalised(scores, CohortStatistics(kept[:, 0], kept[:, 1]), cohort_statistics(vector @ self._cohort.T))

    def _of_template(self, template: npt.NDArray[np.int8], transform: KeyedTransform) -> tuple[float, float] | None:
        if self._cohort is None:
            return None
        probes = transform.apply(self._cohort)
        statistics = cohort_statistics(match_scores(np.broadcast_to(template, probes.shape), probes))
        return float(statistics.mean[0]), float(statistics.deviation[0])
