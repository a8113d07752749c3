"""`nearfar compress` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from made_corpus import made_recipe, write_pairs
from typer.testing import CliRunner, Result

from nearfar import road
from nearfar.bundle import Bundle
from nearfar.cli.compress import compress
from nearfar.errors import RecipeError

pytestmark = pytest.mark.recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    recipe = made_recipe(write_pairs(folder / "pairs.jsonl"), "evaluate.bootstrap=50", "train.epochs=10")
    return road.train(recipe, folder / "run").directory


def typed(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(compress)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "160"})


def test_the_table_of_steps(run: Path, tmp_path: Path) -> None:
    steps = "compress.steps=[{kind: prefix, dim: 2}, {kind: weights, format: int4}]"
    result = typed(run, "-o", tmp_path / "small", "--set", steps, "--set", "compress.limit=0.3")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    heads = next(line for line in lines if line.startswith("step"))
    assert heads.split() == ["step", "MB", "ms", "nDCG@10", "change"]
    assert any(line.startswith("prefix 2 ") and line.rstrip().endswith("left out") for line in lines)
    assert any(line.startswith("weights int4 ") and "left out" not in line for line in lines)
    assert any(line.startswith("this bundle: cosine with the model in float ") for line in lines)
    assert str(tmp_path / "small") in result.stdout
    recorded = Bundle.open(tmp_path / "small").manifest.provenance.recipe["compress"]
    assert isinstance(recorded, dict)
    assert recorded["limit"] == 0.3


def test_without_steps_the_weights_go_to_int8(run: Path) -> None:
    result = typed(run)
    assert result.exit_code == 0, result.output
    (_, weights) = Bundle.open(run / "bundle").manifest.compression
    assert weights.step["format"] == "int8"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=2", "only keys of compress can be set here"),
        ("compress.limits=2", "compress.limits"),
        ("compress.steps=[{kind: wieghts}]", 'did you mean "weights"'),
    ],
)
def test_what_cannot_be_set(run: Path, tmp_path: Path, override: str, message: str) -> None:
    result = typed(run, "-o", tmp_path / "small", "--set", override)
    assert isinstance(result.exception, RecipeError)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []
