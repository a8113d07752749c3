"""A made table: two kinds of people, told apart by a little of every column and named in none but `kind`."""

from __future__ import annotations

import csv
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

RECIPE = """\
name: people
data:
  source: {{kind: rows, path: {path}, columns: {{label: kind, id: number}}}}
  split: {{validation: 0.15, test: 0.25}}
frontend: {{kind: table}}
encoder: {encoder}
method: {{kind: scarf, projector: [16]}}
train: {{epochs: 4, batch_size: 64, learning_rate: 0.005, threads: 1, accelerator: cpu}}
evaluate: {{bootstrap: 20, neighbours: 5}}
"""
MLP = "{kind: mlp, width: 16, layers: 2, dim: 8}"
TOKENS = "{kind: feature_tokens, dim: 8, heads: 2, layers: 1}"


def made_person(kind: str, draw: random.Random) -> dict[str, Any]:
    """One row of a kind."""
    late = kind == "late"
    return {
        "age": str(round(draw.gauss(60 if late else 30, 8))),
        "income": "" if draw.random() < 0.1 else f"{draw.gauss(40_000, 9_000):.2f}",
        "town": draw.choice(["Ulm", "Bonn", "Jena"] if late else ["Ulm", "Kiel", "Mainz"]),
        "member": "true" if draw.random() < (0.8 if late else 0.2) else "false",
        "since": (date(2015 if late else 2021, 1, 1) + timedelta(days=draw.randrange(700))).isoformat(),
        "note": f"met at the {draw.randrange(10**9)}",
    }


def made_people(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with a number and their kind, alternately."""
    draw = random.Random(seed)
    kinds = ["early", "late"] * (count // 2)
    return [{"number": f"p{i:04}", **made_person(kind, draw), "kind": kind} for i, kind in enumerate(kinds)]


def write_people(path: Path, count: int = 240, seed: int = 0) -> Path:
    """The same as a CSV file."""
    rows = made_people(count, seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
