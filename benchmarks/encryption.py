"""What encryption at rest costs: the store's statements on SQLCipher against plain SQLite, and sealed files against plain ones.

Passages of 120 words drawn as words are (1/rank), a code of 256 bytes each, keywords with FTS5, in batches of 512. Ratios are
CPU time of the encrypted file over that of Python's own sqlite3, contestants in turns, 95 % interval of a bootstrap over turns.
Keys that end in `_same_sqlite` are against the SQLite that SQLCipher brings, without a key: that leaves out that one SQLite is
newer than the other.

- `insert_ratio`: one batch; `keywords_ratio`: BM25 of two words, best ten; `passages_ratio`: ten passages by row;
  `codes_ratio`: a hundred vectors by row; `scan_ratio`: all vectors; `open_ratio`: connect and read the schema.
- `keywords_ratio_wiping`: with SQLCipher's `cipher_memory_security`, which the store leaves off.
- `seal_gb_per_s`, `unseal_gb_per_s`: 256 MB, beside `plain_write_gb_per_s`, `plain_read_gb_per_s`.

About two minutes. --data is not needed.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from nearfar.edge.store.connection import connect
from nearfar.edge.store.sealed_file import sealed_file, unseal
from tools.latency import ratio_of_medians
from tools.results import Figures, arguments, figure, report
from tools.turns import in_turns

KEY = bytes(range(32))
BATCH = 512
SCHEMA = """
CREATE TABLE passages (rowid INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE vectors (rowid INTEGER PRIMARY KEY, scale REAL NOT NULL, code BLOB NOT NULL);
CREATE VIRTUAL TABLE keywords USING fts5(text, content='passages', content_rowid='rowid', tokenize='porter unicode61');
"""


def main() -> int:
    """Measure, print, write."""
    options = arguments(__doc__ or "").parse_args()
    count, megabytes = (2 * BATCH, 16) if options.quick else (80 * BATCH, 256)
    with tempfile.TemporaryDirectory() as folder:
        figures = store_figures(Path(folder), count) | sealed_figures(Path(folder), megabytes << 20)
    report(figures, options.json, quick=options.quick)
    return 0


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU time of one call in this process."""
    started = time.process_time()
    run()
    return time.process_time() - started


def opened(folder: Path, kind: str) -> sqlite3.Connection:
    """A connection to the file of one contestant."""
    path = folder / f"{kind}.sqlite"
    if kind == "same_sqlite":
        connection: sqlite3.Connection = import_module("sqlcipher3.dbapi2").connect(str(path), isolation_level=None)
        return connection
    return connect(path, key=KEY if kind == "encrypted" else None)


def store_figures(folder: Path, count: int) -> Figures:
    """Ratios of the store's statements."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(20_000)]
    chances = [1 / rank for rank in range(1, len(words) + 1)]
    connections = {kind: opened(folder, kind) for kind in ("encrypted", "plain", "same_sqlite")}
    for connection in connections.values():
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(SCHEMA)
    taken: dict[str, dict[str, list[float]]] = {"insert": {kind: [] for kind in connections}}
    for _ in range(0, count, BATCH):
        texts = [" ".join(rng.choices(words, chances, k=120)) for _ in range(BATCH)]
        codes = [rng.randbytes(256) for _ in range(BATCH)]
        one_turn(
            taken["insert"], {kind: partial(insert, connections[kind], texts, codes) for kind in rotated(connections)}
        )
    statements: dict[str, tuple[str, Callable[[], object]]] = {
        "keywords": (
            "SELECT rowid, -rank FROM keywords WHERE keywords MATCH ? ORDER BY rank LIMIT 10",
            lambda: " OR ".join(rng.sample(words[200:5000], 2)),
        ),
        "passages": (
            "SELECT p.* FROM json_each(?) AS w JOIN passages AS p ON p.rowid = w.value",
            lambda: json.dumps(rng.sample(range(1, count + 1), 10)),
        ),
        "codes": (
            "SELECT v.* FROM json_each(?) AS w JOIN vectors AS v ON v.rowid = w.value",
            lambda: json.dumps(rng.sample(range(1, count + 1), 100)),
        ),
        "scan": ("SELECT rowid, scale, code FROM vectors WHERE rowid > ?", lambda: 0),
    }
    for name, (sql, draw) in statements.items():
        taken[name] = timed(connections, sql, [draw() for _ in range(25 if name == "scan" else 400)])
    for connection in connections.values():
        connection.close()
    runs = {kind: partial(reopen, folder, kind) for kind in connections}
    taken["open"] = {k: v.tolist() for k, v in in_turns(runs, seconds=5.0, stopwatch=cpu_seconds).items()}
    # Last, because the setting is the process's.
    wiping = {"encrypted": opened(folder, "encrypted"), "plain": opened(folder, "plain")}
    wiping["encrypted"].execute("PRAGMA cipher_memory_security = ON")
    sql, draw = statements["keywords"]
    seconds = timed(wiping, sql, [draw() for _ in range(100)])
    figures: Figures = {
        "keywords_ratio_wiping": figure(ratio_of_medians(*(np.array(seconds[kind]) for kind in ("encrypted", "plain"))))
    }
    for name, by_kind in taken.items():
        encrypted, plain, same = (np.array(by_kind[kind]) for kind in ("encrypted", "plain", "same_sqlite"))
        figures[f"{name}_ratio"] = figure(ratio_of_medians(encrypted, plain))
        figures[f"{name}_ratio_same_sqlite"] = figure(ratio_of_medians(encrypted, same))
    return figures


def rotated(connections: dict[str, sqlite3.Connection]) -> list[str]:
    """The contestants; another one begins the next time."""
    first = next(iter(connections))
    connections[first] = connections.pop(first)
    return list(connections)


def one_turn(taken: dict[str, list[float]], runs: dict[str, Callable[[], None]]) -> None:
    """Time every contestant once."""
    for kind, run in runs.items():
        taken[kind].append(cpu_seconds(run))


def timed(connections: dict[str, sqlite3.Connection], sql: str, values: Sequence[object]) -> dict[str, list[float]]:
    """CPU seconds of a query by contestant, for each of some values."""
    taken: dict[str, list[float]] = {kind: [] for kind in connections}
    for value in values:
        one_turn(taken, {kind: partial(read, connections[kind], sql, value) for kind in rotated(connections)})
    return taken


def insert(connection: sqlite3.Connection, texts: list[str], codes: list[bytes]) -> None:
    """One batch in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for text, code in zip(texts, codes, strict=True):
        rowid = connection.execute("INSERT INTO passages (text) VALUES (?)", (text,)).lastrowid
        connection.execute("INSERT INTO keywords (rowid, text) VALUES (?, ?)", (rowid, text))
        connection.execute("INSERT INTO vectors VALUES (?, 1.0, ?)", (rowid, code))
    connection.execute("COMMIT")


def read(connection: sqlite3.Connection, sql: str, value: object) -> None:
    """All rows of a query."""
    connection.execute(sql, (value,)).fetchall()


def reopen(folder: Path, kind: str) -> None:
    """Connect and read the schema."""
    connection = opened(folder, kind)
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    connection.close()


def sealed_figures(folder: Path, size: int) -> Figures:
    """Speed of sealing and unsealing, CPU time."""
    content = os.urandom(size)
    plain, sealed = folder / "plain", folder / "sealed"

    def seal() -> None:
        with sealed_file(sealed, key=KEY) as file:
            file.write(content)

    seal()
    plain.write_bytes(content)
    taken = in_turns(
        {
            "seal": seal,
            "unseal": partial(unseal, sealed, key=KEY),
            "plain_write": partial(plain.write_bytes, content),
            "plain_read": plain.read_bytes,
        },
        seconds=10.0,
        stopwatch=cpu_seconds,
    )
    return {f"{name}_gb_per_s": figure(size / float(np.median(found)) / 1e9, "GB/s") for name, found in taken.items()}


if __name__ == "__main__":
    sys.exit(main())
