"""`nearfar doctor` as a user types it."""

import json
import sqlite3
from contextlib import closing

import pytest
import typer
from made_documents import made_documents
from tiny_bundle import write_tiny_bundle
from typer.testing import CliRunner

from nearfar.cli.doctor import doctor
from nearfar.edge import SearchIndex
from nearfar.errors import StoreError

app = typer.Typer()
app.command()(doctor)


@pytest.fixture
def index(tmp_path):
    bundle = write_tiny_bundle(tmp_path / "b", texts=[document.content for document in made_documents(50)])
    SearchIndex.build(bundle, made_documents(50), tmp_path / "i", threads=1).close()
    return tmp_path / "i"


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_a_sound_index(index):
    result = run(index)
    assert result.exit_code == 0
    assert "50 documents, 50 passages" in result.output
    assert result.output.rstrip().endswith("sound")
    told = json.loads(run(index, "--json").output)
    assert told["sound"] is True
    assert told["findings"] == []
    assert told["documents"] == 50


def test_a_fault_is_told_and_mended(index):
    with closing(sqlite3.connect(index / "store.sqlite")) as connection:
        connection.execute("DELETE FROM vectors WHERE row < 4")
        connection.commit()
    result = run(index)
    assert result.exit_code == 1
    assert "passages with no vector, or a damaged one: 3" in result.output
    assert "run with --repair: they will be embedded again" in result.output
    result = run(index, "--repair")
    assert result.exit_code == 0
    assert "mended: they were embedded again" in result.output
    assert run(index).output.rstrip().endswith("sound")


def test_what_cannot_be_mended_ends_with_one_and_says_what_to_do(index):
    (index / "store.sqlite").write_bytes(b"\0" * 5000)
    result = run(index, "--repair", "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.output)["findings"]
    assert finding["mended"] is False
    assert "--rebuild" in finding["mend"]


def test_no_index(tmp_path):
    assert isinstance(run(tmp_path).exception, StoreError)
