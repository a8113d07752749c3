"""The table that PostgreSQL keeps of an index, and a passage as a row of it."""

from __future__ import annotations

import json
from typing import Any

from nearfar.connect.outgoing import Outgoing
from nearfar.connect.stems import quoted

_STEM_BYTES = 2000
_PLACES = 16383
"""The largest place of a word that a `tsvector` can hold."""
_PLACES_OF_STEM = 255
_VECTOR_BYTES = 1_000_000
"""What a `tsvector` can hold, a little less; the later words of a passage that needs more are not found."""

COLUMNS = "key, digest, document, number, title, heading, text, location, page, begins, ends, metadata, length, words, embedding"
FIELDS = "document, number, title, heading, text, location, page, begins, ends, metadata"
NAMES = ("id", "number", "title", "heading", "text", "location", "page", "begin", "end", "metadata")

TABLE = """
CREATE TABLE {table} (
    key uuid PRIMARY KEY,
    digest bytea NOT NULL,
    document text NOT NULL,
    number integer NOT NULL,
    title text NOT NULL,
    heading text NOT NULL,
    text text NOT NULL,
    location text NOT NULL,
    page integer,
    begins integer NOT NULL,
    ends integer NOT NULL,
    metadata jsonb NOT NULL,
    length integer NOT NULL,
    words tsvector NOT NULL,
    embedding halfvec({dim}) NOT NULL
)"""


def row(passage: Outgoing, places: dict[str, list[int]]) -> tuple[Any, ...]:
    """What one row of the table is, in the order of `COLUMNS`."""
    fields = passage.fields
    return (
        passage.key,
        passage.digest,
        *(fields[name] for name in NAMES[:-1]),
        json.dumps(fields["metadata"]),
        sum(map(len, places.values())),
        _tsvector(places),
        f"[{','.join(f'{value:.6g}' for value in passage.vector.tolist())}]",
    )


def _tsvector(places: dict[str, list[int]]) -> str:
    """Stems and their places as PostgreSQL reads them; it takes no dictionary of its own to them."""
    words = []
    size = 0
    for stem, found in places.items():
        length = len(stem.encode())
        if length > _STEM_BYTES:
            continue
        size += length + 4 + 2 * min(len(found), _PLACES_OF_STEM)
        if size > _VECTOR_BYTES:
            break
        numbers = ",".join(str(min(place + 1, _PLACES)) for place in found[:_PLACES_OF_STEM])
        words.append(f"{quoted(stem)}:{numbers}")
    return " ".join(words)
