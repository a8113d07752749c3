"""The part of benchmarks/recommend.py on the device: what an event and the answer after it take, and what they weigh."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np

from nearfar.bundle import Bundle
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.recommender import Recommender
from nearfar.progress import Stages
from tools.recommend_bundle import write_recommender_bundle
from tools.recommend_ranking import keep_value
from tools.text_state import State

ITEMS, TURNS, WARM_UP = 100_000, 500, 50
BEFORE = 200
"""Events that are there before the first turn: more than a profile holds."""


def measure_device(work: Path, state: State, stages: Stages, *, quick: bool) -> None:
    """Record and recommend by turns, with everything else that the disk needs beside it.

    Args:
        work: for bundle and history.
        state: where figures are kept.
        stages: told what is being done.
        quick: a hundredth of the items, few turns.
    """
    items, turns = (ITEMS // 100, 30) if quick else (ITEMS, TURNS)
    stages(f"making a bundle of {items:,} items")
    folder = work / "bundle"
    bundle = Bundle.open(folder) if folder.exists() else write_recommender_bundle(folder, items=items)
    history = work / "history"
    shutil.rmtree(history, ignore_errors=True)
    (work / "history.key").unlink(missing_ok=True)
    generator = np.random.default_rng(0)
    stages(f"recording and recommending {turns} times")
    with Recommender.create(history, bundle, key=f"file:{work / 'history.key'}") as recommender:
        recommender.record_many([_event(generator, items, place) for place in range(BEFORE)])
        taken: dict[str, list[float]] = {"record": [], "recommend": [], "fsync": []}
        for turn in range(turns + WARM_UP):
            event = _event(generator, items, BEFORE + turn)
            for kind, do in (
                ("record", lambda event=event: recommender.record(event)),
                ("recommend", lambda: recommender.recommend(k=10)),
                ("fsync", lambda: _durable_page(work / "page")),
            ):
                began = time.perf_counter()
                do()
                taken[kind].append(1000 * (time.perf_counter() - began))
        keep_value(state, "device", "profile_bytes", float(recommender.profile_bytes))
    for kind, times in taken.items():
        warm = np.array(times[WARM_UP:])
        keep_value(state, "device", f"{kind}_p50_ms", float(np.median(warm)))
        keep_value(state, "device", f"{kind}_p95_ms", float(np.quantile(warm, 0.95)))
    size = sum(file.stat().st_size for file in bundle.path.iterdir())
    keep_value(state, "device", "bundle_mb", size / 1e6)
    keep_value(state, "device", "device_items", float(items))


def _event(generator: np.random.Generator, items: int, place: int) -> Event:
    """Popular items more often; a minute after the one before."""
    number = int(items ** generator.random()) - 1
    return Event(f"item-{number}", time=1_700_000_000.0 + 60.0 * place)


def _durable_page(path: Path) -> None:
    """Write one page of 4 kB anew and wait until it is on the medium: the least that any durable record takes."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.pwrite(file, os.urandom(4096), 0)
        os.fsync(file)
    finally:
        os.close(file)
