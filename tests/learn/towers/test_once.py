"""Contents that many rows name are looked at once, refused ones too."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from nearfar.learn.towers.once import Once
from nearfar.learn.towers.tower import RefusedItem


class Content(bytes):
    """Bytes whose end can be seen."""


def test_what_was_refused_is_refused_again_without_another_look() -> None:
    looked: list[Any] = []

    def add(content: Any, location: str) -> int:
        looked.append(location)
        if content == b"bad":
            raise RefusedItem("no picture", "too short")
        return len(looked)

    once = Once(add)
    assert [once(b"good", "1"), once(b"good", "2")] == [1, 1]
    for location in ("3", "4"):
        with pytest.raises(RefusedItem) as refused:
            once(b"bad", location)
        assert (refused.value.reason, refused.value.detail) == ("no picture", "too short")
    assert looked == ["1", "3"]


def test_a_refused_content_is_not_held_in_memory() -> None:
    def add(content: Any, location: str) -> int:
        raise RefusedItem("no picture", location)

    once = Once(add)
    for number in range(3):
        with pytest.raises(RefusedItem):
            once(Content(b"%d" % number), "a:1")
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is Content]
