"""Is anything lost, or does anything come back, when the process that writes an index is killed?

Writers of small indexes get SIGKILL at random moments: half of the moments are drawn from the time that a build, an upsert, a
delete, opening the index or bringing its derived files up to date takes, the others from the time inside a transaction or
inside the writing of a derived file. After each kill the index is opened anew and asked for every document that was
acknowledged and for every one that was removed or replaced: in the store, by a keyword that only this passage has, with
a condition, and by its own embedding; a process that has held the index open all the while is asked the same. `doctor`
reads a copy whole, and repairs it where a kill left files behind. Then the next writer goes on in the same folder, up
to 25 times. See tools/crashing.py for what is smaller than in nearfar.

A kill does not lose what the system has not yet written to the disk; a power cut does. docs/search.md says what may then be
missing.

Figures: `kills`; `lost` acknowledged documents; `phantom` documents; `broken` other faults (a writer, a reader or `doctor`
that failed, half a transaction); `kills_in_PHASE`, `kills_in_transaction`, `kills_in_derived_file`: where they landed; `searches`
of the reader. One run takes about three minutes on two quiet cores, twenty on busy ones. --data is not needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nearfar.cli.console import notes, progress_lines
from nearfar.progress import Tick
from tools.crash_model import document
from tools.random_bundle import write_random_bundle
from tools.results import Figures, arguments, figure, report

KILLS, QUICK_KILLS = 1_000, 12
LANES = 2
SUMMED = ("kills", "lost", "phantom", "broken", "in_transaction", "in_derived_file", "searches")


def main() -> int:
    """Kill, count, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, help=f"how many in all; {KILLS:,} by default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kills = options.kills or (QUICK_KILLS if options.quick else KILLS)
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary, progress_lines() as stages:
        work: Path = options.work or Path(temporary)
        bundle = work / "bundle"
        if not bundle.exists():
            write_random_bundle(bundle, [document(number, 1).text for number in range(400)])
        tick = stages("killing", kills)
        with ThreadPoolExecutor(LANES) as pool:
            seeds = [options.seed * LANES + lane for lane in range(LANES)]
            outcomes = list(pool.map(lambda seed: lane(bundle, work, kills // LANES, seed, tick), seeds))
    for example in [example for outcome in outcomes for example in outcome["examples"]][:20]:
        notes.print(example, style="red", markup=False, soft_wrap=True)
    figures = figures_of(outcomes)
    report(figures, options.json, quick=options.quick)
    return int(any(figures[name]["value"] for name in ("lost", "phantom", "broken")))


def lane(bundle: Path, work: Path, kills: int, seed: int, tick: Tick) -> dict[str, Any]:
    """One process that starts and kills writers, one after another; its `Outcome`."""
    command = [sys.executable, "-m", "tools.crashing", str(bundle), str(work / f"lane-{seed}")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [*command, "--kills", str(kills), "--seed", str(seed)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        if line.strip().isdigit():
            tick(1)
        last = line
    if process.wait():
        raise RuntimeError(f"the lane with seed {seed} failed")
    outcome: dict[str, Any] = json.loads(last)
    return outcome


def figures_of(outcomes: list[dict[str, Any]]) -> Figures:
    """The sums of all lanes."""
    sums = {name: sum(outcome[name] for outcome in outcomes) for name in SUMMED}
    phases = sorted({phase for outcome in outcomes for phase in outcome["by_phase"]})
    figures: Figures = {name: figure(sums[name]) for name in ("kills", "lost", "phantom", "broken")}
    for phase in phases:
        name = "kills_between_steps" if phase == "between" else f"kills_in_{phase}"
        figures[name] = figure(sum(outcome["by_phase"].get(phase, 0) for outcome in outcomes))
    for name in ("in_transaction", "in_derived_file"):
        figures[f"kills_{name}"] = figure(sums[name])
    figures["searches"] = figure(sums["searches"])
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
