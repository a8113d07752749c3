"""The adult set: rows of the 1994 census with their income, as a nearfar run and its peers take them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.sources.row_table import RowTable

NUMBERS = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
CATEGORIES = (
    *("workclass", "education", "marital_status", "occupation", "relationship", "race", "sex", "native_country"),
)
LABEL, POSITIVE = "income", ">50K"


@dataclass(frozen=True)
class People:
    """Some rows.

    Attributes:
        cells: n mappings of columns to cells, without the label.
        labels: (n,) 1 where the income is above 50,000.
    """

    cells: list[dict[str, Any]]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.cells)

    def some(self, places: npt.NDArray[np.int64]) -> People:
        """The rows at these places."""
        return People([self.cells[place] for place in places], self.labels[places])

    def category(self, column: str) -> npt.NDArray[np.str_]:
        """One column (n,) as text; `?` where it is missing."""
        return np.array([str(row[column]) if row[column] is not None else "?" for row in self.cells])


def read_adult(path: Path) -> tuple[People, People]:
    """The rows of the original split: train, test."""
    parts: dict[str, tuple[list[dict[str, Any]], list[int]]] = {"train": ([], []), "test": ([], [])}
    for row in RowTable(path, label=LABEL, split="split").rows():
        cells, labels = parts[row.split]
        cells.append({name: row.cells[name] for name in (*NUMBERS, *CATEGORIES)})
        labels.append(int(row.label == POSITIVE))
    train, test = (People(cells, np.array(labels, np.int64)) for cells, labels in parts.values())
    return train, test


def made_people(count: int, seed: int) -> People:
    """Invented rows of the same columns, whose label hangs on some of them: they show that everything runs."""
    rng = np.random.default_rng(seed)
    cells, labels = [], []
    for _ in range(count):
        rich = rng.random() < 0.3
        row: dict[str, Any] = {name: float(rng.normal(40 + 10 * rich, 10)) for name in NUMBERS}
        row |= {name: f"{name} {int(rng.integers(2 + rich, 5 + rich))}" for name in CATEGORIES}
        cells.append(row)
        labels.append(int(rich))
    return People(cells, np.array(labels, np.int64))


def raw_matrix(train: People, test: People) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Standardised numbers and one-hot categories, fitted on all training rows: what a linear model usually gets."""
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = [np.array([[row[name] for name in NUMBERS] for row in part.cells], np.float64) for part in (train, test)]
    names = [np.stack([part.category(name) for name in CATEGORIES], axis=1) for part in (train, test)]
    scaler, one_hot = (
        StandardScaler().fit(numbers[0]),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(names[0]),
    )
    made = [
        np.hstack([scaler.transform(left), one_hot.transform(right)])
        for left, right in zip(numbers, names, strict=True)
    ]
    return made[0], made[1]


def coded_matrix(train: People, test: People) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Numbers as they are and categories as codes, NaN where missing or unknown: what gradient boosting takes."""
    made = []
    codes = {name: {v: i for i, v in enumerate(sorted(set(train.category(name)) - {"?"}))} for name in CATEGORIES}
    for part in (train, test):
        numbers = [[row[name] for name in NUMBERS] for row in part.cells]
        coded = [[codes[name].get(row[name], np.nan) for name in CATEGORIES] for row in part.cells]
        made.append(np.hstack([np.array(numbers, np.float64), np.array(coded, np.float64)]))
    return made[0], made[1]
