"""Kill who records what a user does, look at the history, let another one go on; again and again.

    python -m tools.recommend_crash BUNDLE WORK --kills 1000 --seed 1

A writer is a child process forked from this one, which has imported everything and opened nothing. It opens the history, says what it
holds, and then records, imports and forgets, telling before and after each what it does: what a call has returned from is acknowledged.
At a moment drawn from the seed it gets SIGKILL. The next one first does again what was in doubt, as an app would. The last line of the
output is JSON: an `Outcome`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nearfar.bundle import Bundle
from nearfar.edge.keys import open_key
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.recommender import Recommender
from tools.forked import Child

ROUNDS_IN_A_FOLDER = 40
_NOW = 2e9
_LONGEST = 0.03
"""Seconds that a writer works before it is killed, at most."""
_MANY = 12


@dataclass(slots=True)
class Outcome:
    """Of many kills.

    Attributes:
        kills: how many there were.
        in_doubt: kills that came before what was begun was acknowledged.
        events: that were acknowledged.
        lost: acknowledged events that were not there.
        doubled: events that were there twice, or had been forgotten.
        broken: other faults: half of a change, a profile that is not that of the history, a history that cannot be opened.
        examples: of the faults, the first few.
    """

    kills: int = 0
    in_doubt: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Lost, doubled and broken together."""
        return self.lost + self.doubled + self.broken

    def fault(self, kind: str, count: int, what: str) -> None:
        """Count faults of one kind."""
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            self.examples = [*self.examples, f"kill {self.kills}: {kind}: {what}"][:20]


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a writer.

    Attributes:
        add: times of the events that it records, in one transaction; each time is of one event alone.
        forget: number of the item that it forgets instead.
    """

    add: tuple[int, ...] = ()
    forget: int | None = None


class Plan:
    """What writers are told to do, and what a history may hold after it.

    Args:
        rng: draws the steps.
        items: how many there are.
    """

    def __init__(self, rng: random.Random, items: int) -> None:
        self._rng, self._items = rng, items
        self._next = 1_000_000_000
        self.held: set[int] = set()
        self.in_doubt: Step | None = None

    def item_of(self, time: int) -> int:
        """The item that an event of a time is of; half of all events are of a few items, so that forgetting takes several."""
        return time % 6 if time % 2 else time // 7 % self._items

    def steps(self, count: int) -> list[Step]:
        """The next steps; first the one in doubt again."""
        found = [] if self.in_doubt is None else [self.in_doubt]
        for _ in range(count):
            drawn = self._rng.random()
            if drawn < 0.15:
                found.append(Step(forget=self._rng.randrange(6)))
                continue
            times = []
            for _ in range(1 if drawn < 0.8 else self._rng.randint(2, _MANY)):
                self._next += self._rng.randint(40, 400)
                times.append(self._next if drawn < 0.7 else 2 * 900_000_000 - self._next)  # the others come late
            found.append(Step(add=tuple(times)))
        return found

    def after(self, held: set[int], step: Step) -> set[int]:
        """What a history holds after a step."""
        if step.forget is None:
            return held | set(step.add)
        return {time for time in held if self.item_of(time) != step.forget}


def write(path: Path, plan: Plan, steps: list[Step], say: int) -> None:
    """The writer: say what there is, do the steps, telling before and after each, until it is killed."""
    with Recommender.open(path, ask=open_key(path), clock=lambda: _NOW) as recommender:
        serving, memory = recommender._current()
        with recommender._history.look() as change:
            events = change.all_events()
        sound = serving.folded(events).profile == memory.profile
        found = {"times": [int(stored.order[0]) for stored in events], "sound": sound}
        os.write(say, f"held {json.dumps(found)}\n".encode())
        for place, step in enumerate(steps):
            os.write(say, b"begin %d\n" % place)
            if step.forget is not None:
                recommender.forget(item=f"item-{step.forget}")
            else:
                recommender.record_many([Event(f"item-{plan.item_of(time)}", time=time) for time in step.add])
            os.write(say, b"done %d\n" % place)
        os.write(say, b"end 0\n")


def crash(bundle: Bundle, work: Path, kills: int, seed: int) -> Outcome:
    """Kill so many writers."""
    rng, outcome = random.Random(seed), Outcome()
    while outcome.kills < kills:
        path = work / f"history-{outcome.kills}"
        shutil.rmtree(path, ignore_errors=True)
        made = Child(partial(_make, path, bundle, work / "key"))
        for word, rest in made.lines():
            raise RuntimeError(f"no history could be begun: {word} {rest}")
        made.end()
        made.close()
        plan = Plan(rng, bundle.manifest.recommender.items if bundle.manifest.recommender else 1)
        faults = outcome.faults
        for _ in range(min(ROUNDS_IN_A_FOLDER, kills - outcome.kills)):
            _kill_one(path, plan, rng.uniform(0, _LONGEST), outcome)
        _kill_one(path, plan, None, outcome)
        if outcome.faults == faults:
            shutil.rmtree(path)
    return outcome


def _make(path: Path, bundle: Bundle, key: Path, _listen: int, _say: int) -> None:
    Recommender.create(path, bundle, key=f"file:{key}").close()


def _kill_one(path: Path, plan: Plan, delay: float | None, outcome: Outcome) -> None:
    """Start a writer, hold what it finds to the plan, and kill it; without a delay it only looks."""
    steps = [] if delay is None else plan.steps(200)
    child = Child(lambda _, say: write(path, plan, steps, say))
    for word, rest in child.lines(120):
        if word == "held":
            _check(json.loads(rest), plan, outcome)
            break
        outcome.fault("broken", 1, f"{word} {rest}")
    begun: Step | None = None

    def heed(seconds: float | None) -> None:
        nonlocal begun
        for word, rest in child.lines(seconds):
            if word == "begin":
                begun = steps[int(rest)]
            elif word == "done":
                assert begun is not None
                plan.held = plan.after(plan.held, begun)
                outcome.events += len(begun.add)
                begun = None
            elif word == "error":
                outcome.fault("broken", 1, f"{word} {rest}")

    if delay is not None:
        heed(delay)
        outcome.kills += 1
    child.end()
    heed(None)
    child.close()
    plan.in_doubt = begun
    outcome.in_doubt += begun is not None


def _check(found: dict[str, Any], plan: Plan, outcome: Outcome) -> None:
    """Hold a history to what was acknowledged; what was in doubt is there as a whole or not at all."""
    times = Counter(found["times"])
    there = set(times)
    outcome.fault("doubled", sum(count - 1 for count in times.values()), "the same event twice")
    outcome.fault("broken", not found["sound"], "the profile is not that of the history")
    allowed = [plan.held] if plan.in_doubt is None else [plan.held, plan.after(plan.held, plan.in_doubt)]
    if there not in allowed:
        nearest = min(allowed, key=lambda held: len(held ^ there))
        outcome.fault("lost", len(nearest - there), f"{sorted(nearest - there)[:5]} of {plan.in_doubt}")
        outcome.fault("doubled", len(there - nearest), f"{sorted(there - nearest)[:5]} of {plan.in_doubt}")
    plan.held = there


def lost_events(work: Path, *, kills: int, seed: int = 0) -> float:
    """How many events were lost or doubled, and what else was wrong, after so many kills.

    Args:
        work: a folder to work in; made where it is missing.
        kills: how many.
        seed: of what is done and when it is killed.

    Raises:
        RuntimeError: the harness failed, which says nothing of the history.
    """
    from tools.recommend_bundle import write_recommender_bundle

    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    write_recommender_bundle(work / "bundle", items=200, dim=16, length=50)
    command = [sys.executable, "-m", "tools.recommend_crash", work / "bundle", work / "histories", "--kills", kills]
    # Another process: this one has threads by now, and is not forked.
    done = subprocess.run(
        [*map(str, command), "--seed", str(seed)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    if done.returncode:
        raise RuntimeError(f"the killing of writers failed: {done.stderr[-2000:]}")
    outcome = Outcome(**json.loads(done.stdout.splitlines()[-1]))
    for example in outcome.examples:
        print(example, file=sys.stderr)
    return float(outcome.faults)


def main() -> int:
    """Kill, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    outcome = crash(Bundle.open(options.bundle), options.work.absolute(), options.kills, options.seed)
    print(json.dumps(asdict(outcome)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
