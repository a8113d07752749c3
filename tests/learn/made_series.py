"""Machines with a few sensors that follow what they do together, as recordings, as CSV files, and recipes over them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nearfar.recipe import Recipe, parse_recipe
from nearfar.simulate import write_csv
from nearfar.sources.recording import Channel, Recording

START = 1_700_000_000.0
TINY = "{kind: dilated_cnn, width: 16, layers: 3, dim: 16}"


def machine(
    name: str,
    seconds: int = 1500,
    *,
    channels: int = 4,
    seed: int = 0,
    labels: Sequence[tuple[int, int]] | None = None,
    regimes: bool = False,
) -> Recording:
    """One sample a second of channels that follow two rhythms and their own noise, each machine about levels of its own.

    Args:
        name: of the machine.
        seconds: samples.
        channels: sensors.
        seed: of noise and levels.
        labels: from and to of what is labelled as a fault.
        regimes: whether it changes between two speeds every 200 seconds, and the data says so.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(seconds)
    rhythms = np.stack([np.sin(time / 60 + seed), np.cos(time / 17)], axis=1)
    mix = np.random.default_rng(5).standard_normal((2, channels))
    values = rhythms @ mix + 0.2 * rng.standard_normal((seconds, channels)) + seed
    fast = (time // 200) % 2 == 1
    if regimes:
        values[fast] += 3
    marked = np.zeros(seconds, np.int8)
    for begin, end in labels or ():
        marked[begin:end] = 1
    return Recording(
        machine=name,
        channels=tuple(Channel(f"c{number}", "V") for number in range(channels)),
        times=START + time.astype(np.float64),
        values=values.astype(np.float32),
        labels=None if labels is None else marked,
        regime=np.where(fast, "fast", "slow") if regimes else None,
    )


def write_machines(folder: Path, count: int = 2, **options: object) -> Path:
    """A CSV file for each of some machines."""
    write_csv((machine(f"m{number}", seed=number, **options) for number in range(count)), folder)  # type: ignore[arg-type]
    return folder


def series_recipe(source: Path, *overrides: str, encoder: str = TINY, method: str = "{kind: fault_contrast}") -> Recipe:
    """A recipe over a folder with a file for each machine, that trains in seconds."""
    text = f"""
name: machines
data:
  source: {{kind: series, path: {json.dumps(str(source))}, machine: file}}
  split: {{validation: 0.2, test: 0.2}}
frontend: {{kind: series, window: 32}}
encoder: {encoder}
method: {method}
train: {{epochs: 4, batch_size: 64, learning_rate: 0.003, threads: 1, accelerator: cpu}}
"""
    return parse_recipe(text, base=Path.cwd(), overrides=overrides)
