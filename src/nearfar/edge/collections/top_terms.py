"""The terms that tell a cluster of texts from the others."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

MOST_TERMS = 30_000
"""How many different terms are counted; the rarest of more are left out."""

_TERM = re.compile(r"[^\W\d_][\w'’-]*[^\W_]")
_ROOM = 8


def terms_of(text: str) -> list[str]:
    """The words of a text of at least two letters, upper and lower case alike."""
    return _TERM.findall(text.casefold())


def top_terms(texts: Iterable[str], clusters: Sequence[int], *, count: int = 5) -> list[list[str]]:
    """The terms of each cluster with the largest class-based TF-IDF, best first.

    The weight of term t in cluster c is `tf(t, c) * log(1 + A / f(t))`: the share of the cluster's words that are t, times a
    factor that falls with the number of times f that t is used in all clusters, where A is the mean number of words in a cluster.
    A word counts once a text, so that one text that repeats it does not name its cluster. Words in more than half of the texts
    of most clusters say nothing about any, and are left out where there are three clusters or more.

    Memory is bounded by the number of terms: where too many come up, those seen least are forgotten (lossy counting).

    Args:
        texts: n texts.
        clusters: n numbers, from 0.
        count: terms a cluster.

    Returns:
        A list of terms for each cluster; empty where its texts have no words.

    Source: Grootendorst, BERTopic: Neural topic modeling with a class-based TF-IDF procedure (arXiv:2203.05794), section 3.3.
    """
    number = max(clusters, default=-1) + 1
    counts: list[Counter[str]] = [Counter() for _ in range(number)]
    sizes = Counter(clusters)
    held = 0
    for text, cluster in zip(texts, clusters, strict=True):
        before = len(counts[cluster])
        counts[cluster].update(set(terms_of(text)))
        held += len(counts[cluster]) - before
        if held > _ROOM * MOST_TERMS:
            held = _forget(counts, _ROOM * MOST_TERMS // 2)
    totals: Counter[str] = Counter()
    for of_cluster in counts:
        totals.update(of_cluster)
    spread = Counter(
        term for cluster, of in enumerate(counts) for term, uses in of.items() if 2 * uses > sizes[cluster]
    )
    common = {term for term, many in spread.items() if number > 2 and 2 * many > number}
    mean = sum(totals.values()) / max(number, 1)
    found = []
    for of_cluster in counts:
        weights = {
            term: uses * math.log(1 + mean / totals[term]) for term, uses in of_cluster.items() if term not in common
        }
        found.append(sorted(weights, key=lambda term: (-weights[term], term))[:count])
    return found


def _forget(counts: list[Counter[str]], most: int) -> int:
    """Drop the counts that are lowest until at most so many are left; how many are left."""
    least = 1
    while (held := sum(map(len, counts))) > most:
        for of_cluster in counts:
            for term in [term for term, uses in of_cluster.items() if uses <= least]:
                del of_cluster[term]
        least += 1
    return held
