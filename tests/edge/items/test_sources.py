"""Which tower takes which file and which query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.edge.items.sources import item_suffixes, open_source, watched_suffixes
from nearfar.edge.towers import Towers
from nearfar.embedder import Item
from nearfar.errors import DataError
from nearfar.sources import Document, FilesSource
from nearfar.sources.item_rows import ItemRows


class Nothing:
    """An embedder that is never asked."""

    dim = 4

    def embed(self, items: list[Item], side: str = "document") -> np.ndarray:
        raise AssertionError


def towers(**kinds: str) -> Towers:
    return Towers(kinds, 4, lambda _: Nothing(), "the bundle")


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.png", "b.wav", "c.csv", "d.md", "e.parquet"):
        (tmp_path / name).write_text("time,x\n1,hot\n")

    def taken(**kinds: str) -> dict[str, str]:
        source = open_source(towers(**kinds), tmp_path)
        assert isinstance(source, FilesSource)
        return {one.id: one.modality for one in source.documents() if isinstance(one, Document)}

    assert taken(words="text", photo="image", sound="audio", log="series") == {
        "a.png": "photo",
        "b.wav": "sound",
        "c.csv": "log",
        "d.md": "",
        "e.parquet": "log",
    }
    assert taken(photo="image") == {"a.png": "photo"}
    assert taken(words="text", setup="table") == {
        "c.csv#2": "",
        "d.md": "",
    }  # rows of a table are texts, where no tower takes series
    assert ".png" in watched_suffixes(towers(photo="image"))
    assert ".md" not in watched_suffixes(towers(photo="image"))
    assert ".md" in watched_suffixes(Towers.of_texts(Nothing()))


def test_towers_that_take_the_same_files(tmp_path: Path) -> None:
    two = towers(front="image", back="image")
    with pytest.raises(
        DataError, match=r"towers front and back both take \.jpg files: name the files in a table.*--item back=COLUMN"
    ):
        item_suffixes(two)
    (tmp_path / "t.csv").write_text("a,b\n1.png,2.png\n")
    assert isinstance(open_source(two, tmp_path / "t.csv", items={"front": ["a"], "back": ["b"]}), ItemRows)


def test_mistakes(tmp_path: Path) -> None:
    both = towers(text="text", image="image")
    with pytest.raises(DataError, match="does not exist; name a folder or file of texts, pictures, or a table"):
        open_source(both, tmp_path / "none")
    with pytest.raises(DataError, match="is no table, and items are of its columns"):
        open_source(both, tmp_path, items={"image": ["a"]})
    with pytest.raises(DataError, match="there is no tower 'photo'"):
        open_source(both, tmp_path, items={"photo": ["a"]})
    with pytest.raises(DataError, match="of texts alone"):
        open_source(Towers.of_texts(Nothing()), tmp_path, items={"image": ["a"]})


def test_the_tower_of_a_query() -> None:
    several = towers(title="text", body="text", front="image", back="image", row="table")
    assert several.of_kind("text") == "title"  # texts go to the first tower of texts
    assert several.of_kind("image", "back") == "back"
    assert several.of_query(["red"], None) == "title"
    assert several.of_query([b"1"], "front") == "front"
    with pytest.raises(DataError, match="several towers are of image: say which, one of front, back"):
        several.of_kind("image")
    with pytest.raises(DataError, match="tower 'row' is of table, not of image"):
        several.of_kind("image", "row")
    with pytest.raises(DataError, match="say which tower a query is for"):
        several.of_query([{"a": 1}], None)
    assert towers(sound="audio").of_query([b"1"], None) == "sound"
    with pytest.raises(DataError, match="is a text, and no tower takes texts"):
        towers(front="image", back="image").placed(Document("a", "words"))
