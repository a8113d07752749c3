import json
import tempfile
from pathlib import Path

import pytest
import typer
from made_documents import made_documents
from servers import postgres
from tiny_bundle import write_tiny_bundle
from typer.testing import CliRunner

from nearfar.cli.push import push
from nearfar.edge import SearchIndex
from nearfar.errors import DataError, NearfarError, StoreError

pytest.importorskip("psycopg", reason="the extra pgvector is not installed")

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(push)


@pytest.fixture(scope="module")
def sockets():
    with tempfile.TemporaryDirectory(prefix="nearfar-pg-") as folder, postgres(Path(folder) / "pg") as found:
        yield found


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("push")
    SearchIndex.build(write_tiny_bundle(folder / "b"), made_documents(30), folder / "i").close()
    return folder / "i"


def _run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_push_says_what_it_did_and_again_that_nothing_changed(index, sockets):
    address = f"pgvector://postgres@/postgres?host={sockets}&table=docs"
    first = _run(index, address)
    assert first.exit_code == 0, first.output
    assert "30 passages (30 added, 0 updated, 0 unchanged, 0 removed)" in first.stdout
    second = _run(index, address, "--json")
    assert json.loads(second.stdout) == {"added": 0, "updated": 0, "unchanged": 30, "removed": 0, "passages": 30}
    third = _run(index, address, "--rebuild")
    assert "30 added" in third.stdout


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("nonsense", DataError),
        ("pgvector://ann:secret7@box/db?table=t", DataError),
        ("pgvector:///db?host=/nowhere&table=t", StoreError),
    ],
)
def test_what_goes_wrong_is_one_message(index, address, kind):
    result = _run(index, address)
    assert isinstance(result.exception, NearfarError)
    assert type(result.exception) is kind
    assert "secret7" not in result.output + str(result.exception)


def test_no_index_is_said_before_the_server_is_asked(tmp_path):
    result = _run(tmp_path, "pgvector:///db?host=/nowhere&table=t")
    assert "no search index here" in str(result.exception)
