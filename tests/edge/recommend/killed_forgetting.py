"""Much is forgotten in processes that are killed; see `tests.edge.killed_at_writes`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.edge.killed_at_writes import Story, play
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle
from tests.edge.traces import parts, traces

from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.recommender import Recommender

WORK = Path(sys.argv[1])
EVENTS = 120


def opened(folder: Path) -> Recommender:
    return Recommender.open(folder / "v", clock=lambda: 2e9)


def make(folder: Path) -> None:
    bundle = write_tiny_recommender_bundle(WORK / "b")
    with Recommender.create(folder / "v", bundle, key=f"file:{WORK / 'key'}", clock=lambda: 2e9) as recommender:
        for first in range(0, EVENTS, 40):
            recommender.record_many([Event(f"film-{n % 60:03}", time=1e9 + n) for n in range(first, first + 40)])
    (WORK / "written").write_text(json.dumps([part.hex() for part in parts(folder / "v" / "history.sqlite")]))


def look(folder: Path) -> list[object]:
    """How many events there are once it is opened, and how many traces of others."""
    with opened(folder) as recommender:
        written = {bytes.fromhex(part) for part in json.loads((WORK / "written").read_text())}
        return [len(recommender), traces(folder / "v" / "history.sqlite", written)]


play(Story(make, make, opened, {"forget": lambda recommender: recommender.forget(since=1e9 + 30)}, look))
