"""Items and their thumbnails are wholly there or not at all, whenever the writer is killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from killed_at_writes import killed_at_writes

ALL = ["a", "b", "c", "row"]


@pytest.mark.parametrize(
    ("what", "before", "after"),
    [("change", [ALL, [], 0], [[], ALL, 0]), ("remove", [ALL, [], 0], [["row"], [], 0])],
)
def test_killed_at_its_writes(killing: Path, work: Path, what: str, before: list, after: list) -> None:
    outcomes = killed_at_writes(killing, "tests.edge.killed_items", work, what, "01", "9")
    assert sum(outcome.killed for outcome in outcomes) >= 4
    for outcome in outcomes:
        assert outcome.state in (before, after), outcome
        if outcome.said == "done":
            assert outcome.state == after, outcome
    assert not outcomes[-1].killed
