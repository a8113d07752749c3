"""`nearfar key` as a user types it."""

import json

import pytest
from typer.testing import CliRunner

from nearfar.cli.keys import app
from nearfar.edge.keys import create_key, open_key
from nearfar.errors import NearfarError

pytest.importorskip("cryptography")

OLD, NEW = "correct horse battery", "staple of the battery"


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setenv("NEARFAR_PASSPHRASE", OLD)
    (tmp_path / "index").mkdir()
    create_key(tmp_path / "index", "passphrase")
    return tmp_path / "index"


def key(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, NearfarError)
    return result


def test_status_says_how_the_key_is_kept(index, tmp_path):
    assert "passphrase" in key("status", index).output
    assert json.loads(key("status", index, "--json").output) == {
        "rung": "passphrase",
        "protection": "needs the passphrase",
        "available": None,
        "problem": "",
    }
    assert "key.json" in str(key("status", tmp_path).exception)


def test_the_passphrase_is_changed(index, monkeypatch):
    monkeypatch.setenv("NEARFAR_NEW_PASSPHRASE", NEW)
    assert "is changed" in key("passphrase", index).output
    assert "wrong" in str(key("passphrase", index).exception)
    monkeypatch.setenv("NEARFAR_PASSPHRASE", NEW)
    open_key(index)


def test_the_key_is_moved(index, tmp_path):
    path = tmp_path / "k"
    assert f"file:{path}" in key("move", index, f"file:{path}").output
    assert "weak" in key("status", index).output
    path.chmod(0o644)
    assert "chmod 600" in key("status", index).output.replace("\n", " ")
    refused = key("move", index, "passphrase:oh no")
    assert refused.exit_code != 0
    assert "oh no" not in str(refused.exception)
