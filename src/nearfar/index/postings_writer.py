"""Writing postings in one pass over the occurrences of words, with little in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nearfar.errors import StoreError
from nearfar.index.postings_format import BLOCK, Counts, aligned, pack_header

_TAKEN_AT_ONCE = 1 << 19
_MOST = (1 << 32) - 1
_MOST_OFTEN = (1 << 16) - 1

Integers = npt.NDArray[np.int64]


def write_postings(
    file: BinaryIO,
    rows: Integers,
    words: Iterable[tuple[bytes, int]],
    occurrences: Iterable[Integers],
    *,
    last_row: int | None = None,
) -> None:
    """Write the postings of passages.

    Postings go to the file as they come. What is kept meanwhile is 4 bytes a passage, 8 bytes a run (about 2 runs for a
    rare word, 50 for a common one), the words themselves, and the occurrences of one word.

    Args:
        file: an empty file that can be sought.
        rows: int64 (n,), ascending, none below 0: the passages.
        words: each different word in UTF-8 and how often it occurs in all passages, in the order of the bytes.
        occurrences: int64 (any,) arrays which together give, word after word, the row of every occurrence, ascending
            within a word.
        last_row: rows up to this one count as covered; the last of `rows` by default.

    Raises:
        StoreError: words, occurrences and rows do not fit each other, or there are more than 4 billion postings.
        OSError: the file could not be written.
    """
    characters = bytearray()
    word_ends, word_runs = [0], [0]
    run_sizes: list[npt.NDArray[np.uint32]] = []
    run_blocks: list[npt.NDArray[np.uint16]] = []
    run_frequencies: list[npt.NDArray[np.uint16]] = []
    lengths = np.zeros(len(rows), dtype=np.uint32)
    postings = 0
    file.write(bytes(len(pack_header(Counts(0, 0, 0, 0, 0, 0, 0)))))
    for names, sizes, found in _whole_words(words, occurrences):
        for name in names:
            characters += name
            word_ends.append(len(characters))
        passages = _numbered(rows, found)
        lengths += np.bincount(passages, minlength=len(rows)).astype(np.uint32)
        word, passages, frequency = _counted(np.repeat(np.arange(len(names)), sizes), passages)
        block = passages // BLOCK
        order = np.lexsort((frequency, block, word))  # stable: passages ascend within a run
        file.write((passages[order] % BLOCK).astype("<u2").tobytes())
        begins = _changes(word[order], block[order], frequency[order])
        run_sizes.append(np.diff(begins, append=len(word)).astype(np.uint32))
        run_blocks.append(block[order][begins].astype(np.uint16))
        run_frequencies.append(frequency[order][begins].astype(np.uint16))
        runs = np.bincount(word[order][begins], minlength=len(names))
        word_runs += (word_runs[-1] + np.cumsum(runs)).tolist()
        postings += len(word)
    if max(postings, len(characters), word_runs[-1], len(rows)) > _MOST:
        raise StoreError(
            "the index is too large for keyword postings (more than 4 billion); keywords are searched without"
        )
    first = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    if last_row is None:
        last_row = int(rows[-1]) if len(rows) else 0
    counts = Counts(len(rows), len(first), len(word_ends) - 1, word_runs[-1], postings, len(characters), last_row)
    sections: dict[str, Any] = {
        "lengths": lengths,
        "stretch_passages": first,
        "stretch_rows": rows[first],
        "word_ends": word_ends,
        "word_runs": word_runs,
        "run_begins": np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *run_sizes])),
        "run_blocks": np.concatenate([np.zeros(0, dtype=np.uint16), *run_blocks]),
        "run_frequencies": np.concatenate([np.zeros(0, dtype=np.uint16), *run_frequencies]),
        "characters": np.frombuffer(bytes(characters), dtype=np.uint8),
    }
    for section, (kind, _) in counts.layout().items():
        if section in sections:
            file.write(np.asarray(sections[section]).astype(kind).tobytes())
        file.write(bytes(aligned(file.tell()) - file.tell()))
    file.seek(0)
    file.write(pack_header(counts))


def _whole_words(
    words: Iterable[tuple[bytes, int]], occurrences: Iterable[Integers]
) -> Iterator[tuple[list[bytes], list[int], Integers]]:
    """Cut both streams at the same words: names, how often each occurs, and the rows of all these occurrences."""
    arriving = iter(occurrences)
    waiting = np.zeros(0, dtype=np.int64)
    names: list[bytes] = []
    sizes: list[int] = []
    total = 0

    def taken(count: int) -> Integers:
        nonlocal waiting
        parts, have = [waiting], len(waiting)
        while have < count:
            part = next(arriving, None)
            if part is None:
                raise StoreError("the keyword index is damaged (words occur less often than it says)")
            parts.append(part)
            have += len(part)
        joined = np.concatenate(parts)
        waiting = joined[count:]
        return joined[:count]

    for name, count in words:
        names.append(name)
        sizes.append(count)
        total += count
        if total >= _TAKEN_AT_ONCE:
            yield names, sizes, taken(total)
            names, sizes, total = [], [], 0
    if names:
        yield names, sizes, taken(total)
    if len(waiting) or next((part for part in arriving if len(part)), None) is not None:
        raise StoreError("the keyword index is damaged (words occur more often than it says)")


def _numbered(rows: Integers, found: Integers) -> Integers:
    """The numbers of the passages in the rows that were found."""
    if not len(rows):
        raise StoreError("the keyword index is damaged (it has words of passages that are not there)")
    passages = np.minimum(np.searchsorted(rows, found), len(rows) - 1)
    if not np.array_equal(rows[passages], found):
        raise StoreError("the keyword index is damaged (it has words of passages that are not there)")
    return passages


def _counted(word: Integers, passages: Integers) -> tuple[Integers, Integers, Integers]:
    """Word, passage and frequency of each pair that occurs; more often than 65,535 times counts as that."""
    begins = _changes(word, passages)
    frequency = np.minimum(np.diff(begins, append=len(word)), _MOST_OFTEN)
    return word[begins], passages[begins], frequency


def _changes(*columns: Integers) -> Integers:
    """Where a row of the columns differs from the one before; the first does."""
    if not len(columns[0]):
        return np.zeros(0, dtype=np.int64)
    differs = np.zeros(len(columns[0]), dtype=bool)
    differs[0] = True
    for column in columns:
        differs[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(differs)
