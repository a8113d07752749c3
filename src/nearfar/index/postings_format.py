"""How postings lie in a file: a header of counts, then arrays whose places follow from the counts."""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import StoreError

MAGIC = b"NFPOST\r\n"
VERSION = 1
BLOCK = 1 << 16
"""Passages that a two-byte posting can tell apart."""
_ALIGNMENT = 64
_LAST_ROW = 1 << 62
_HEADER = struct.Struct("<8sI4x6Qq")


@dataclass(frozen=True, slots=True)
class Counts:
    """What the header says besides magic and version; where each section lies follows from it.

    Attributes:
        passages: n, numbered from 0 in the order of their rows.
        stretches: runs of passages whose rows follow each other without a gap.
        words: v different words.
        runs: postings of one word, one block and one frequency.
        postings: pairs of a word and a passage.
        characters: bytes of all words.
        last_row: rows up to this one are covered, whether they are there or not.
    """

    passages: int
    stretches: int
    words: int
    runs: int
    postings: int
    characters: int
    last_row: int

    def layout(self) -> dict[str, tuple[str, int]]:
        """Type and length of each section, in the order of the file; the one that is streamed comes first."""
        return {
            "low": ("<u2", self.postings),
            "lengths": ("<u4", self.passages),
            "stretch_passages": ("<u4", self.stretches),
            "stretch_rows": ("<i8", self.stretches),
            "word_ends": ("<u4", self.words + 1),
            "word_runs": ("<u4", self.words + 1),
            "run_begins": ("<u4", self.runs + 1),
            "run_blocks": ("<u2", self.runs),
            "run_frequencies": ("<u2", self.runs),
            "characters": ("<u1", self.characters),
        }


def pack_header(counts: Counts) -> bytes:
    """The first bytes of a file, up to the first section."""
    return _HEADER.pack(MAGIC, VERSION, *astuple(counts)).ljust(aligned(_HEADER.size), b"\0")


def aligned(size: int) -> int:
    """`size` rounded up to where a section may begin."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def sections_of(view: memoryview, counts: Counts) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file, where they lie."""
    sections: dict[str, npt.NDArray[Any]] = {}
    begin = aligned(_HEADER.size)
    for section, (kind, length) in counts.layout().items():
        sections[section] = np.frombuffer(view, dtype=kind, count=length, offset=begin)
        begin = aligned(begin + length * np.dtype(kind).itemsize)
    return sections


def read_header(view: memoryview, name: str) -> Counts:
    """The counts of a file that is as long as they say.

    Raises:
        StoreError: it is no such file, is of another version, or is not complete.
    """
    if len(view) < _HEADER.size or bytes(view[: len(MAGIC)]) != MAGIC:
        raise StoreError(f"{name}: this is no file of keyword postings; it is made again by the next indexing")
    _, version, *numbers = _HEADER.unpack_from(view)
    if version != VERSION:
        raise StoreError(
            f"{name}: the keyword postings have version {version}, this nearfar reads {VERSION}; "
            "they are made again by the next indexing"
        )
    counts = Counts(*numbers)
    size = aligned(_HEADER.size)
    for kind, length in counts.layout().values():
        size = aligned(size + length * np.dtype(kind).itemsize)
    if size != len(view):
        raise StoreError(
            f"{name}: the keyword postings are not complete ({len(view)} bytes of {size}); "
            "they are made again by the next indexing"
        )
    return counts


def climbs(offsets: npt.NDArray[np.uint32], end: int) -> bool:
    """Whether offsets go from 0 to `end` and never back."""
    return bool(offsets[0] == 0 and offsets[-1] == end and (offsets[1:] >= offsets[:-1]).all())


def stretches_fit(passages: npt.NDArray[np.uint32], rows: npt.NDArray[np.int64], counts: Counts) -> bool:
    """Whether the stretches cover all passages and their rows only grow, up to the last one."""
    if not counts.passages:
        return not counts.stretches
    if not counts.stretches or passages[0] != 0 or int(passages[-1]) >= counts.passages:
        return False
    sizes = np.diff(passages.astype(np.int64), append=counts.passages)
    ends = rows + sizes
    return bool(
        counts.last_row < _LAST_ROW
        and ((rows >= 0) & (rows <= counts.last_row) & (sizes > 0)).all()
        and (rows[1:] >= ends[:-1]).all()
        and ends[-1] <= counts.last_row + 1
    )
