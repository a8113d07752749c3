"""The part of a text that shows why it was found."""

from __future__ import annotations

from collections.abc import Sequence

LENGTH = 200
"""Characters of a snippet, about 30 words."""
_SCANNED = 20_000
_OCCURRENCES = 8
"""Of one word; where it stands more often, the later places are not looked at."""


def snippet(text: str, stems: Sequence[str] = (), *, length: int = LENGTH) -> str:
    """Cut the window with the most distinct query words out of a text.

    Args:
        text: the whole text; its first 20,000 characters are looked at.
        stems: beginnings of the query's words, in lower case. Without any of them in the text the snippet is its start.
        length: characters at most, ellipses not counted.

    Returns:
        The window on one line, cut at borders of words, with "…" where something was left out.
    """
    folded = " ".join(text[:_SCANNED].split())
    if len(folded) <= length:
        return folded
    start = _best_start(folded, stems, length)
    end = min(start + length, len(folded))
    if end < len(folded) and (space := folded.rfind(" ", start, end)) > start:
        end = space
    return f"{'… ' if start else ''}{folded[start:end]}{' …' if end < len(folded) else ''}"


def _best_start(folded: str, stems: Sequence[str], length: int) -> int:
    """Where the window begins: some words before the first word of the best group, at the border of a word."""
    lower = folded.lower()  # this can change the length of a text (İ); a window a little off is no harm
    found = sorted((place, stem) for stem in stems for place in _occurrences(lower, stem))
    best, best_count, last = 0, 0, 0
    counts: dict[str, int] = {}
    for position, word in found:
        while last < len(found) and found[last][0] < position + length * 3 // 4:
            counts[found[last][1]] = counts.get(found[last][1], 0) + 1
            last += 1
        if len(counts) > best_count:
            best, best_count = position, len(counts)
        counts[word] -= 1
        if not counts[word]:
            del counts[word]
    if best < length // 2:
        return 0
    begin = max(0, min(best, len(folded)) - length // 8)
    return folded.find(" ", begin, best) + 1 or min(best, len(folded) - 1)


def _occurrences(lower: str, stem: str) -> list[int]:
    """The first few places where a word of `lower` begins with `stem`. Searching word by word beats one regular expression."""
    places: list[int] = []
    at = lower.find(stem)
    while at >= 0 and len(places) < _OCCURRENCES:
        if at == 0 or not (lower[at - 1].isalnum() or lower[at - 1] == "_"):
            places.append(at)
        at = lower.find(stem, at + 1)
    return places
