"""Lines as they come: from standard input, from a file, from the end of a file that grows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nearfar.errors import DataError

_BLOCK = 1 << 16  # bytes that are read at a time; what is made of them takes ten times as much
_LONGEST = 1 << 20  # bytes of a line; more is no table


class _Splitter:
    """Whole lines of pieces of text."""

    def __init__(self, where: str) -> None:
        self._where, self._rest = where, b""

    def feed(self, piece: bytes) -> list[str]:
        """The lines that end in this piece."""
        whole, newline, rest = (self._rest + piece).rpartition(b"\n")
        self._rest = rest
        if len(rest) > _LONGEST:
            raise DataError(f"{self._where}: a line of more than {_LONGEST:,} bytes: this is no table of text")
        return _decoded(whole) if newline else []

    def last(self) -> list[str]:
        """What was begun when it ended."""
        rest, self._rest = self._rest, b""
        return _decoded(rest)


def standard_input(descriptor: int = 0) -> Iterator[list[str]]:
    """Whatever lines are there, as soon as there are some."""
    splitter = _Splitter("standard input")
    # Not through sys.stdin: its buffer waits for more, and its lock, held by a thread, stops Python from ending.
    while piece := os.read(descriptor, _BLOCK):
        if lines := splitter.feed(piece):
            yield lines
    yield splitter.last()


def file_lines(path: Path) -> Iterator[list[str]]:
    """The lines of a file, in blocks.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    splitter = _Splitter(str(path))
    with _opened(path) as file:
        while piece := file.read(_BLOCK):
            yield splitter.feed(piece)
    yield splitter.last()


def followed(path: Path, *, only_new: bool = False, pause: float = 0.2) -> Iterator[list[str]]:
    """The lines of a file, and all that are written to it later; never ends.

    A file that is moved away is read to its end, then the new one of that name from its beginning; one that became shorter is
    read again from its beginning.

    Args:
        path: a file that is there.
        only_new: pass over the lines that are there already, but for the first, which names the columns.
        pause: seconds between two looks.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    splitter = _Splitter(str(path))
    file = _opened(path)
    try:
        if only_new:
            yield _decoded(file.readline())
            _to_last_line(file)
        while True:
            if piece := file.read(_BLOCK):
                if lines := splitter.feed(piece):
                    yield lines
                continue
            found = _look(path)
            if found is None or _same(found, file):
                if found is not None and found.st_size < file.tell():
                    splitter.last()  # half a line of what is gone
                    file.seek(0)
                else:
                    time.sleep(pause)
                continue
            # A new file. What was written to the old one between the last read and the move comes first.
            while piece := file.read(_BLOCK):
                yield splitter.feed(piece)
            yield splitter.last()
            file.close()
            file = _opened(path)
    finally:
        file.close()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the name and the permissions") from error


def _to_last_line(file: BinaryIO) -> None:
    """Go behind the last newline, so that a line that is being written is read whole."""
    first = file.tell()
    end = file.seek(0, os.SEEK_END)
    start = max(first, end - _LONGEST)
    file.seek(start)
    tail = file.read(end - start)
    newline = tail.rfind(b"\n")
    file.seek(start + newline + 1 if newline >= 0 else start)


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None  # moved away, and the new one is not there yet


def _same(found: os.stat_result, file: BinaryIO) -> bool:
    known = os.fstat(file.fileno())
    return (found.st_dev, found.st_ino) == (known.st_dev, known.st_ino)


def _decoded(text: bytes) -> list[str]:
    """Lines without their ends; what is not UTF-8 (an old degree sign) becomes a mark."""
    return [line.removesuffix("\r") for line in text.decode("utf-8-sig", "replace").split("\n") if line.strip()]
