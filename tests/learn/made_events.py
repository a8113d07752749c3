"""Small logs and what is read of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nearfar.learn.data.actions import ActionCorpus
from nearfar.learn.data.prepare_actions import prepare_actions
from nearfar.recipe.data import Data
from nearfar.recipe.events import EventsFrontendSettings

EVERYBODY = {"least_of_user": 1, "least_of_item": 1, "repeat": 0.0}
"""Filters that leave all in."""


def written(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write rows as CSV; what one lacks is an empty cell."""
    header = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)
    return path


def corpus_of(
    folder: Path, rows: Sequence[Mapping[str, object]], *, split: Mapping[str, Any] | None = None, **source: Any
) -> ActionCorpus:
    """Read rows of a log as a recipe with this source would."""
    source = {"filters": EVERYBODY, **source, "kind": "events", "path": written(folder / "log.csv", rows)}
    data = Data.model_validate({"source": source, "split": dict(split or {})})
    return prepare_actions(data, EventsFrontendSettings(kind="events"), folder / "run")


def visits(histories: Mapping[str, str], *, begin: int = 0, step: int = 3600) -> list[dict[str, object]]:
    """Rows of users who act on items of one letter each, one an hour, all at the same hours."""
    return [
        {"user": user, "item": item, "timestamp": begin + step * hour}
        for user, items in histories.items()
        for hour, item in enumerate(items)
    ]
