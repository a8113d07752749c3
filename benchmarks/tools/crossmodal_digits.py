"""The part `digits` of benchmarks/crossmodal.py: people whom nobody had heard say a digit, and find it as others wrote it by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.progress import Stages
from tools import crossmodal_sets as sets
from tools.crossmodal_ranking import precision
from tools.crossmodal_systems import Embed, keep, named, systems
from tools.identity_sets import read_rows
from tools.text_state import State

Row = dict[str, Any]
LABELS = ("data.source.files.0.label=word", "data.source.files.1.label=word")


def measure_digits(
    data: Path, work: Path, state: State, stages: Stages, seeds: int, changes: Sequence[str], *, quick: bool
) -> None:
    """Train recipes/spoken-digits.yaml for each fold of speakers and each seed, and keep what test voices and drawings find."""
    drawn = work / "digits.parquet"
    if not drawn.is_file():
        sets.drawn_digits(data, drawn, **({"train": 60, "test": 40} if quick else {}))
    pictures = _test(drawn)
    for fold, held_out in enumerate(sets.SPEAKERS[:1] if quick else sets.SPEAKERS):
        said = work / f"voices_{fold}.parquet"
        if not said.is_file():
            sets.spoken_digits(data, said, [held_out], most=150 if quick else None)
        voices = _test(said)
        for seed in range(seeds):
            found = systems(
                "spoken-digits.yaml",
                [said, drawn],
                work / f"fold_{fold}",
                stages,
                seed=seed,
                changes=[*LABELS, *changes],
                beside=seed == 0 and not quick,
                quick=quick,
            )
            for system, embed in found:
                stages(f"measuring digits {system}, fold {fold + 1}")
                _measure(voices, pictures, embed, system, state, fold, seed)


def _measure(
    voices: list[Row], pictures: list[Row], embed: Embed, system: str, state: State, fold: int, seed: int
) -> None:
    heard = embed("audio", [row["audio"] for row in voices])
    seen = embed("image", [row["image"] for row in pictures])
    words = embed("text", sets.WORDS)
    said = np.array([row["word"] for row in voices])
    written = np.array([row["word"] for row in pictures])
    meant = np.array(sets.WORDS)
    spoken = {
        "voice_to_image_precision_at_10": precision(heard @ seen.T, said[:, None] == written),
        "voice_to_text_recall_at_1": precision(heard @ words.T, said[:, None] == meant, 1),
    }
    speakers = np.array([row["speaker"] for row in voices])
    for key, values in spoken.items():
        keep(state, named("", system, key), values, part=f"fold_{fold}", seed=seed)
        for speaker in sorted(set(speakers.tolist())):
            own = values[speakers == speaker]
            keep(state, named("", system, f"{key}_{speaker}"), own, part=f"fold_{fold}", seed=seed)
    # The same pictures ask in every fold: folds count as further seeds of theirs.
    run = 100 * fold + seed
    found = precision(seen @ heard.T, written[:, None] == said)
    keep(state, named("", system, "image_to_voice_precision_at_10"), found, seed=run)
    found = precision(seen @ words.T, written[:, None] == meant, 1)
    keep(state, named("", system, "image_to_text_recall_at_1"), found, seed=run)


def _test(table: Path) -> list[Row]:
    return [row for row in read_rows(table) if row["split"] == "test"]
