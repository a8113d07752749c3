"""A run that cannot start, cannot go on, or has little to learn from: it says so, and what is finished is kept."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from interruption import interrupt_at
from made_corpus import made_recipe, write_pairs

from nearfar.errors import DataError, RunError
from nearfar.learn.run import train_run
from nearfar.learn.trainer.checkpoints import InterruptedRunError

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl", 200, topics=50)


def last_weights(directory: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    return state


def ended(directory: Path) -> dict[str, float]:
    result: dict[str, float] = json.loads((directory / "fit.json").read_text("utf-8"))
    return result


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_accelerator_that_is_not_there(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"train\.accelerator is gpu.*auto or cpu"):
        train_run(made_recipe(data, "train.accelerator=gpu"), tmp_path / "run")


def test_a_rate_that_is_far_too_high(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"NaN or infinite.*lower train\.learning_rate"):
        train_run(made_recipe(data, "train.learning_rate=100000000"), tmp_path / "run")
    assert not (tmp_path / "run" / "fit.json").exists()


def test_half_precision_learns_too(data: Path, tmp_path: Path) -> None:
    schedule = ("train.epochs=8", "train.early_stop.patience=1000")
    train_run(made_recipe(data, *schedule, "train.precision=bf16-mixed"), tmp_path / "half")
    train_run(made_recipe(data, *schedule), tmp_path / "whole")
    half, whole = ended(tmp_path / "half")["best_value"], ended(tmp_path / "whole")["best_value"]
    assert half > 0.8 * whole > 0.1


def test_only_a_run_can_be_resumed(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no recipe\.yaml"):
        train_run(made_recipe(data), tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_checkpoint_is_named_and_can_be_thrown_away(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = made_recipe(data, "train.early_stop=null")
    train_run(recipe, tmp_path / "whole")
    interrupt_at(3, monkeypatch)
    with pytest.raises(InterruptedRunError):
        train_run(recipe, tmp_path / "run")
    monkeypatch.undo()
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    for damaged in (last.read_bytes()[:2_000], b"", b"not a checkpoint"):
        last.write_bytes(damaged)
        with pytest.raises(RunError, match=r"last\.ckpt cannot be read .* Delete that file"):
            train_run(recipe, tmp_path / "run", resume=True)
    last.unlink()
    train_run(recipe, tmp_path / "run", resume=True)
    for name, value in last_weights(tmp_path / "whole").items():
        assert torch.equal(value, last_weights(tmp_path / "run")[name])


def test_a_run_that_early_stopping_ended_is_not_trained_further(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing gets better at this rate, so the second validation ends the run; the interruption comes in between."""
    schedule = ("train.learning_rate=1.0e-9", "train.validate_every=4", "train.early_stop={patience: 1}")
    recipe = made_recipe(data, *schedule, "train.epochs=30")
    train_run(recipe, tmp_path / "whole")
    assert (ended(tmp_path / "whole")["steps"], ended(tmp_path / "whole")["best_step"]) == (8, 4)
    interrupt_at(7, monkeypatch)
    with pytest.raises(InterruptedRunError, match="stopped after step 8"):
        train_run(recipe, tmp_path / "run")
    monkeypatch.undo()
    train_run(recipe, tmp_path / "run", resume=True)
    assert (ended(tmp_path / "run")["steps"], ended(tmp_path / "run")["best_step"]) == (8, 4)
    for name, value in last_weights(tmp_path / "whole").items():
        assert torch.equal(value, last_weights(tmp_path / "run")[name])


def test_fewer_pairs_than_a_batch(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl", 10, topics=10)
    nothing_held_out = ("data.split.validation=0", "data.split.test=0", "train.early_stop=null")
    run = train_run(made_recipe(data, *nothing_held_out, "train.epochs=30"), tmp_path / "run")
    assert ended(tmp_path / "run")["best_step"] == 30
    texts = [run.corpus.query(q) for q in range(10)]
    documents = [run.corpus.document(int(run.corpus.positives_of(q)[0])) for q in range(10)]
    embedder = run.embedder()
    ranked = (embedder.embed(texts, "query") @ embedder.embed(documents, "document").T).argmax(axis=1)
    assert ranked.tolist() == list(range(10))  # ten pairs are learned by heart


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"query": "one", "positive": "alone"}], "only 1 training pairs"),
        ([{"query": f"question {i}", "positive": "the same"} for i in range(9)], "the same document"),
    ],
)
def test_too_little_to_learn_from(tmp_path: Path, rows: list[dict[str, str]], message: str) -> None:
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    nothing_held_out = ("data.split.validation=0", "data.split.test=0", "train.early_stop=null")
    with pytest.raises(DataError, match=message):
        train_run(made_recipe(tmp_path / "pairs.jsonl", *nothing_held_out), tmp_path / "run")


def test_a_full_disk_while_training(data: Path, tmp_path: Path) -> None:
    """A file system in memory that gets full, and then larger: the run goes on to the same weights."""
    recipe = made_recipe(data, "train.early_stop=null", "train.epochs=2")
    train_run(recipe, tmp_path / "whole")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        with pytest.raises(RunError, match=r"No space left on device.*--resume"):
            train_run(recipe, disk / "run")
        assert (disk / "run" / "data" / "corpus.json").is_file()
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        train_run(recipe, disk / "run", resume=True)
        for name, value in last_weights(tmp_path / "whole").items():
            assert torch.equal(value, last_weights(disk / "run")[name])
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
