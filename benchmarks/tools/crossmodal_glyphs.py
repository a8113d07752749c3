"""The part `glyphs` of benchmarks/crossmodal.py: characters of a font find their names, and names their characters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.progress import Stages
from tools import crossmodal_sets as sets
from tools.crossmodal_ranking import hits
from tools.crossmodal_systems import Embed, keep, named, systems
from tools.identity_sets import read_rows
from tools.text_state import State

Row = dict[str, Any]
DEPTHS = (1, 5, 10)


def measure_glyphs(
    work: Path, state: State, stages: Stages, seeds: int, changes: Sequence[str], *, quick: bool
) -> None:
    """Train recipes/glyph-names.yaml with each seed on one split, and keep what test characters and names find."""
    table = work / "glyphs.parquet"
    if not table.is_file():
        stages("drawing characters")
        sets.glyphs(table, most=300 if quick else None)
    rows = read_rows(table)
    for seed in range(seeds):

        def timed(wall: float, processor: float, seed: int = seed) -> None:
            state.keep("value", f"seed_{seed}", wall, group="glyph_train_seconds")
            state.keep("value", f"seed_{seed}", processor, group="glyph_train_cpu_seconds")

        found = systems(
            "glyph-names.yaml",
            [table],
            work,
            stages,
            seed=seed,
            changes=changes,
            beside=seed == 0 and not quick,
            quick=quick,
            timed=timed,
        )
        for system, embed in found:
            stages(f"measuring characters {system}")
            _measure(rows, embed, system, state, seed)


def _measure(rows: list[Row], embed: Embed, system: str, state: State, seed: int) -> None:
    pictures = embed("image", [row["image"] for row in rows])
    names = embed("text", [row["name"] for row in rows])
    test = np.array([row["split"] == "test" for row in rows])
    seen = np.array([row["words_seen"] for row in rows])[test]
    kinds = np.unique([row["image"] for row in rows], return_inverse=True)[1]
    own = np.flatnonzero(test)
    for scope, gallery in (("", own), ("full_", np.arange(len(rows)))):
        # Characters that look the same have several names, each of which is right.
        right = [np.flatnonzero(kinds[gallery] == kinds[number]) for number in own]
        for direction, queries, among in (("i2t", pictures, names), ("t2i", names, pictures)):
            scores = queries[own] @ among[gallery].T
            for k in DEPTHS:
                found = hits(scores, right, k)
                key = f"{direction}_{scope}recall_at_{k}"
                keep(state, named("glyph", system, key), found, seed=seed)
                for ending, chosen in (("seen_words", seen), ("unseen_words", ~seen)):
                    if not scope and chosen.any():
                        keep(state, named("glyph", system, f"{key}_{ending}"), found[chosen], seed=seed)
