"""What a reader of one file of samples gives on: its columns as arrays, not yet sorted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.sources.document import ReadReport
from nearfar.sources.plain import storable
from nearfar.sources.series_columns import Roles

MAX_SHOWN = 40  # characters of a cell in a message


class EmptyTableError(DataError):
    """A file has no rows. In a folder that is no reason to stop."""


@dataclass(slots=True)
class SeriesReport(ReadReport):
    """What a reader of samples passed over, and what it mended; nothing of either is silent. `read` counts rows.

    Attributes:
        sorted: rows that came before an earlier one and were put in order.
        moved: recordings of data without dates that were put after earlier ones of the same machine.
        passed_over: columns that are not read -> why.
        recognised: columns that were taken by their name as what nobody said they were -> `label` or `regime`.
    """

    sorted: int = 0
    moved: int = 0
    passed_over: dict[str, str] = field(default_factory=dict)
    recognised: dict[str, str] = field(default_factory=dict)

    def count(self, location: str, reason: str, items: int) -> None:
        """Count several at once, with one example."""
        if items:
            self.skip(location, reason)
            self.skipped[reason] += items - 1


@dataclass(frozen=True)
class Texts:
    """A column of text in which few texts come often.

    Attributes:
        names: the texts, each once.
        codes: int64 (n,), which of them each row has.
    """

    names: tuple[str, ...]
    codes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, parts: Iterable[Sequence[str]]) -> Self:
        """Put the cells of the parts of a column together."""
        known: dict[str, int] = {}
        codes = [
            np.fromiter((known.setdefault(cell, len(known)) for cell in part), np.int64, len(part)) for part in parts
        ]
        merged: dict[str, int] = {}
        to = [merged.setdefault(storable(name).strip(), len(merged)) for name in known]
        together = np.concatenate([np.zeros(0, np.int64), *codes])
        return cls(tuple(merged), np.array(to, np.int64)[together] if len(together) else together)

    def take(self, rows: npt.NDArray[np.int64]) -> Texts:
        """The cells of some rows."""
        return Texts(self.names, self.codes[rows])

    def cells(self) -> npt.NDArray[np.str_]:
        """All cells (n,)."""
        return np.array(self.names or ("",))[self.codes]


@dataclass(frozen=True)
class SampleTable:
    """The rows of one file.

    Attributes:
        roles: what the columns are.
        times: float64 (n,) seconds since 1970-01-01 UTC, or since the first sample; NaN where there is none to be read; None
            without a clock.
        values: float32 (n, c), NaN where missing.
        texts: columns of text by the names of the file.
    """

    roles: Roles
    times: npt.NDArray[np.float64] | None
    values: npt.NDArray[np.float32]
    texts: dict[str, Texts]


def as_float32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Numbers as they are kept: what float32 does not hold is missing."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32)
    narrow[~np.isfinite(narrow)] = np.nan
    return narrow
