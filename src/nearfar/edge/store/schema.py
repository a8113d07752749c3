r"""The tables of the store, and where its files lie.

An index is a folder:

    store.sqlite             documents, passages, metadata, int8 vectors, keywords: the truth
    derived-<n>.signs        one bit a component of every vector up to some row      \\
    derived-<n>.graph        in its place, a graph over the vectors                   > caches, named by the store
    derived-<n>.postings     the words of every passage up to some row               /
    bundle/                  a copy of the bundle that embedded the passages
    writer.lock              held by the one process that writes
    key.json                 of an encrypted store: how its key is found, never the key

A document is what is added, replaced and removed; a passage is what is embedded and found. Rows of passages only grow
(AUTOINCREMENT) and a row never changes its text: a passage of a changed document is a deleted row and a new one. That
is what lets a derived file be older than the store: rows after the last one it covers are searched without it, and rows
that are gone are masked.
"""

from __future__ import annotations

from pathlib import Path

from nearfar.edge.where.attributes import ATTRIBUTES

FORMAT = 2
STORE_FILE = "store.sqlite"
LOCK_FILE = "writer.lock"
KEY_FILE = "key.json"
BUNDLE_FOLDER = "bundle"
DERIVED_PATTERN = "derived-*"

TOKENIZER = "porter unicode61"
"""FTS5's tokeniser: cut at everything that is not a letter or digit (so also at `_` and `.`), fold case and accents, stem."""

COMMON_TERM = 64
"""Terms in at least this many passages have their count kept in `term_counts`; a rarer one is just rare."""

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE documents (
    doc INTEGER PRIMARY KEY AUTOINCREMENT,
    doc_id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    location TEXT NOT NULL,
    stamp TEXT NOT NULL,
    digest BLOB NOT NULL,
    metadata TEXT NOT NULL
);

-- `heading` is what is embedded before the text: the passage's own, or the title of its document.
CREATE TABLE passages (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    doc INTEGER NOT NULL,
    number INTEGER NOT NULL,
    heading TEXT NOT NULL,
    text TEXT NOT NULL,
    location TEXT NOT NULL,
    page INTEGER,
    begins INTEGER NOT NULL,
    ends INTEGER NOT NULL
);
CREATE UNIQUE INDEX passages_of_document ON passages (doc, number);

-- The scale as a little-endian float32, then an int8 a component.
CREATE TABLE vectors (row INTEGER PRIMARY KEY, code BLOB NOT NULL);

-- Rows that a derived file covers and that are no longer there.
CREATE TABLE removed (row INTEGER PRIMARY KEY);

{ATTRIBUTES}
CREATE INDEX attributes_of_document ON attributes (doc);

CREATE TABLE term_counts (term TEXT PRIMARY KEY, documents INTEGER NOT NULL) WITHOUT ROWID;

CREATE VIRTUAL TABLE keywords USING fts5(
    heading, text, content='passages', content_rowid='row', tokenize='{TOKENIZER}'
);
CREATE VIRTUAL TABLE keyword_terms USING fts5vocab('keywords', 'row');

CREATE TRIGGER passages_added AFTER INSERT ON passages BEGIN
    INSERT INTO keywords (rowid, heading, text) VALUES (new.row, new.heading, new.text);
END;
CREATE TRIGGER passages_removed AFTER DELETE ON passages BEGIN
    INSERT INTO keywords (keywords, rowid, heading, text) VALUES ('delete', old.row, old.heading, old.text);
    DELETE FROM vectors WHERE row = old.row;
END;
CREATE TRIGGER documents_removed AFTER DELETE ON documents BEGIN
    DELETE FROM attributes WHERE doc = old.doc;
    DELETE FROM passages WHERE doc = old.doc;
END;
"""

THUMBNAILS = """
CREATE TABLE IF NOT EXISTS thumbnails (doc INTEGER PRIMARY KEY, image BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS thumbnails_removed AFTER DELETE ON documents BEGIN
    DELETE FROM thumbnails WHERE doc = old.doc;
END;
"""
"""Small pictures of documents that are pictures; made with the first of them. Who knows nothing of it still removes them, by the trigger."""


def store_path(directory: Path) -> Path:
    """The SQLite file of the index in `directory`."""
    return directory / STORE_FILE
