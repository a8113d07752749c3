"""A process that is killed at each of its writes, whole or half done: nothing acknowledged is lost, and giving it again doubles nothing."""

import json
import os
import subprocess
import sys

import pytest
from tests.edge.killed_at_writes import ROOT, killed_at_writes
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle

pytest.importorskip("cryptography")

STORY = "tests.edge.recommend.killed_history"
FIRST = [[f"film-{number:03}", 1e9 + number] for number in range(4)]
AFTER = {
    "record": [*FIRST, ["film-020", 1.5e9]],
    "late": [["film-021", 1e9 - 5], *FIRST],
    "many": [*FIRST, *([f"film-{number:03}", 1.6e9 + 100 * number] for number in range(30, 50))],
    "forget": [*FIRST[:2], *FIRST[3:]],
    "bundle": FIRST,
}
QUICK = {"record": 2, "forget": 3, "bundle": 7}
"""Evenly spread writes of some; the others, and every write, where more time is taken."""


@pytest.mark.parametrize(
    ("what", "half", "every"),
    [
        *((what, "0", every) for what, every in QUICK.items()),
        *(pytest.param(what, "01", 1, marks=pytest.mark.recipe) for what in AFTER),
    ],
)
def test_what_was_done_is_wholly_there_or_not_at_all(killing, work, what, half, every):
    """And wholly where it was acknowledged; doing it again after that leaves it done once."""
    seen = set()
    outcomes = killed_at_writes(killing, STORY, work, what, half, every)
    assert sum(outcome.killed for outcome in outcomes) >= 2, "too few writes were met"
    for torn, calls, killed, said, (events, sound, again, bundles) in outcomes:
        done = events == AFTER[what]
        assert done or events == FIRST, (torn, calls, events)
        assert done or said is None, (torn, calls, "was acknowledged and is lost")
        assert killed or said == "done"
        assert sound, (torn, calls, "the profile is not that of the history")
        assert again == AFTER[what], (torn, calls, again)
        assert bundles == 1, (torn, calls)
        seen.add((killed, done))
    assert (False, True) in seen
    assert (True, False) in seen or what == "bundle"
    assert (True, True) in seen or every > 1


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.recipe)])
def test_a_history_is_begun_wholly_or_can_be_begun_again(killing, work, every):
    outcomes = killed_at_writes(killing, STORY, work, "create", "0", every)
    assert sum(outcome.killed for outcome in outcomes) >= 2, "too few writes were met"
    for half, calls, _, _, (events, sound, _, _) in outcomes:
        assert events == [], (half, calls)
        assert sound


def test_killed_at_any_moment_again_and_again(tmp_path):
    """What benchmarks/tools/recommend_crash.py does a thousand times: late events, batches and forgetting among them."""
    if not hasattr(os, "fork"):
        pytest.skip("the processes are forked")
    bundle = write_tiny_recommender_bundle(tmp_path / "b", names=[f"item-{number}" for number in range(60)])
    command = [sys.executable, "-m", "tools.recommend_crash", bundle.path, tmp_path / "w", "--kills", 12, "--seed", 3]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["lost"], outcome["doubled"], outcome["broken"]) == (0, 0, 0), outcome["examples"]
    assert outcome["kills"] == 12
    assert outcome["events"] > 0
    # How fast the machine is decides where a kill lands; that none lands in a change would be no test.
    assert outcome["in_doubt"] > 0
