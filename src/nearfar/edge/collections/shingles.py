"""How much of their wording two texts share."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")


def shingles(text: str, width: int = 3) -> frozenset[tuple[str, ...]]:
    """The runs of `width` words in a text, upper and lower case alike; of a shorter text all of it as one run."""
    words = _WORD.findall(text.casefold())
    if not words:  # nothing but signs: these are what there is to compare
        words = list("".join(text.split()))
    return frozenset(tuple(words[start : start + width]) for start in range(max(len(words) - width + 1, 1)))


def jaccard(first: str, second: str, width: int = 3) -> float:
    """The share of all word runs of two texts that are in both, 0 to 1.

    Args:
        first: a text.
        second: another.
        width: words in a run.

    Source: Broder, On the resemblance and containment of documents, 1997.
    """
    one, other = shingles(first, width), shingles(second, width)
    return len(one & other) / len(one | other)
