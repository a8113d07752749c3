"""The data of benchmarks/identity.py: public sets cut into training, validation and test by who is who, as Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

ALPHABETS = (
    ("Balinese", "Latin"),
    ("Early_Aramaic", "Japanese_(katakana)"),
    ("Sanskrit", "Tagalog"),
)
"""Alphabets of Omniglot that are held out together, pair after pair."""

CHOSEN_ON = ("Greek", "Korean")
"""The pair that settings were chosen on; it is not among those that figures are told of."""

CLIPS = ((0, 4), (10, 14), (20, 24), (30, 34), (40, 44))
"""First and last index of the recordings of each digit and speaker of FSDD that are held out; the first is the set's own test part."""

CLIPS_CHOSEN_ON = (5, 9)
"""Likewise, for settings; they are trained on where figures are told."""

_VALIDATION_CHARACTERS = 0.1

Row = Mapping[str, Any]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def written(rows: list[dict[str, Any]], target: Path) -> Path:
    """Write rows to a Parquet file, and say where."""
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), target)
    return target


def omniglot(rows: list[dict[str, Any]], held_out: tuple[str, ...], target: Path, *, seed: int) -> Path:
    """Characters of some alphabets to test with; of the others a tenth of the characters to choose the threshold by.

    Columns: image, label (alphabet and character), alphabet, session (who drew), split.
    """
    names = sorted({_character(row) for row in rows if row["alphabet"] not in held_out})
    drawn = np.random.default_rng([seed, 1]).permutation(len(names))[: round(_VALIDATION_CHARACTERS * len(names))]
    validation = {names[number] for number in drawn}

    def split(row: Row) -> str:
        if row["alphabet"] in held_out:
            return "test"
        return "validation" if _character(row) in validation else "train"

    kept = [
        {
            "image": row["image"],
            "label": _character(row),
            "alphabet": row["alphabet"],
            "session": f"drawer {row['drawer']:02d}",
            "split": split(row),
        }
        for row in rows
    ]
    return written(kept, target)


def spoken_digits(rows: list[dict[str, Any]], held_out: tuple[int, int], target: Path) -> Path:
    """Recordings of known speakers: some takes of each digit to test with, as many to choose the threshold by, the rest to learn from.

    Columns: audio, label (who speaks), digit, attribute (accent), split.
    """
    first, last = held_out
    count = last - first + 1
    takes = sorted({int(row["index"]) for row in rows} - set(range(first, last + 1)))
    validation = set(takes[-count:])

    def split(row: Row) -> str:
        if first <= row["index"] <= last:
            return "test"
        return "validation" if row["index"] in validation else "train"

    kept = [
        {
            "audio": row["audio"],
            "label": row["speaker"],
            "digit": str(row["digit"]),
            "attribute": row["accent"],
            "split": split(row),
        }
        for row in rows
    ]
    return written(kept, target)


def keywords(rows: list[dict[str, Any]], target: Path) -> Path:
    """Recordings of keywords with the set's own split; `valid` and `test` are held out from learning.

    Columns: audio, label (the keyword), split.
    """
    kept = [
        {
            "audio": row["audio"],
            "label": row["keyword"],
            "split": {"valid": "validation"}.get(row["split"], row["split"]),
        }
        for row in rows
    ]
    return written(kept, target)


def vectors_of(
    embed: Callable[[list[Any]], npt.NDArray[np.float32]], rows: list[dict[str, Any]], column: str
) -> npt.NDArray[np.float32]:
    """Embed one column of some rows (n, d)."""
    return embed([_bytes(row[column]) for row in rows])


def _character(row: Row) -> str:
    return f"{row['alphabet']} {row['character']}"


def _bytes(cell: Any) -> Any:
    return cell["bytes"] if isinstance(cell, dict) else cell
