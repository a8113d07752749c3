"""A run that was interrupted or killed ends with the very bits of one that was not."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from interruption import interrupt_at
from made_corpus import made_recipe, write_pairs

from nearfar.errors import InterruptedRunError, RunError
from nearfar.learn.run import train_run

pytestmark = pytest.mark.recipe

# 5 steps an epoch, 40 in all; validation every 4 steps, checkpoints every 3: steps 12, 24 and 36 are both.
SCHEDULE = ("train.validate_every=4", "train.checkpoint_every=3", "train.early_stop=null")
ENCODERS = {
    "static": "{kind: static, dim: 32, token_dropout: 0.2}",
    "transformer": "{kind: transformer, dim: 16, heads: 2, layers: 1, feedforward: 32, dropout: 0.2}",
}


def weights(directory: Path, name: str = "last") -> str:
    """Digest of weights and optimiser state."""
    checkpoint = torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)
    digest = hashlib.sha256()
    for value in checkpoint["state_dict"].values():
        digest.update(value.numpy().tobytes())
    for state in checkpoint["optimizer_states"][0]["state"].values():
        for value in state.values():
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module", params=sorted(ENCODERS))
def unbroken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    data = write_pairs(folder / "pairs.jsonl")
    train_run(made_recipe(data, *SCHEDULE, encoder=ENCODERS[request.param]), folder / "run")
    return request.param, data, folder / "run"


@pytest.mark.parametrize("step", [0, 5, 7, 11, 12, 26])
def test_interrupted_and_resumed_run_is_bit_identical(
    unbroken: tuple[str, Path, Path], step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, data, whole = unbroken
    recipe = made_recipe(data, *SCHEDULE, encoder=ENCODERS[kind])
    interrupt_at(step, monkeypatch)
    with pytest.raises(InterruptedRunError, match=f"stopped after step {step + 1}"):
        train_run(recipe, tmp_path / "run")
    monkeypatch.undo()
    train_run(recipe, tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(whole)
    assert weights(tmp_path / "run", "best") == weights(whole, "best")


def test_run_without_interruption_is_repeatable(unbroken: tuple[str, Path, Path], tmp_path: Path) -> None:
    kind, data, whole = unbroken
    train_run(made_recipe(data, *SCHEDULE, encoder=ENCODERS[kind]), tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole)
    assert weights(whole, "best") == weights(whole), "without early stopping the last step is exported"
    other = made_recipe(data, *SCHEDULE, "seed=1", encoder=ENCODERS[kind])
    train_run(other, tmp_path / "other")
    assert weights(tmp_path / "other") != weights(whole)


@pytest.mark.parametrize("wait", ["data/corpus.json", "frontend/settings.json", "checkpoints/last.ckpt"])
def test_killed_run_is_bit_identical_after_resume(tmp_path: Path, wait: str) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl")
    # Once training has begun there must be enough of it left to be killed in.
    schedule = (*SCHEDULE, "train.epochs=30") if "last.ckpt" in wait else SCHEDULE
    train_run(made_recipe(data, *schedule), tmp_path / "whole")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from made_corpus import made_recipe\n"
        "from nearfar.learn.run import train_run\n"
        "train_run(made_recipe(Path(sys.argv[2]), *sys.argv[4:]), Path(sys.argv[3]))\n"
    )
    broken = tmp_path / "broken"
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent), str(data), str(broken), *schedule]
    process = subprocess.Popen(arguments)
    while process.poll() is None and not (broken / wait).exists():
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed: make it longer"
    train_run(made_recipe(data, *schedule), broken, resume=True)
    assert weights(broken) == weights(tmp_path / "whole")


def test_directory_in_use_and_damaged_checkpoint_are_clear_errors(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl", 60)
    recipe = made_recipe(data, "train.epochs=1", "train.early_stop=null", "data.split.validation=0")
    run = train_run(recipe, tmp_path / "run")
    with pytest.raises(RunError, match="is not empty"):
        train_run(recipe, tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.raises(RunError, match="damaged"):
        run.embedder()
    best.unlink()
    with pytest.raises(RunError, match="does not exist"):
        run.embedder()
