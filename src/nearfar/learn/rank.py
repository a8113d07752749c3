"""One process of a fit in several. `python -m nearfar.learn.rank` is started by `fit_in_processes`, not by people.

It reads its task from standard input, one line of JSON, and ends when standard input does: then whoever started it is gone.
It reports on standard output, a line of JSON each: the progress of the first process, warnings, and how a process failed.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch.distributed as dist

from nearfar.errors import CollapseWarning
from nearfar.learn.run import open_prepared
from nearfar.learn.trainer.fit import fit
from nearfar.learn.trainer.processes import Failure
from nearfar.learn.trainer.strategy import Rank
from nearfar.progress import Stages, Tick, silent
from nearfar.recipe import parse_recipe


def main() -> None:
    """Do the task."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what others print is no report
    task = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_whoever_started_this, daemon=True).start()
    rank = Rank(**task["rank"])
    directory = Path(task["directory"])
    try:
        recipe = parse_recipe(task["recipe"], base=directory)
        stages = _reporting(reports) if rank.number == 0 else silent
        _report_warnings(reports)
        fit(recipe, open_prepared(recipe, directory), directory, resume=task["resume"], stages=stages, rank=rank)
        dist.destroy_process_group()
    except BaseException as error:  # a signal too: somebody wants to know
        traceback.print_exc()
        _report(reports, failure=asdict(Failure.of(rank.number, error)))
        # Not by way of the interpreter's end, where a broken connection to the other processes may hang.
        sys.stderr.flush()
        os._exit(1)


def _end_with_whoever_started_this() -> None:
    os.read(0, 1)
    os._exit(1)


def _report(reports: IO[str], **message: Any) -> None:
    reports.write(json.dumps(message) + "\n")
    reports.flush()


def _report_warnings(reports: IO[str]) -> None:
    """Hand on what the user has to hear; all else goes where it usually does, which here is a log."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, CollapseWarning):
            _report(reports, warning=str(message))
        else:
            usual(message, category, *where, **more)

    warnings.showwarning = show


def _reporting(reports: IO[str]) -> Stages:
    numbers = itertools.count()

    def stages(name: str, total: int | None = None) -> Tick:
        number = next(numbers)  # a stage may begin while another goes on
        _report(reports, stage=name, total=total, number=number)

        def tick(count: int, note: str = "") -> None:
            _report(reports, count=count, note=note, number=number)

        return tick

    return stages


if __name__ == "__main__":
    main()
