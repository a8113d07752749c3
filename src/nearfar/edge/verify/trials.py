"""Trials of samples against templates that are made as a vault makes them: what ships is what is measured."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.edge.verify.normalise import CohortStatistics, cohort_statistics, normalised
from nearfar.edge.verify.template import make_template, match_scores
from nearfar.edge.verify.transform import KeyedTransform
from nearfar.errors import DataError
from nearfar.evaluate.verification import Trials

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

_MOST_IMPOSTOR = 2_000_000
"""Impostor trials beyond which each template meets only some of the samples of others, drawn by chance."""


class _Scored(NamedTuple):
    """The trials of one template."""

    genuine: Vectors
    same_session: npt.NDArray[np.bool_]
    impostor: Vectors
    impostor_sample: Numbers


def verification_trials(
    vectors: Vectors,
    labels: Numbers,
    sessions: Numbers,
    *,
    samples: int,
    components: int,
    seed: int,
    draws: int = 1,
    cohort: Vectors | None = None,
    most: int = _MOST_IMPOSTOR,
) -> Trials:
    """Enrol every identity that has samples enough, and hold all other samples against its template.

    A template is made of samples of one session, chosen by chance, and of a second one only where the first has too few, because
    people enrol in one go. So the other samples of the identity are of other sessions where there are such. The template has a
    transform of its own, and is rounded to int8, as in a vault.

    Args:
        vectors: embeddings of unit length, (n, d).
        labels: whose each is, int64 (n,).
        sessions: which were recorded in one go, int64 (n,); a number may come again with another identity.
        samples: that a template is made of; who has no more than that is no trial of his own, but an impostor to others.
        components: of a template, at most d.
        seed: of what is drawn.
        draws: how many times each identity is enrolled, by other samples. More of them use few samples better; they are no more
            evidence than one, so choose a threshold by one.
        cohort: embeddings of strangers, (m, d), to normalise scores by; None gives cosines.
        most: impostor trials in all, about.

    Returns:
        The trials, with the identities numbered as in `labels`; of one template lie together.

    Raises:
        DataError: nobody has more samples than a template is made of, or there is one identity alone.
    """
    known, counts = np.unique(labels, return_counts=True)
    enrolled = known[counts > samples]
    if not len(enrolled):
        raise DataError(
            f"nobody has more than {samples} samples, of which a template is made, so none is left to try it with: give more samples of "
            f"each (the most of one identity are {counts.max(initial=0)}), or make templates of fewer"
        )
    if len(known) < 2:
        raise DataError("there is one identity alone, and nobody to be told apart from: give samples of others too")
    strangers = max(1, most // (draws * len(enrolled)))
    of_samples = None if cohort is None else cohort_statistics(vectors @ cohort.T)
    found: list[_Scored] = []
    owners: list[int] = []
    for draw in range(draws):
        for identity in enrolled.tolist():
            generator = np.random.default_rng([seed, draw, identity])
            own = np.flatnonzero(labels == identity)
            chosen = enrolment(own, sessions[own], samples, generator)
            others = np.flatnonzero(labels != identity)
            if len(others) > strangers:
                others = np.sort(generator.choice(others, strangers, replace=False))
            tried = np.concatenate([np.setdiff1d(own, chosen), others])
            key = hashlib.sha256(f"trials {seed} {draw} {identity}".encode()).digest()
            transform = KeyedTransform(key, vectors.shape[1], components)
            scores = _scores(vectors, chosen, tried, transform, cohort, of_samples)
            held_out = len(own) - len(chosen)
            found.append(
                _Scored(
                    scores[:held_out],
                    np.isin(sessions[tried[:held_out]], sessions[chosen]),
                    scores[held_out:],
                    labels[others],
                )
            )
            owners.append(identity)
    return Trials(
        genuine=np.concatenate([one.genuine for one in found]),
        genuine_of=np.repeat(owners, [len(one.genuine) for one in found]).astype(np.int64),
        same_session=np.concatenate([one.same_session for one in found]),
        impostor=np.concatenate([one.impostor for one in found]),
        impostor_sample=np.concatenate([one.impostor_sample for one in found]),
        impostor_template=np.repeat(owners, [len(one.impostor) for one in found]).astype(np.int64),
    )


def enrolment(own: Numbers, sessions: Numbers, samples: int, generator: np.random.Generator) -> Numbers:
    """Samples for a template, session by session: the sessions in an order by chance, those that are enough alone first.

    Args:
        own: numbers of the samples of one identity, int64 (k,).
        sessions: of each, int64 (k,).
        samples: how many are taken, at most k.
        generator: of what is drawn.

    Returns:
        The chosen ones of `own`, ascending, int64 (samples,).
    """
    numbers, counts = np.unique(sessions, return_counts=True)
    order = generator.permutation(len(numbers))
    order = order[np.argsort(counts[order] < samples, kind="stable")]
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[order] = np.arange(len(numbers))
    shuffled = generator.permutation(len(own))
    by_session = shuffled[np.argsort(rank[np.searchsorted(numbers, sessions[shuffled])], kind="stable")]
    return np.sort(own[by_session[:samples]])


def _scores(
    vectors: Vectors,
    chosen: Numbers,
    tried: Numbers,
    transform: KeyedTransform,
    cohort: Vectors | None,
    of_samples: CohortStatistics | None,
) -> Vectors:
    template = make_template(vectors[chosen], transform)
    # A score is symmetric in its two sides but for the rounding of one: a template against all samples.
    scores = _against(template, transform.apply(vectors[tried]))
    if cohort is None or of_samples is None:
        return scores
    of_template = cohort_statistics(_against(template, transform.apply(cohort)))
    return normalised(scores, of_template, CohortStatistics(of_samples.mean[tried], of_samples.deviation[tried]))


def _against(template: npt.NDArray[np.int8], probes: Vectors) -> Vectors:
    return match_scores(np.broadcast_to(template, probes.shape), probes)
