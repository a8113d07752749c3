"""Items of an index are added and removed in processes that are killed; see `tests.edge.killed_at_writes`."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
from tests.edge.killed_at_writes import Story, play
from tests.edge.made_joint import COLOURS, picture, row, write_joint_bundle

from nearfar.edge import IndexEditor, SearchIndex
from nearfar.sources.document import Document

WORK = Path(sys.argv[1])
NAMES = ("a", "b", "c")


def documents(colour: str) -> list[Document]:
    """Three pictures of a colour and a row; the same ids whatever the colour."""
    pixels = [np.asarray(picture(COLOURS[colour], number)) for number in range(3)]
    pictures = [
        Document(name, "", title="same", modality="image", item=one) for name, one in zip(NAMES, pixels, strict=True)
    ]
    return [*pictures, Document("row", "", title="same", modality="table", item=row(colour))]


def make(folder: Path) -> None:
    bundle = write_joint_bundle(WORK / "b", towers=("image", "table"))
    SearchIndex.build(bundle, documents("red"), folder / "v", threads=1).close()


def opened(folder: Path) -> IndexEditor:
    return SearchIndex.edit(folder / "v", threads=1)


def look(folder: Path) -> list[object]:
    """The ids that are red and those that are green, and how many thumbnails there are that belong to no document or are missing."""
    with SearchIndex.open(folder / "v") as index:
        found = []
        for colour in ("red", "green"):
            hits = [hit for hit in index.search(row(colour), 9, tower="table") if hit.score > 1.5]
            assert all(bool(hit.thumbnail) == (hit.modality == "image") for hit in hits)
            found.append(sorted(hit.id for hit in hits))
    with closing(sqlite3.connect(folder / "v" / "store.sqlite")) as connection:
        strangers = "SELECT count(*) FROM thumbnails WHERE doc NOT IN (SELECT doc FROM documents)"
        return [*found, connection.execute(strangers).fetchone()[0]]


play(
    Story(
        make,
        make,
        opened,
        {
            "change": lambda editor: editor.upsert(documents("green")),
            "remove": lambda editor: editor.delete(list(NAMES)),
        },
        look,
    )
)
