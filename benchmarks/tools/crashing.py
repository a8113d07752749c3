"""Kill the writer of an index, look at the index, let another writer go on; again and again.

    python -m tools.crashing BUNDLE WORK --kills 20 --seed 1

A writer is a child process forked from this one, which has imported everything and opened nothing. It tells through a
pipe what it begins and what a call of nearfar has returned from: that is acknowledged. A step and a share of the time
that such steps take are drawn from the seed, and at that moment the writer gets SIGKILL. A second child holds the index
open all the while and searches it.

Batches and the sizes from which derived files are made are smaller than in nearfar, so that a round takes a fraction of
a second and still writes all of them. Nothing else differs. The last line of the output is JSON: an `Outcome`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nearfar.bundle import Bundle
from nearfar.edge import SearchIndex, build, derive
from nearfar.edge.edit import IndexEditor
from nearfar.edge.store import derived, writer
from tools.crash_check import MARK, Verdict, check_folder, check_index
from tools.crash_model import BATCH, WORDS, Action, Ledger, Planner, Step, document
from tools.forked import Child

ROUNDS_IN_A_FOLDER = 25
_FIRST_GUESS = 0.1
_PHASES: dict[Action, int] = {"build": 3, "upsert": 4, "delete": 5, "settle": 2, "open": 1}
"""How often each is aimed at, where a plan has it."""


@dataclass(slots=True)
class Outcome:
    """Of many kills.

    Attributes:
        kills: how many there were.
        by_phase: action -> kills that interrupted it; `between` where the writer had just finished one.
        in_transaction: kills inside a transaction of SQLite.
        in_derived_file: kills while a derived file was being written.
        searches: that the reader made meanwhile.
        lost: acknowledged documents that were not there or not found.
        phantom: documents that should not have been there or found.
        broken: other faults.
        examples: of the faults, the first few.
    """

    kills: int = 0
    by_phase: dict[str, int] = field(default_factory=dict)
    in_transaction: int = 0
    in_derived_file: int = 0
    searches: int = 0
    lost: int = 0
    phantom: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, verdict: Verdict, where: str) -> None:
        """Count the faults of one look at an index."""
        for kind in ("lost", "phantom", "broken"):
            faults = getattr(verdict, kind)
            setattr(self, kind, getattr(self, kind) + len(faults))
            self.examples += [f"{where}: {kind}: {fault}" for fault in faults[:3]]


def smaller_sizes() -> None:
    """Let a hundred passages have what 5,000 have otherwise, and let it be made again after ten changes."""
    build.BATCH = BATCH
    derive.EXACT_UP_TO = derive.FTS5_UP_TO = 40
    derive._TAIL_ROWS, derive._TAIL_SHARE, derive.MAX_NEWER = 10, 0.0, 20


def write(path: Path, bundle: Bundle, steps: list[Step], engine: str, listen: int, say: int) -> None:
    """The writer: do the steps, telling before and after each, and wait for the end."""

    def tell(line: str) -> None:
        os.write(say, line.encode() + b"\n")

    _announce(writer.StoreWriter, "_transaction", lambda inside: tell(f"transaction {inside:d}"))
    _announce(derived, "derived_file", lambda inside: tell(f"file {inside:d}"))
    editor: IndexEditor | None = None
    for place, step in enumerate(steps):
        tell(f"begin {place}")
        match step.action:
            case "build":
                documents = (document(*each) for each in step.documents)
                SearchIndex.build(
                    bundle, documents, path, threads=1, engine=engine, progress=lambda stage, done: tell(f"{stage} {done}")
                ).close()  # fmt: skip
            case "open":
                editor = SearchIndex.edit(path, threads=1)
            case "upsert":
                assert editor is not None
                editor.upsert(document(*each) for each in step.documents)
            case "delete":
                assert editor is not None
                editor.delete([f"doc-{number}" for number in step.numbers])
            case "settle":
                assert editor is not None
                editor.close()
        tell(f"done {place}")
    tell("end")
    os.read(listen, 1)  # until it is killed, or its parent has gone


def _announce(owner: Any, name: str, tell: Callable[[bool], None]) -> None:
    """Have a context manager say when it is entered and left."""
    real = getattr(owner, name)

    @contextmanager
    def announced(*arguments: Any, **named: Any) -> Iterator[Any]:
        tell(True)
        with real(*arguments, **named) as value:
            yield value
        tell(False)

    setattr(owner, name, announced)


def read(path: Path, listen: int, say: int) -> None:
    """The reader: search all the while; on a line, check everything against the ledger that it holds."""
    rng = random.Random(str(path))
    searches, waiting = 0, b""
    with SearchIndex.open(path) as index:
        while True:
            if select.select([listen], [], [], 0.01)[0]:
                if not (part := os.read(listen, 1 << 16)):
                    return
                waiting += part
                if not waiting.endswith(b"\n"):
                    continue
                told, waiting = json.loads(waiting), b""
                held = {int(number): version for number, version in told["held"].items()}
                verdict = Verdict()
                check_index(index, Ledger.of(held, [(n, v) for n, v in told["gone"]]), verdict)
                os.write(say, f"verdict {json.dumps({'searches': searches, **asdict(verdict)})}\n".encode())
                searches = 0
            mode = rng.choice(("dense", "keyword", "hybrid"))
            for hit in index.search(" ".join(rng.choices(WORDS, k=3)), 5, mode):  # type: ignore[arg-type]
                found = MARK.match(hit.text)
                if found and hit.id != f"doc-{found[1]}":
                    raise AssertionError(f"the reader saw {hit.id} with the text of doc-{found[1]}")
            searches += 1


class Lane:
    """One folder after another, killed again and again."""

    def __init__(self, bundle: Path, work: Path, seed: int) -> None:
        """Work in the folder `work`."""
        smaller_sizes()
        self._bundle_path = bundle
        self._work = work
        self._rng = random.Random(seed)
        self._planner = Planner(seed)
        self._seconds: dict[str, float] = {}
        self.outcome = Outcome()

    def run(self, kills: int, *, progress: Callable[[int], None] = lambda _: None) -> Outcome:
        """Kill so many writers."""
        while self.outcome.kills < kills:
            folder = self._work / f"index-{self.outcome.kills}"
            self._one_folder(folder, min(ROUNDS_IN_A_FOLDER, kills - self.outcome.kills), progress)
            shutil.rmtree(folder, ignore_errors=True)
        return self.outcome

    def _one_folder(self, path: Path, rounds: int, progress: Callable[[int], None]) -> None:
        held: dict[int, int] = {}
        gone: list[tuple[int, int]] = []
        engine = self._rng.choice(("scan", "hnsw"))
        reader: Child | None = None
        try:
            for _ in range(rounds):
                ledger = Ledger.of(held, gone)
                phase = self._kill_one(path, self._planner.plan(held), engine, ledger)
                where = f"{path.name}, kill {self.outcome.kills} in {phase}"
                verdict = self._look(path, ledger)
                self.outcome.add(verdict, where)
                held = verdict.held
                gone = ledger.gone + [
                    (number, version)
                    for number, versions in ledger.allowed.items()
                    for version in versions
                    if version is not None and held.get(number) != version
                ]
                if verdict.lost or verdict.phantom or verdict.broken:
                    shutil.copytree(path, path.with_name(f"{path.name}-faulty"), dirs_exist_ok=True)
                    return
                if reader is None and held:
                    reader = Child(lambda listen, say: read(path, listen, say))
                elif reader is not None:
                    self._ask(reader, held, gone, where)
                progress(self.outcome.kills)
        finally:
            if reader is not None:
                reader.end()
                reader.close()

    def _kill_one(self, path: Path, steps: list[Step], engine: str, ledger: Ledger) -> str:
        """Start a writer and kill it; what it was doing."""
        actions = sorted({step.action for step in steps})
        wanted = self._rng.choices(actions, [_PHASES[action] for action in actions])[0]
        target = self._rng.choice([place for place, step in enumerate(steps) if step.action == wanted])
        # Some at any moment of the step, the others at one inside a write of it, or of the next step that writes so.
        files = ("file", "file") if wanted in {"build", "settle"} else ()
        aim = self._rng.choice(("step", "step", "transaction", "transaction", *files))
        timed = wanted if aim == "step" else aim
        usual = self._seconds.get(timed, _FIRST_GUESS)
        delay = self._rng.uniform(0, 1.1 * usual)
        inside = {"transaction": 0, "file": 0}
        since: dict[str, float] = {}
        child = Child(lambda listen, say: write(path, Bundle.open(self._bundle_path), steps, engine, listen, say))

        def heed(lines: Iterator[tuple[str, str]]) -> Iterator[tuple[str, int]]:
            for word, rest in lines:
                if word == "error":
                    self.outcome.broken += 1
                    self.outcome.examples.append(f"{path.name}: the writer failed: {json.loads(rest)}")
                    continue
                number = int(rest or 0)
                if word == "begin":
                    since["step"] = time.monotonic()
                    ledger.begin(steps[number])
                elif word == "documents":
                    ledger.stored(number)
                elif word == "graph":
                    ledger.removed()
                elif word == "done":
                    self._learn(steps[number].action, time.monotonic() - since["step"])
                    ledger.done()
                elif word in inside:
                    inside[word] = number
                    if number:
                        since[word] = time.monotonic()
                    else:
                        self._learn(word, time.monotonic() - since[word])
                yield word, number

        reached = False
        for word, number in heed(child.lines()):
            reached = reached or (word, number) == ("begin", target)
            if word == "end" or (reached and (aim == "step" or (word, number) == (aim, 1))):
                for _ in heed(child.lines(delay)):
                    pass
                break
        child.end()
        for _ in heed(child.lines()):
            pass
        child.close()
        step = ledger.in_flight
        unfinished = inside.get(aim, step is not None and step.action == wanted)
        if unfinished and delay > 0.8 * usual:
            self._seconds[timed] = 1.5 * usual  # it takes longer than was thought
        phase = step.action if step is not None else "between"
        self.outcome.kills += 1
        self.outcome.by_phase[phase] = self.outcome.by_phase.get(phase, 0) + 1
        self.outcome.in_transaction += inside["transaction"]
        self.outcome.in_derived_file += inside["file"]
        return phase

    def _learn(self, action: str, seconds: float) -> None:
        before = self._seconds.get(action)
        self._seconds[action] = seconds if before is None else 0.8 * before + 0.2 * seconds

    def _look(self, path: Path, ledger: Ledger) -> Verdict:
        """Check the folder in a child: this process never opens anything, so that it can be forked."""

        def look(_: int, say: int) -> None:
            os.write(say, f"verdict {json.dumps(asdict(check_folder(path, ledger)))}\n".encode())

        child = Child(look)
        try:
            return _verdict(child.lines())
        finally:
            child.end()
            child.close()

    def _ask(self, reader: Child, held: dict[int, int], gone: list[tuple[int, int]], where: str) -> None:
        reader.tell(json.dumps({"held": held, "gone": gone[-60:]}))
        self.outcome.add(_verdict(reader.lines(120), self.outcome), f"{where}, seen by the reader")


def _verdict(lines: Iterator[tuple[str, str]], outcome: Outcome | None = None) -> Verdict:
    for word, rest in lines:
        found = json.loads(rest)
        if word == "error":
            return Verdict(broken=[found])
        if outcome is not None:
            outcome.searches += found.pop("searches")
        found["held"] = {int(number): version for number, version in found["held"].items()}
        return Verdict(**found)
    return Verdict(broken=["it died, or said nothing for two minutes"])


def main() -> int:
    """Kill, and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    lane = Lane(options.bundle, options.work, options.seed)

    def progress(kills: int) -> None:
        print(kills, flush=True)

    print(json.dumps(asdict(lane.run(options.kills, progress=progress))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
