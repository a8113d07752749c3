"""Encrypted and plain stores behind one call: the same answers, the same errors, and no plain text on the disk."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nearfar.edge.store.connection import connect
from nearfar.edge.store.failures import explained
from nearfar.errors import StoreError

pytest.importorskip("sqlcipher3")

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
SCHEMA = """
CREATE TABLE IF NOT EXISTS texts (rowid INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, content='texts', content_rowid='rowid', tokenize='porter unicode61');
CREATE VIRTUAL TABLE IF NOT EXISTS terms USING fts5vocab('words', 'row');
"""
MARKER = "xylophonemarker"


def filled(path, key, count=50):
    connection = connect(path, key=key)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(SCHEMA)
    connection.execute("BEGIN")
    for number in range(count):
        text = f"running {MARKER} number {number}"
        rowid = connection.execute("INSERT INTO texts (text) VALUES (?)", (text,)).lastrowid
        connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (rowid, text))
    connection.execute("COMMIT")
    return connection


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def key(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    (tmp_path / "an index #1 100%").mkdir()
    return tmp_path / "an index #1 100%" / "store.sqlite"


def test_both_kinds_do_what_the_store_needs(path, key):
    connection = filled(path, key)
    assert connection.execute("SELECT rowid FROM words WHERE words MATCH 'run' LIMIT 2").fetchall() == [(1,), (2,)]
    assert connection.execute("SELECT doc FROM terms WHERE term = 'run'").fetchone() == (50,)
    assert list(connection.execute("SELECT value FROM json_each('[3, 4]')")) == [(3,), (4,)]
    assert [len(connection.execute("SELECT * FROM texts").fetchmany(7)), connection.in_transaction] == [7, False]
    connection.execute("CREATE TEMP TABLE seen (rowid INTEGER PRIMARY KEY, code BLOB)")
    connection.executemany("INSERT INTO seen VALUES (?, ?)", ((n, bytes([n])) for n in range(3)))
    assert connection.execute("SELECT code FROM seen").fetchall() == [(b"\0",), (b"\1",), (b"\2",)]
    answers = []
    thread = threading.Thread(target=lambda: answers.append(connection.execute("SELECT 1").fetchall()))
    thread.start()
    thread.join()
    assert answers == [[(1,)]]
    connection.close()


def test_a_reader_sees_one_state_while_a_writer_goes_on(path, key):
    writer = filled(path, key)
    reader = connect(path, key=key, mode="ro")
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM texts").fetchone() == (50,)
    writer.execute("DELETE FROM texts")
    assert reader.execute("SELECT count(*) FROM texts").fetchone() == (50,)
    reader.execute("ROLLBACK")
    assert reader.execute("SELECT count(*) FROM texts").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError) as raised:
        reader.execute("DELETE FROM texts")
    assert raised.value.sqlite_errorcode == sqlite3.SQLITE_READONLY


def test_the_errors_are_those_of_sqlite3_with_their_codes(path, key):
    connection = filled(path, key)
    other = connect(path, key=key, timeout=0.0)
    connection.execute("BEGIN IMMEDIATE")
    cases = [
        (other, "BEGIN IMMEDIATE", sqlite3.OperationalError, sqlite3.SQLITE_BUSY),
        (connection, "SELECT * FROM nowhere", sqlite3.OperationalError, sqlite3.SQLITE_ERROR),
        (connection, "INSERT INTO texts VALUES (1, 'x')", sqlite3.IntegrityError, sqlite3.SQLITE_CONSTRAINT),
    ]
    for where, sql, kind, code in cases:
        with pytest.raises(kind) as raised:
            where.execute(sql)
        assert type(raised.value) is kind
        assert raised.value.sqlite_errorcode & 0xFF == code
        assert raised.value.sqlite_errorname.startswith("SQLITE_")
    with pytest.raises(StoreError, match="another process keeps the index locked"), explained(path.parent):
        other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as raised:
        connect(path.parent / "none.sqlite", key=key, mode="ro").execute("SELECT 1")
    assert raised.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CANTOPEN
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")


def test_errors_come_translated_out_of_a_cursor_that_is_read(path, key):
    connection = filled(path, key)
    rows = connection.execute("SELECT json(CASE WHEN rowid < 5 THEN '1' ELSE '{' END) FROM texts")
    with pytest.raises(sqlite3.OperationalError, match="malformed JSON"):
        list(rows)
    with pytest.raises(sqlite3.OperationalError, match="malformed JSON"):
        connection.execute("SELECT json(CASE WHEN rowid < 5 THEN '1' ELSE '{' END) FROM texts").fetchall()


def test_a_folder_that_nobody_can_write_is_read_without_a_journal(path, key):
    connection = filled(path, key)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    reader = connect(path, key=key, mode="immutable")
    assert reader.execute("SELECT count(*) FROM texts").fetchone() == (50,)
    assert [file.name for file in path.parent.iterdir()] == ["store.sqlite"]


@pytest.mark.parametrize("key", [None, KEY])
def test_opening_the_store_once_more_leaves_the_journal_to_those_who_read_it(path, key):
    # Closing any file of the store would drop the locks of this process, and the next writer would delete the journal.
    filled(path, key).close()
    reader = connect(path, key=key, mode="ro")
    assert reader.execute("SELECT count(*) FROM texts").fetchone() == (50,)
    connect(path, key=key, mode="ro").close()
    for count in (51, 52):
        script = (
            "import sys; from pathlib import Path; from nearfar.edge.store.connection import connect\n"
            "writer = connect(Path(sys.argv[1]), key=bytes.fromhex(sys.argv[2]) or None)\n"
            "writer.execute('INSERT INTO texts (text) VALUES (?)', (sys.argv[3],)); writer.close()"
        )
        subprocess.run([sys.executable, "-c", script, path, (key or b"").hex(), f"new {count}"], check=True)
        assert reader.execute("SELECT count(*) FROM texts").fetchone() == (count,)
    reader.close()


@pytest.mark.parametrize("mode", ["ro", "rwc", "immutable"])
def test_the_key_must_be_the_one_that_was_used(path, mode, capfd):
    filled(path, KEY).close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="encrypted, and its key was not given"):
        connect(path, mode=mode)
    with pytest.raises(StoreError, match="cannot be read with this key") as raised:
        connect(path, key=OTHER, mode=mode)
    assert OTHER.hex() not in str(raised.value)
    plain = path.with_name("plain.sqlite")
    filled(plain, None).close()
    with pytest.raises(StoreError, match="is not encrypted"):
        connect(plain, key=KEY, mode=mode)
    assert path.read_bytes() == before
    # SQLCipher's own log would tell the terminal of a user about pages and codecs.
    assert capfd.readouterr() == ("", "")


def test_a_damaged_page_is_noticed_and_said_in_our_words(path, capfd):
    filled(path, KEY, count=2000).close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    connection = connect(path, key=KEY, mode="ro")
    with pytest.raises(StoreError, match="the index is damaged"), explained(path.parent):
        connection.execute(
            "SELECT sum(length(text)), (SELECT sum(length(block)) FROM words_data) FROM texts"
        ).fetchall()
    assert capfd.readouterr() == ("", "")


def test_a_key_of_the_wrong_length_is_a_mistake_of_the_caller(path):
    with pytest.raises(ValueError, match="32 bytes, not 16"):
        connect(path, key=KEY[:16])


KILLED = f"""
import os, pathlib, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_connection import KEY, MARKER, SCHEMA, connect, filled
path = pathlib.Path(sys.argv[1])
connection = filled(path, KEY, count=3000)
connection.execute("PRAGMA cache_size = 10")
connection.execute("CREATE TEMP TABLE seen AS SELECT text || '{MARKER}' AS text FROM texts ORDER BY text DESC")
connection.execute("BEGIN")
connection.execute("INSERT INTO texts (text) SELECT text || text FROM texts")
connection.execute("INSERT INTO words (rowid, text) SELECT rowid, text FROM texts")
connection.execute("INSERT INTO words (words) VALUES ('optimize')")
connection.execute("SELECT count(*) FROM (SELECT DISTINCT text || text FROM texts ORDER BY text || text DESC)").fetchall()
print("in the middle", flush=True)
signal.pause()
"""


def held(folder):
    """Every byte of every file of a folder, by name."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_no_file_has_plain_text_in_mid_transaction_or_after_a_kill(path, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, path],
        stdout=subprocess.PIPE,
        env={**os.environ, "SQLITE_TMPDIR": str(temporary)},
    )
    assert process.stdout.readline() == b"in the middle\n"
    # Files that SQLite has removed and still has open are found through the process.
    opened = [link.readlink() for link in Path(f"/proc/{process.pid}/fd").iterdir()]
    names = sorted(target.name for target in opened if target.is_relative_to(tmp_path))
    assert names == ["store.sqlite", "store.sqlite-shm", "store.sqlite-wal"]
    during = held(path.parent)
    process.send_signal(signal.SIGKILL)
    process.wait()
    after = held(path.parent)
    assert len(during["store.sqlite-wal"]) > 100_000
    for name, content in [*during.items(), *after.items()]:
        for plain in (MARKER, MARKER[2:10], "CREATE TABLE", "texts", "SQLite format"):
            assert plain.encode() not in content, name
    assert list(temporary.iterdir()) == []
    connection = connect(path, key=KEY)
    assert connection.execute("SELECT count(*) FROM texts").fetchone() == (3000,)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_search_for_plain_text_would_find_it(path):
    filled(path, None)
    assert any(MARKER.encode() in content for content in held(path.parent).values())


def test_the_key_is_not_kept_in_the_text_of_a_statement(path):
    seen = []
    connection = connect(path, key=KEY)
    connection.set_trace_callback(seen.append)
    connection.execute("SELECT 1")
    assert seen == ["SELECT 1"]
