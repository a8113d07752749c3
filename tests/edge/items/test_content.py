"""Digests of items: the same for the same content, another for any other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nearfar.edge.items.content import item_bytes, item_digest
from nearfar.errors import DataError


def test_items_that_differ_have_other_digests(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "b").write_bytes(b"21")
    array = np.arange(6, dtype=np.uint8)
    items = [
        tmp_path / "a",
        tmp_path / "b",
        b"12",
        b"1",
        array,
        array.reshape(2, 3),
        array.reshape(3, 2),
        array.astype(np.int8),
        (array.astype(np.float32), 8000),
        (array.astype(np.float32), 16000),
        {"a": 1, "b": 2},
        {"a": "1", "b": 2},
        {"a": None},
    ]
    assert len({item_digest(item) for item in items}) == len(items)


def test_the_same_content_has_the_same_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "b").write_bytes(b"12")
    assert item_digest(tmp_path / "a") == item_digest(str(tmp_path / "b"))
    assert item_digest({"a": 1, "b": 2}) == item_digest({"b": 2, "a": 1})
    wide = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert item_digest(wide[:, ::2]) == item_digest(wide[:, ::2].copy())
    assert item_digest(b"12") == item_digest(bytearray(b"12"))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: cannot be read: No such file"):
        item_digest(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(DataError, match="not a regular file"):
            item_digest(path)
    with pytest.raises(DataError, match="not object"):
        item_digest(object())


def test_memory() -> None:
    assert item_bytes(b"1234") == 4
    assert item_bytes((np.zeros(10, np.float32), 8000)) == 40
    assert item_bytes(Path("x")) == item_bytes({"a": 1}) == 0
