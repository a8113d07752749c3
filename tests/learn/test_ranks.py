"""Several processes: the gradient is that of one, and so is the run; none outlives the others; resume is bit-identical."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_corpus import made_recipe, write_pairs
from made_ranks import CASES, Fields, fields_of, found_by, gradients, joint, method_of, shares_of
from same_bits import assert_same_bits, weights
from torch import Tensor

from nearfar.errors import CollapseWarning, DataError, InterruptedRunError, RunError
from nearfar.learn.negatives.ranks import average_gradients, gathered
from nearfar.learn.rank import _report_warnings
from nearfar.learn.run import train_run
from nearfar.learn.trainer import processes
from nearfar.learn.trainer.processes import fit_in_processes
from nearfar.progress import Stages, Tick, silent

# --- gradients ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[2, 4])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return found_by(request.param, tmp_path_factory.mktemp("ranks"))


def alone(case: str, world: int) -> dict[str, Tensor]:
    """What one process makes of the joint batch."""
    method = method_of(case)
    method.loss(method.embed(joint(shares_of(case, world)))).backward()
    return gradients(method)


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_gradient_is_that_of_one_process_with_the_joint_batch(found: list[dict[str, Any]], case: str) -> None:
    expected = alone(case, len(found))
    assert float(expected["log_temperature"]) != 0
    for of_rank in found:
        assert of_rank[case].keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(of_rank[case][name], gradient, rtol=1e-9, atol=1e-12)
            assert torch.equal(of_rank[case][name], found[0][case][name]), "or the ranks would drift apart"


def test_ranks_with_different_losses_get_the_gradient_of_their_mean(found: list[dict[str, Any]]) -> None:
    """Rank r has r + 1 times the loss."""
    for name, gradient in alone("even", len(found)).items():
        torch.testing.assert_close(found[0]["weighted"][name], gradient * (len(found) + 1) / 2, rtol=1e-9, atol=1e-12)


def test_a_parameter_that_only_some_ranks_use_counts_as_zero_on_the_others(found: list[dict[str, Any]]) -> None:
    world = len(found)
    for used, partly, never in (of_rank["partly used"] for of_rank in found):
        torch.testing.assert_close(used, torch.full((2,), (world + 1) / 2))
        torch.testing.assert_close(partly, torch.tensor([2.0, 4.0]) / world)
        assert never is None


def test_every_rank_holds_all_rows_in_the_order_of_the_ranks(found: list[dict[str, Any]]) -> None:
    parts = [Fields(*fields_of(rank)) for rank in range(len(found))]
    width = len(found)
    lists = [torch.nn.functional.pad(part.lists, (0, width - part.lists.shape[1]), value=-1) for part in parts]
    for of_rank in found:
        joined = Fields(*of_rank["joined"])
        assert torch.equal(joined.lists, torch.cat(lists))
        for name in ("vectors", "halves", "numbers", "nothing"):
            expected = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(getattr(joined, name), expected)
            assert getattr(joined, name).dtype == expected.dtype


def test_one_process_is_left_alone() -> None:
    fields = Fields(*fields_of(1))
    assert gathered(fields) is fields
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = gradient = torch.ones(2)
    average_gradients([parameter])
    assert parameter.grad is gradient


# --- what happens to processes: with a program that takes no time to start ---------------------------------------------

PROGRAM = """
import json, os, signal, sys, time
task = json.loads(sys.stdin.buffer.readline())
rank, directory = task["rank"]["number"], task["directory"]
def report(**message):
    print(json.dumps(message), flush=True)
def fail(kind, message):
    report(failure={"rank": rank, "kind": kind, "message": message})
    sys.exit(1)
def ends_with_the_first():
    while sys.stdin.buffer.read(1):
        pass
    sys.exit(7)
"""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs processes of a made program, two unless told otherwise."""

    def start(program: str, *overrides: str, stages: Stages = silent) -> None:
        (tmp_path / "made_program.py").write_text(PROGRAM + program, "utf-8")
        recipe = made_recipe(write_pairs(tmp_path / "pairs.jsonl"), "train.devices=2", *overrides)
        fit_in_processes(recipe, tmp_path, stages=stages)

    monkeypatch.setattr(processes, "_PROGRAM", "made_program")
    monkeypatch.setattr(processes, "_GRACE", 1.0)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return start


def test_a_process_reports_a_collapse_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = io.StringIO()
    monkeypatch.setattr(warnings, "showwarning", lambda *where, **more: reports.write("a log"))
    _report_warnings(reports)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn('it "collapses"', CollapseWarning, stacklevel=1)
        assert json.loads(reports.getvalue()) == {"warning": 'it "collapses"'}
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert reports.getvalue().endswith("\na log")


def test_what_a_process_warns_of_is_warned_of_here(started: Callable[..., None]) -> None:
    with pytest.warns(CollapseWarning, match=r"^it collapses$") as caught:
        started('if rank == 0:\n    report(warning="it collapses")\n')
    assert len(caught) == 1


def test_progress_of_the_processes_is_told_here(started: Callable[..., None]) -> None:
    told: list[Any] = []

    def stages(name: str, total: int | None = None) -> Tick:
        told.append((name, total))
        return lambda count, note="": told.append((name, count, note))

    program = """
if rank == 0:
    report(stage="training", total=3, number=0)
    report(count=1, note="loss 2", number=0)
    report(stage="something between", total=None, number=1)
    report(count=5, note="", number=1)
    report(count=1, note="loss 1", number=0)
"""
    started(program, stages=stages)
    ticks = [("training", 1, "loss 2"), ("something between", 5, ""), ("training", 1, "loss 1")]
    assert told == [("training", 3), ticks[0], ("something between", None), *ticks[1:]]


@pytest.mark.parametrize(("kind", "error"), [("RunError", RunError), ("DataError", DataError), ("OSError", OSError)])
def test_an_error_of_ours_is_raised_as_it_is(started: Callable[..., None], kind: str, error: type[Exception]) -> None:
    """Even where another process failed before for want of this one."""
    program = f"""
if rank == 0:
    fail("", "RuntimeError: connection closed by peer")
time.sleep(0.3)
fail("{kind}", "the disk is full")
"""
    with pytest.raises(error, match=r"^the disk is full$"):
        started(program)


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_fails_is_named_and_the_others_are_ended(
    started: Callable[..., None], number: int, tmp_path: Path
) -> None:
    program = f"""
if rank == {number}:
    print("what it says", file=sys.stderr)
    fail("", "ValueError: so it is")
open(directory + "/pid", "w").write(str(os.getpid()))
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(60)
"""
    with pytest.raises(RunError, match=rf"process {number} of 2 .* ValueError: so it is.*rank-{number}\.txt.*--resume"):
        started(program)
    assert (tmp_path / "logs" / f"rank-{number}.txt").read_text("utf-8") == "what it says\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "process 1 of 2 .* killed by SIGKILL .*memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "process 1 of 2 .* killed by SIGSEGV"),
        ("os._exit(3)", "process 1 of 2 .* ended with code 3"),
    ],
)
def test_a_process_that_dies_without_a_word(started: Callable[..., None], end: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        started(f"if rank == 1:\n    {end}\ntime.sleep(60)\n")


def test_ctrl_c_reaches_the_first_process_once_and_all_may_end_by_themselves(
    started: Callable[..., None], tmp_path: Path
) -> None:
    program = """
def on_signal(number, frame):
    open(directory + "/asked", "w").close()
signal.signal(signal.SIGINT, on_signal)
if rank == 0:
    report(stage="training", total=3, number=0)
while not os.path.exists(directory + "/asked"):
    time.sleep(0.01)
if rank == 1:
    fail("InterruptedRunError", "stopped after step 3")
time.sleep(0.5)
open(directory + "/saved", "w").close()
fail("InterruptedRunError", "stopped after step 3")
"""

    def stages(name: str, total: int | None = None) -> Tick:
        signal.raise_signal(signal.SIGINT)
        return lambda count, note="": None

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedRunError, match="stopped after step 3"):
        started(program, stages=stages)
    assert (tmp_path / "saved").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_twice_stops_at_once(started: Callable[..., None]) -> None:
    program = (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nreport(stage='training', total=3, number=0)\ntime.sleep(60)\n"
    )

    def stages(name: str, total: int | None = None) -> Tick:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        return lambda count, note="": None

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        started(program, stages=stages)
    assert time.monotonic() - begun < 30


def test_ctrl_c_before_training_has_begun_is_no_failure(started: Callable[..., None]) -> None:
    program = (
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\nreport(stage='training', total=3, number=0)\ntime.sleep(60)\n"
    )

    def stages(name: str, total: int | None = None) -> Tick:
        signal.raise_signal(signal.SIGINT)
        return lambda count, note="": None

    with pytest.raises(KeyboardInterrupt):
        started(program, stages=stages)


# --- whole runs --------------------------------------------------------------------------------------------------------

SCHEDULE = ("train.validate_every=4", "train.checkpoint_every=3", "train.early_stop=null", "train.gradient_clip=0.5")
TRANSFORMER = "{kind: transformer, dim: 16, heads: 2, layers: 1, feedforward: 32, dropout: 0.2}"


def write_mixed(path: Path) -> Path:
    """Pairs of which some have two positives, and some a negative."""
    rows = [json.loads(line) for line in write_pairs(path).read_text("utf-8").splitlines()]
    for number, row in enumerate(rows):
        row["negative"] = [rows[number - 7]["positive"]] if number % 2 else []
        row["positive"] = [row["positive"], f"{row['positive']} again"] if number % 3 else [row["positive"]]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


@pytest.mark.recipe
def test_a_run_in_two_processes_ends_where_one_does(tmp_path: Path) -> None:
    """The same pairs a step, so the same batch: with chunks, clipping, several positives and explicit negatives."""
    data = write_mixed(tmp_path / "pairs.jsonl")
    schedule = (*SCHEDULE[:2], "train.gradient_clip=0.5", "data.pairings=[{kind: columns, negative: negative}]")
    for devices, chunk in ((1, "null"), (2, "10")):
        recipe = made_recipe(data, *schedule, f"train.devices={devices}", f"train.chunk={chunk}", "train.batch_size=63")
        train_run(recipe, tmp_path / str(devices))
    expected, found = weights(tmp_path / "1"), weights(tmp_path / "2")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-5)
    ended = [json.loads((tmp_path / str(d) / "fit.json").read_text("utf-8")) for d in (1, 2)]
    for figure in ("steps", "planned_steps", "best_step"):
        assert ended[0][figure] == ended[1][figure]
    assert ended[0]["best_value"] == pytest.approx(ended[1]["best_value"], abs=0.02)
    assert len(list((tmp_path / "2" / "logs").glob("*/metrics.csv"))) == 1
    assert not (tmp_path / "2" / "logs" / "rank-1.txt").read_text("utf-8")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("unbroken")
    data = write_pairs(folder / "pairs.jsonl")
    train_run(made_recipe(data, *SCHEDULE, "train.devices=2", "train.chunk=10", encoder=TRANSFORMER), folder / "run")
    return data, folder / "run"


@pytest.mark.recipe
def test_an_interrupted_run_is_bit_identical_after_resume(unbroken: tuple[Path, Path], tmp_path: Path) -> None:
    data, whole = unbroken
    recipe = made_recipe(data, *SCHEDULE, "train.devices=2", "train.chunk=10", encoder=TRANSFORMER)

    def stages(name: str, total: int | None = None) -> Tick:
        steps = 0

        def tick(count: int, note: str = "") -> None:
            nonlocal steps
            steps += count
            if name == "training" and steps == 9:
                signal.raise_signal(signal.SIGINT)

        return tick

    with pytest.raises(InterruptedRunError, match=r"stopped after step \d+; the state is saved of 40\. Go on with"):
        train_run(recipe, tmp_path / "run", stages=stages)
    train_run(recipe, tmp_path / "run", resume=True)
    assert_same_bits(tmp_path / "run", whole)


def ranks_of(process: int) -> list[int]:
    """The processes that a run has started, in the order of their ranks."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return [int(row[0]) for row in rows if int(row[1]) == process and "nearfar.learn.rank" in row[-1]]


def is_alive(process: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


@pytest.mark.recipe
def test_a_killed_run_takes_its_processes_with_it_and_is_bit_identical_after_resume(
    unbroken: tuple[Path, Path], tmp_path: Path
) -> None:
    data, whole = unbroken
    settings = (*SCHEDULE, "train.devices=2", "train.chunk=10", f"encoder={TRANSFORMER}")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from made_corpus import made_recipe\n"
        "from nearfar.learn.run import train_run\n"
        "train_run(made_recipe(Path(sys.argv[2]), *sys.argv[4:]), Path(sys.argv[3]))\n"
    )
    broken = tmp_path / "broken"
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(data), str(broken), *settings]
    process = subprocess.Popen(arguments)
    while process.poll() is None and not (broken / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.002)
    ranks = ranks_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed: make it longer"
    assert len(ranks) == 2
    deadline = time.monotonic() + 20
    while any(map(is_alive, ranks)):
        assert time.monotonic() < deadline, "the processes went on without the run"
        time.sleep(0.05)
    train_run(made_recipe(data, *settings), broken, resume=True)
    assert_same_bits(broken, whole)


@pytest.mark.recipe
def test_a_process_that_is_killed_while_training_ends_the_run(tmp_path: Path) -> None:
    recipe = made_recipe(write_pairs(tmp_path / "pairs.jsonl"), "train.devices=2", "train.epochs=500")

    killed: list[int] = []

    def stages(name: str, total: int | None = None) -> Tick:
        def tick(count: int, note: str = "") -> None:
            if name == "training" and note and not killed:
                killed.append(ranks_of(os.getpid())[1])
                os.kill(killed[0], signal.SIGKILL)

        return tick

    with pytest.raises(RunError, match=r"process 1 of 2 .* killed by SIGKILL .* --resume"):
        train_run(recipe, tmp_path / "run", stages=stages)


@pytest.mark.recipe
def test_more_processes_than_pairs_in_a_batch(tmp_path: Path) -> None:
    recipe = made_recipe(write_pairs(tmp_path / "pairs.jsonl"), "train.devices=3", "train.batch_size=2")
    with pytest.raises(RunError, match=r"^train\.devices is 3, but a batch has only 2 items .* lower train\.devices$"):
        train_run(recipe, tmp_path / "run")
