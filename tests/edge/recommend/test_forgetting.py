"""Whatever was recorded and forgotten, in any order: a device that never saw what was forgotten has the same profile and answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle

pytest.importorskip("cryptography")

from nearfar.bundle import Bundle
from nearfar.edge.keys import open_key
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.recommender import Recommender

NOW = 2_000_000.0
ITEMS = 24
KINDS = {"view": 1.0, "buy": 3.0, "shown": 0.0, "hide": -1.0}

EVENTS = st.builds(
    Event,
    item=st.sampled_from([*(f"film-{number:03}" for number in range(0, ITEMS, 2)), "film of another catalogue"]),
    action=st.sampled_from(sorted(KINDS)),
    # Few moments, so that many are alike, and many actions lie within the 30 seconds of a repeat.
    time=st.integers(0, 40).map(lambda step: 1_000_000.0 + 11 * step),
    dwell=st.none() | st.sampled_from([0.0, 1.0, 5.0, 600.0]),
    rating=st.none() | st.sampled_from([1.0, 5.0]),
)
STEPS = st.lists(
    EVENTS
    | st.lists(EVENTS, max_size=6)
    | EVENTS.map(lambda event: {"item": event.item})
    | EVENTS.map(lambda event: {"since": event.time})
    | st.just({"everything": True})
    | st.just("reopen"),
    max_size=25,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    rules = {"actions": KINDS, "least_dwell": 2.0, "liked": 2.0, "repeat": 30.0}
    folder = tmp_path_factory.mktemp("films") / "bundle"
    return write_tiny_recommender_bundle(folder, items=ITEMS, length=6, settings=rules)


@pytest.fixture(scope="module")
def empty(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    Recommender.create(folder / "history", bundle, key=f"file:{folder / 'key'}").close()
    return folder / "history"


class Device:
    """A copy of the empty directory; a process with a clock that stands still."""

    def __init__(self, empty: Path, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(empty, folder)
        self.folder, self.key = folder, open_key(folder)
        self.open()

    def open(self) -> None:
        self.recommender = Recommender.open(self.folder, ask=self.key, clock=lambda: NOW)

    def state(self) -> tuple[object, ...]:
        """Everything that it answers, and the bytes of the profile as they are stored."""
        with self.recommender._history.look() as change:
            stored = change.profile()[1]
        known = self.recommender._current()[1]
        assert stored == known.profile.to_bytes()
        return (
            known.profile.to_bytes(),
            self.recommender.events(),
            self.recommender.recommend(8),
            self.recommender.recommend(8, seen=True, diversity=0.4),
            self.recommender.rank(["film-001", "film-002"]),
            self.recommender.explain("film-003"),
        )


def surviving(steps: list[object]) -> list[Event]:
    """What a plain list says is left, in the order of recording."""
    left: list[Event] = []
    for step in steps:
        if isinstance(step, Event):
            left += [step] if step not in left else []
        elif isinstance(step, list):
            for event in step:
                left += [event] if event not in left else []
        elif isinstance(step, dict):
            left = [
                event
                for event in left
                if not ("everything" in step or event.item == step.get("item") or event.time >= step.get("since", NOW))
            ]
    return left


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_device_that_never_saw_it_is_the_same_to_the_bit(empty: Path, tmp_path: Path, steps: list[object]) -> None:
    """One was told one by one, in batches, late, twice, with pauses and with regrets; the other only what is left, in one batch."""
    device, fresh = Device(empty, tmp_path / "device"), Device(empty, tmp_path / "fresh")
    for step in steps:
        if isinstance(step, Event):
            device.recommender.record(step)
        elif isinstance(step, list):
            device.recommender.record_many(step)
        elif isinstance(step, dict):
            before = len(device.recommender)
            assert device.recommender.forget(**step) == before - len(device.recommender)
        else:
            device.recommender.close()
            device.open()
    left = surviving(steps)
    assert fresh.recommender.record_many(left) == len(left)
    assert device.state() == fresh.state()
    device.recommender.close()
    device.open()
    assert device.state() == fresh.state()
    assert device.recommender.events() == sorted(left, key=lambda event: event.time or 0.0)
    device.recommender.close()
    fresh.recommender.close()
