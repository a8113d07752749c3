"""`nearfar import` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from made_graphs import foreign_graph, write_foreign
from typer.testing import CliRunner

from nearfar.bundle import Bundle
from nearfar.cli.import_encoder import import_encoder
from nearfar.errors import BundleError, NearfarError, RunError


def run(*arguments: object) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(import_encoder)
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(done.exception, NearfarError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_it_says_what_was_made_and_what_was_assumed(tmp_path: Path) -> None:
    source, target = write_foreign(tmp_path / "theirs", foreign_graph()), tmp_path / "bundle"
    options = ("--max-tokens", 30, "--query-prompt", "query: ", "--name", "mine", "--quantise", "int8")
    printed = " ".join(run(source, "-o", target, *options).split())
    for part in (
        f"bundle {target} (",
        "12 dimensions, mean of the tokens",
        "up to 30 tokens",
        "query prompt 'query: '",
        "note: nothing beside the model says how to pool: the mean is taken; --pooling cls",
        f"nearfar index {target}",
    ):
        assert part in printed
    assert "document prompt" not in printed
    assert Bundle.open(target).manifest.name == "mine"
    assert "note:" not in run(source, "-o", target, "--pooling", "cls")


def test_a_graph_that_pools_says_so(tmp_path: Path) -> None:
    source = write_foreign(tmp_path / "theirs", foreign_graph(gives=("sentence_embedding",)))
    printed = run(source, "-o", tmp_path / "bundle")
    assert "pooled by the graph" in printed
    assert "note:" not in printed


def test_what_is_wrong_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no such folder"):
        run(tmp_path / "nothing", "-o", tmp_path / "bundle")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="is a folder that is not a bundle"):
        run(tmp_path / "nothing", "-o", tmp_path / "mine")
