"""Texts and token ids in flat files, memory-mapped: random access by number, whatever the size of the corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self, overload

import numpy as np
import numpy.typing as npt


def text_key(text: str) -> int:
    """The 64-bit identity of a text (BLAKE2b): two texts with equal keys are taken as the same text."""
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True
    )


class FlatWriter(AbstractContextManager["FlatWriter"]):
    """Appends records of varying length to `<stem>.bin`, their ends to `<stem>.ends`."""

    def __init__(self, stem: Path) -> None:
        self._values = stem.with_suffix(".bin").open("wb")
        self._ends = stem.with_suffix(".ends").open("wb")
        self._end = 0
        self.count = 0

    def append(self, record: bytes, length: int) -> int:
        """Write one record of `length` elements; returns its number."""
        self._values.write(record)
        self._end += length
        self._ends.write(self._end.to_bytes(8, "little"))
        self.count += 1
        return self.count - 1

    def close(self) -> None:
        """Write what waits."""
        self._values.close()
        self._ends.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _map(path: Path, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")


class FlatFile:
    """Records written by `FlatWriter`, read by number without loading the file."""

    def __init__(self, stem: Path, dtype: npt.DTypeLike) -> None:
        self._values = _map(stem.with_suffix(".bin"), dtype)
        self._ends = _map(stem.with_suffix(".ends"), np.dtype("<i8"))

    def __len__(self) -> int:
        return len(self._ends)

    def record(self, number: int) -> npt.NDArray[np.generic]:
        """Record `number` as a view of the file."""
        start = int(self._ends[number - 1]) if number else 0
        return self._values[start : int(self._ends[number])]

    def lengths(self) -> npt.NDArray[np.int64]:
        """Length of every record (n,)."""
        ends: npt.NDArray[np.int64] = self._ends.astype(np.int64)
        return np.diff(np.concatenate([np.zeros(1, np.int64), ends]))


class TextFile(Sequence[str]):
    """The texts of a corpus by number."""

    def __init__(self, stem: Path) -> None:
        self._file = FlatFile(stem, np.uint8)

    def __len__(self) -> int:
        return len(self._file)

    @overload
    def __getitem__(self, number: int) -> str: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[str]: ...
    def __getitem__(self, number: int | slice) -> str | Sequence[str]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._file.record(number).tobytes().decode("utf-8", "surrogatepass")

    @classmethod
    def writer(cls, stem: Path) -> FlatWriter:
        """A writer for `append_text`."""
        return FlatWriter(stem)


def append_text(writer: FlatWriter, text: str) -> int:
    """Write one text; returns its number."""
    raw = text.encode("utf-8", "surrogatepass")
    return writer.append(raw, len(raw))


class TokenFile:
    """The token ids of a corpus by number (int32)."""

    def __init__(self, stem: Path) -> None:
        self._file = FlatFile(stem, np.dtype("<i4"))

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, number: int) -> npt.NDArray[np.int32]:
        return self._file.record(number).astype(np.int32, copy=False)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens in every text (n,)."""
        return self._file.lengths()

    @classmethod
    def write(cls, stem: Path, records: Iterable[npt.NDArray[np.int32]]) -> Self:
        """Write all `records` and open the file."""
        with FlatWriter(stem) as writer:
            for record in records:
                writer.append(record.astype("<i4", copy=False).tobytes(), len(record))
        return cls(stem)
