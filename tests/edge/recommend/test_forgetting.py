"""Whatever was recorded and forgotten, in any order: a device that never saw what was forgotten has the same profile and answers."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.edge.tiny_recommender_bundle import made_names, made_vectors, write_tiny_recommender_bundle

pytest.importorskip("cryptography")

from nearfar.bundle import Bundle
from nearfar.edge.keys import open_key
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.catalogue_files import round_vectors
from nearfar.edge.recommend.catalogue_store import CatalogueStore
from nearfar.edge.recommend.delta import make_delta, write_delta
from nearfar.edge.recommend.recommender import Recommender
from nearfar.edge.recommend.signing import Publisher

PUBLISHER = Publisher(bytes(range(32)))
NOW = 2_000_000.0
ITEMS = 24
KINDS = {"view": 1.0, "buy": 3.0, "shown": 0.0, "hide": -1.0}

EVENTS = st.builds(
    Event,
    item=st.sampled_from(
        [*(f"film-{number:03}" for number in range(0, ITEMS, 2)), "film of catalogue 0", "film of catalogue 1"]
    ),
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
    | st.sampled_from(["reopen", "update", "update elsewhere", "other bundle"]),
    max_size=25,
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Two, of which the other one knows items by other numbers and vectors."""
    rules = {"actions": KINDS, "least_dwell": 2.0, "liked": 2.0, "repeat": 30.0}
    folder = tmp_path_factory.mktemp("films")
    names = [made_names(ITEMS), made_names(ITEMS)[::-1]]
    return [
        write_tiny_recommender_bundle(
            folder / str(n),
            items=ITEMS,
            seed=n,
            names=names[n],
            length=6,
            settings=rules,
            signed_by=PUBLISHER.public_key,
        )
        for n in (0, 1)
    ]


def next_update(bundle: Bundle, before: Catalogue) -> bytes:
    """Two films are no more, and one is there that some have acted on already: all numbers are others."""
    kept = [n for n, name in enumerate(before.names) if name not in ("film-002", f"film-{4 + before.sequence:03}")]
    codes, scales = round_vectors(made_vectors(1, before.dim, seed=before.sequence))
    after = Catalogue(
        (*(before.names[n] for n in kept), f"film of catalogue {before.sequence}"),
        np.concatenate([before.codes[kept], codes]),
        np.append(before.scales[kept], scales),
        np.append(before.popularity[kept], np.float16(-3)),
    )
    return write_delta(make_delta(bundle, before, after)[0], PUBLISHER)


@pytest.fixture(scope="module")
def empty(bundles: list[Bundle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    Recommender.create(folder / "history", bundles[0], key=f"file:{folder / 'key'}").close()
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

    def serve(self, step: object, bundles: list[Bundle]) -> None:
        """What changes bundle or catalogue, as some process does it."""
        if step == "other bundle":
            other = next(one for one in bundles if one.digest != self.recommender.bundle.digest)
            self.recommender.close()
            Recommender.open(self.folder, other, ask=self.key, clock=lambda: NOW).close()
            self.open()
        elif step in ("update", "update elsewhere"):
            bundle = self.recommender.bundle
            update = next_update(bundle, self.recommender.catalogue)
            if step == "update":
                self.recommender.update(update)
            else:
                CatalogueStore(self.folder).apply(bundle, update)

    def state(self) -> tuple[object, ...]:
        """Everything that it answers, and the bytes of the profile as they are stored."""
        with self.recommender._changing():
            pass  # another process may have taken an update, which is folded in at once and stored with the next change
        with self.recommender._history.look() as change:
            stored = change.profile()[1]
        known = self.recommender._current()[1]
        assert stored == known.profile.to_bytes()
        return (
            self.recommender.catalogue.digest,
            known.profile.to_bytes(),
            self.recommender.events(),
            self.recommender.recommend(8),
            self.recommender.recommend(8, seen=True, diversity=0.4),
            self.recommender.rank(["film-001", "film-003"]),
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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_device_that_never_saw_it_is_the_same_to_the_bit(
    bundles: list[Bundle], empty: Path, tmp_path: Path, steps: list[object]
) -> None:
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
        elif step != "reopen":
            device.serve(step, bundles)
            fresh.serve(step, bundles)
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


@pytest.fixture(scope="module", params=[50, 200])
def of_length(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Actions that the profile holds, and an empty directory."""
    folder = tmp_path_factory.mktemp(f"length{request.param}")
    rules = {"actions": KINDS, "least_dwell": 2.0, "liked": 2.0, "repeat": 30.0}
    bundle = write_tiny_recommender_bundle(folder / "b", items=ITEMS, length=request.param, settings=rules)
    Recommender.create(folder / "history", bundle, key=f"file:{folder / 'key'}").close()
    return request.param, folder / "history"


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rng=st.randoms(use_true_random=False),
    batch=st.sampled_from([30, 400]),
    regrets=st.lists(st.sampled_from(["item", "since", "reopen", "late"]), max_size=8),
)
def test_so_it_is_with_more_actions_than_a_profile_holds(
    of_length: tuple[int, Path], tmp_path: Path, rng: random.Random, batch: int, regrets: list[str]
) -> None:
    """What was pushed out of the profile comes back into it where what had pushed it out is forgotten."""
    length, empty = of_length

    def event(moment: int) -> Event:
        action = rng.choices(["view", "buy", "shown", "hide"], [20, 4, 4, 1])[0]
        return Event(f"film-{rng.randrange(ITEMS):03}", action, 1_000_000.0 + 11 * moment)

    told = list(dict.fromkeys(event(moment) for moment in range(length + 200)))
    device, fresh = Device(empty, tmp_path / "device"), Device(empty, tmp_path / "fresh")
    for first in range(0, len(told), batch):
        device.recommender.record_many(told[first : first + batch])
    steps: list[object] = list(told)
    for regret in regrets:
        if regret == "reopen":
            device.recommender.close()
            device.open()
        elif regret == "late":
            steps.append([event(rng.randrange(length + 200)) for _ in range(5)])
            device.recommender.record_many(steps[-1])
        else:
            one = rng.choice(told)
            steps.append({"item": one.item} if regret == "item" else {"since": one.time})
            device.recommender.forget(**steps[-1])
    left = surviving(steps)
    assert fresh.recommender.record_many(left) == len(left)
    assert device.state() == fresh.state()
    device.recommender.close()
    device.open()
    assert device.state() == fresh.state()
    device.recommender.close()
    fresh.recommender.close()
