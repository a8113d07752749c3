"""`nearfar add` and `nearfar remove`, through the program."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle
from typer.testing import CliRunner

from nearfar.cli import app
from nearfar.edge import SearchIndex
from nearfar.errors import DataError


@pytest.fixture
def index(tmp_path: Path) -> Path:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "tap.md").write_text("---\nyear: 2021\n---\n# Dripping faucet\nTighten the packing nut.\n")
    (notes / "attic.md").write_text("---\nyear: 2019\n---\n# Attic\nInsulate it.\n")
    target = tmp_path / "my.index"
    ran("index", write_tiny_bundle(tmp_path / "bundle").path, notes, "-o", target)
    return target


def ran(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def ids(index: Path) -> set[str]:
    with SearchIndex.open(index) as opened:
        return {hit.id for hit in opened.search("anything", k=100, mode="dense", distinct="none")}


def test_what_is_added_stands_beside_what_was_there(index: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "bike.md").write_text("# Bicycle\nOil the chain.\n")
    assert "1 added, 0 updated" in ran("add", index, more)
    assert ids(index) == {"tap.md", "attic.md", "bike.md"}
    (more / "bike.md").write_text("# Bicycle\nOil the chain, and pump up the tyres.\n")
    assert "0 added, 1 updated" in ran("add", index, more)
    assert ids(index) == {"tap.md", "attic.md", "bike.md"}


def test_documents_are_removed_by_id_and_by_condition(index: Path) -> None:
    assert "1 removed" in ran("remove", index, "tap.md")
    assert ids(index) == {"attic.md"}
    assert "1 removed" in ran("remove", index, "--where", "year < 2020")
    assert ids(index) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either their ids, or a condition"),
        (("tap.md", "--where", "year > 1"), "either their ids, or a condition"),
        (("nothing.md",), "none has such an id"),
        (("--where", "yaer > 1"), "did you mean year"),
        (("--where", "year > 3000"), "no document satisfies that"),
    ],
)
def test_what_cannot_be_removed_is_said(index: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ran("remove", index, *arguments)
    assert ids(index) == {"tap.md", "attic.md"}
