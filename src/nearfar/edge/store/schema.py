"""The tables of the store, and where its files lie.

An index is a folder:

    store.sqlite        documents, int8 vectors, keywords: the truth
    vectors-<n>.hnsw    a graph over the vectors up to some row: a cache, which the store names with its digest
    bundle/             a copy of the bundle that embedded the documents
    writer.lock         held by the one process that writes

Row numbers only grow (AUTOINCREMENT) and a row never changes its text: an updated document is a deleted row and a new
one. That is what lets the graph be older than the store: rows after the last one it covers are searched exactly, and
rows that are gone are masked.
"""

from __future__ import annotations

from pathlib import Path

FORMAT = 1
STORE_FILE = "store.sqlite"
LOCK_FILE = "writer.lock"
BUNDLE_FOLDER = "bundle"
GRAPH_PATTERN = "vectors-*.hnsw"

TOKENIZER = "porter unicode61"
"""FTS5's tokeniser: cut at everything that is not a letter or digit (so also at `_` and `.`), fold case and accents, stem."""

COMMON_TERM = 64
"""Terms in at least this many documents have their document count kept in `term_counts`; a rarer one is just rare."""

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE documents (
    rowid INTEGER PRIMARY KEY AUTOINCREMENT,
    doc_id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    text TEXT NOT NULL,
    location TEXT NOT NULL,
    digest BLOB NOT NULL
);

CREATE TABLE vectors (rowid INTEGER PRIMARY KEY, scale REAL NOT NULL, code BLOB NOT NULL);

-- Rows that the graph covers and that are no longer there.
CREATE TABLE removed (rowid INTEGER PRIMARY KEY);

CREATE TABLE term_counts (term TEXT PRIMARY KEY, documents INTEGER NOT NULL) WITHOUT ROWID;

CREATE VIRTUAL TABLE keywords USING fts5(
    title, text, content='documents', content_rowid='rowid', tokenize='{TOKENIZER}'
);
CREATE VIRTUAL TABLE keyword_terms USING fts5vocab('keywords', 'row');

CREATE TRIGGER documents_added AFTER INSERT ON documents BEGIN
    INSERT INTO keywords (rowid, title, text) VALUES (new.rowid, new.title, new.text);
END;
CREATE TRIGGER documents_removed AFTER DELETE ON documents BEGIN
    INSERT INTO keywords (keywords, rowid, title, text) VALUES ('delete', old.rowid, old.title, old.text);
    DELETE FROM vectors WHERE rowid = old.rowid;
END;
"""


def store_path(directory: Path) -> Path:
    """The SQLite file of the index in `directory`."""
    return directory / STORE_FILE
