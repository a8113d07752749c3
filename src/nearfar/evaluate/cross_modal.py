"""Retrieval across modalities: whether items of one kind find those of another that belong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.evaluate.bootstrap import Interval, mean_interval, median_interval
from nearfar.index.exact import top_k

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RECALLS = (1, 5, 10)
"""Depths at which recall is measured."""

_DEPTH = 10
_QUERIES_AT_A_TIME = 256


class Kept(NamedTuple):
    """Which keys each item of a list has: a key is of a row of partners, or of a label, and items that share one belong together.

    Attributes:
        places: (l,) int64, of the item in its list; an item may come up several times, with another key each.
        keys: (l,) int64, 0 or more.
    """

    places: Ints
    keys: Ints


class Partners:
    """Which items of a gallery belong with each query: those that share a key with it.

    Args:
        queries: keys of the queries.
        gallery: keys of the items to find.
        asked: q, how many queries there are.
        found: m, how many items are in the gallery.
        own: (q,) int64, the place of each query itself in the gallery, where it is neither a partner nor found; None where queries are
            no items of it.

    Attributes:
        gallery: m.
        own: as given.

    Raises:
        ValueError: a place is out of range, or places and keys do not fit together.
    """

    def __init__(self, queries: Kept, gallery: Kept, *, asked: int, found: int, own: Ints | None = None) -> None:
        for name, kept, count in (("queries", queries, asked), ("gallery", gallery, found)):
            if kept.places.shape != kept.keys.shape or kept.places.ndim != 1:
                raise ValueError(f"{name}: {kept.places.shape} places but {kept.keys.shape} keys")
            if len(kept.places) and not 0 <= kept.places.min() <= kept.places.max() < count:
                raise ValueError(f"{name}: places must be 0 to {count - 1}")
        order = np.lexsort((gallery.places, gallery.keys))
        self._places, keys = gallery.places[order], gallery.keys[order]
        asking = np.argsort(queries.places, kind="stable")
        self._starts = np.searchsorted(queries.places[asking], np.arange(asked + 1))
        wanted = queries.keys[asking]
        self._first, self._last = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
        self.gallery, self.own = found, own

    def __len__(self) -> int:
        return len(self._starts) - 1

    def of(self, query: int) -> Ints:
        """Places in the gallery of what belongs with a query: int64, ascending, each once."""
        spans = range(int(self._starts[query]), int(self._starts[query + 1]))
        parts = [self._places[self._first[span] : self._last[span]] for span in spans]
        places = np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)
        return places if self.own is None else places[places != self.own[query]]

    def counts(self) -> Ints:
        """(q,) how many belong with each query."""
        return np.array([len(self.of(query)) for query in range(len(self))], dtype=np.int64)


class CrossModal(NamedTuple):
    """How well queries of one modality find their partners of another, with 95 % intervals.

    Attributes:
        recall_at_1: share of queries with a partner in the first place; with `recall_at_5` and `recall_at_10` among the first five and
            ten. One of several partners is enough.
        mrr_at_10: mean reciprocal rank of the first partner, 0 where none is among the first ten.
        median_rank: of the first partner, from 1.
    """

    recall_at_1: Interval
    recall_at_5: Interval
    recall_at_10: Interval
    mrr_at_10: Interval
    median_rank: Interval


def first_ranks(queries: Vectors, gallery: Vectors, partners: Partners) -> Ints:
    """At which place of its ranking each query meets the first item that belongs with it.

    Args:
        queries: (q, d) float32, rows of unit length.
        gallery: (m, d) float32, rows of unit length.
        partners: of q queries in a gallery of m; each has at least one.

    Returns:
        (q,) int64, 1 to m; among equal cosines the lower place of the gallery stands first.

    Raises:
        DataError: a query has no partner, so that no ranking can be right.
        ValueError: shapes do not fit.
    """
    _check(queries, gallery, partners)
    ranks = np.empty(len(queries), np.int64)
    for first, scores in cosines_by_block(queries, gallery, partners):
        for row, cosines in enumerate(scores):
            query = first + row
            places = partners.of(query)
            if not len(places):
                raise DataError(
                    f"query {query} has no partner in the gallery, so no ranking can be right; leave it out"
                )
            best = places[np.argmax(cosines[places])]
            before = (cosines > cosines[best]).sum() + (cosines[:best] == cosines[best]).sum()
            ranks[query] = before + 1
    return ranks


def summarise_ranks(ranks: Ints, *, resamples: int = 2000, seed: int = 0) -> CrossModal:
    """Figures of the places of first partners.

    Args:
        ranks: (q,) int64, from 1.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: there are no queries.
    """
    at_1, at_5, at_10 = (
        mean_interval((ranks <= k).astype(np.float64), resamples=resamples, seed=seed) for k in RECALLS
    )
    mrr = mean_interval(np.where(ranks <= _DEPTH, 1.0 / ranks, 0.0), resamples=resamples, seed=seed)
    median = median_interval(ranks.astype(np.float64), resamples=resamples, seed=seed)
    return CrossModal(at_1, at_5, at_10, mrr, median)


def chance_recall(partners: Partners, k: int) -> float:
    """The recall that a random order of the gallery gives: 1 - C(m - r, k) / C(m, k), mean over queries with r partners.

    Args:
        partners: of q queries in a gallery of m.
        k: depth, at least 1.

    Raises:
        DataError: there are no queries.
    """
    if not len(partners):
        raise DataError("there are no queries to take a mean over; give the evaluation at least one")
    counts, size, missed = partners.counts(), _others(partners), np.ones(len(partners))
    for drawn in range(min(k, size)):
        missed *= np.maximum(size - counts - drawn, 0) / (size - drawn)
    return float(1 - missed.mean())


def precision_at(queries: Vectors, gallery: Vectors, partners: Partners, k: int = _DEPTH) -> Floats:
    """Share of the first k that belong with the query, for each query; where fewer than k belong, of as many as do.

    Args:
        queries: (q, d) float32, rows of unit length.
        gallery: (m, d) float32, rows of unit length.
        partners: of q queries in a gallery of m.
        k: depth, at least 1.

    Returns:
        (q,) float64.

    Raises:
        ValueError: shapes do not fit.
    """
    _check(queries, gallery, partners)
    shares = np.zeros(len(queries))
    for first, scores in cosines_by_block(queries, gallery, partners):
        _, nearest = top_k(scores, np.arange(len(gallery), dtype=np.int64), min(k, _others(partners)))
        for row, places in enumerate(nearest):
            belonging = partners.of(first + row)
            shares[first + row] = np.isin(places, belonging).sum() / max(1, min(len(places), len(belonging)))
    return shares


def chance_precision(partners: Partners, k: int = _DEPTH) -> float:
    """The precision that a random order of the gallery gives, see `precision_at`."""
    counts, size = partners.counts(), _others(partners)
    within = np.maximum(1, np.minimum(min(k, size), counts))
    return float((min(k, size) * counts / size / within).mean())


def cosines_by_block(queries: Vectors, gallery: Vectors, partners: Partners) -> Iterator[tuple[int, Vectors]]:
    """Yield the number of a first query, and cosines (b, m) of some from it on; that with itself is -inf."""
    for first in range(0, len(queries), _QUERIES_AT_A_TIME):
        cosines = queries[first : first + _QUERIES_AT_A_TIME] @ gallery.T
        if partners.own is not None:
            own = partners.own[first : first + len(cosines)]
            cosines[np.arange(len(own)), own] = -np.inf
        yield first, cosines


def _others(partners: Partners) -> int:
    """How many items a query can find."""
    return partners.gallery - (partners.own is not None)


def _check(queries: Vectors, gallery: Vectors, partners: Partners) -> None:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {queries.shape} and gallery {gallery.shape} must be (q, d) and (m, d)")
    if (len(queries), len(gallery)) != (len(partners), partners.gallery):
        raise ValueError(
            f"partners are of {len(partners)} queries in a gallery of {partners.gallery}, but there are {len(queries)} and {len(gallery)}"
        )
