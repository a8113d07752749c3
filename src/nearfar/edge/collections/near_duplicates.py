"""Deduplicating a collection: the threshold, what is kept, and how texts are confirmed."""

from __future__ import annotations

from nearfar.edge.collections.dedupe import Group, find_duplicates
from nearfar.edge.collections.gather import Gathered
from nearfar.edge.collections.near_threshold import Threshold, chance
from nearfar.errors import DataError
from nearfar.progress import Stages, silent

KEEP = ("first", "longest")


def near_duplicates(
    gathered: Gathered,
    *,
    threshold: float | None = None,
    edits: float = 0.05,
    keep: str = "first",
    seed: int = 0,
    stages: Stages = silent,
) -> tuple[Threshold, list[Group]]:
    """The groups of the same or nearly the same items, and where `nearly` begins.

    Args:
        gathered: the items.
        threshold: least cosine. Without it the threshold comes from edited copies of the items, and the texts of a pair must
            also share as much of their wording as copies do, rows as many of their cells; with it the cosine alone decides.
        edits: share of the words, or cells, that change in a copy.
        keep: `first` keeps the first of a group in the order of the source, `longest` that with the most text or bytes.
        seed: of the sample.
        stages: told how far it is.

    Raises:
        DataError: an option is out of range.
    """
    if keep not in KEEP:
        raise DataError(f"there is no way to keep {keep!r}: choose {' or '.join(KEEP)}")
    if threshold is not None and not 0 < threshold <= 1:
        raise DataError(f"threshold is {threshold}: give a cosine above 0 and at most 1")
    collection = gathered.collection
    preference = collection.lengths if keep == "longest" else None
    if threshold is None:
        stages("choosing a threshold")
        found = gathered.threshold(edits=edits, seed=seed)
    else:
        found = Threshold(threshold, 0.0, None, chance(collection.vectors, threshold, seed=seed))

    overlap = gathered.overlap() if found.overlap else None

    def confirm(one: int, other: int) -> bool:
        return overlap is not None and overlap(one, other) >= found.overlap

    groups = find_duplicates(
        collection.vectors,
        found.cosine,
        digests=collection.digests,
        preference=preference,
        confirm=confirm if found.overlap else None,
        stages=stages,
    )
    return found, groups
