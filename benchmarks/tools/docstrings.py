"""The docstrings of this environment as a table, so that several runs read the same ones, once."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from nearfar.progress import Stages
from nearfar.sources import DocstringsSource

COLUMNS = {"title": "title", "id": "id", "group": "group", "location": "location"}


def spool(table: Path, limit_files: int | None, stages: Stages) -> str:
    """Write the docstrings to a JSONL file.

    Args:
        table: the file.
        limit_files: read at most so many files; None reads all.
        stages: told how far it is.

    Returns:
        The override that makes a recipe read that file.
    """
    tick = stages("reading docstrings")
    with table.open("w", encoding="utf-8") as file:
        for document in DocstringsSource(limit_files=limit_files).documents():
            file.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")
            tick(1)
    return f"data.source={json.dumps({'kind': 'jsonl', 'path': str(table.absolute()), 'columns': COLUMNS})}"
