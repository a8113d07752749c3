"""The page of hits: everything in it, nothing asked of a network, whatever texts say."""

from __future__ import annotations

import io
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.edge.hit import Hit
from nearfar.edge.items.page import hits_page
from nearfar.edge.items.thumbnails import SIDE, thumbnail


class Page(HTMLParser):
    """What a browser would make of it: elements that close each other, pictures, and the text a person sees."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.seen: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or (name == "href") for name, _ in attrs)
        if tag == "img":
            self.pictures.append(dict(attrs))
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.seen.append(data)


def test_a_page() -> None:
    small = thumbnail(np.full((200, 100, 3), 128, np.uint8))
    hits = [
        Hit("a", "red.png", "", "/p/<red>.png", 3.05, 1, modality="image", thumbnail=small),
        Hit("b", "", 'a "text" & <script>alert(1)</script>', "n.md:3", 0.5, 2, heading="<h1>", page=4, modality="text"),
    ]
    page = Page(text := hits_page([("<b>red</b>", None, hits)]))
    assert page.tags.count("li") == 2
    assert not {"script", "link", "iframe", "a"} & set(page.tags)
    seen = " ".join(page.seen)
    for part in (
        "<b>red</b>",
        "image",
        "red.png",
        "/p/<red>.png",
        "<script>alert(1)</script>",
        "<h1> · n.md:3, page 4",
        "3.050",
    ):
        assert part in seen
    (picture,) = page.pictures
    assert picture["alt"] == "red.png"
    kind, _, content = picture["src"].partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    assert Image.open(io.BytesIO(b64decode(content))).size == (SIDE // 2, SIDE)
    assert "http://" not in text.replace("http-equiv", "")
    assert "https://" not in text
    assert "prefers-color-scheme:dark" in text


def test_the_picture_that_was_looked_for_and_several_queries(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (255, 0, 0)).save(tmp_path / "q.png")
    page = Page(hits_page([("one", tmp_path / "q.png", []), ("two", None, [])]))
    assert len(page.pictures) == 1
    assert page.seen.count("Nothing found.") == 2


@pytest.mark.parametrize(
    ("pixels", "size", "middle"),
    [
        (np.full((40, 60, 3), (200, 30, 30), np.uint8), (60, 40), (200, 30, 30)),
        (np.full((40, 1000), 0xFFFF, np.uint16), (96, 4), (255, 255, 255)),
        (np.full((1, 1000, 3), 0.5, np.float32), (96, 1), (128, 128, 128)),
        (np.zeros((8, 8, 4), np.uint8), None, None),
        (np.zeros((8, 8, 6), np.uint8), None, None),
    ],
)
def test_thumbnails(pixels: np.ndarray, size: tuple[int, int] | None, middle: tuple[int, int, int] | None) -> None:
    small = thumbnail(pixels)
    if size is None:
        assert small == b"" or pixels.shape[2] == 4
        return
    image = Image.open(io.BytesIO(small)).convert("RGB")
    assert image.size == size
    assert np.abs(np.array(image.getpixel((size[0] // 2, size[1] // 2))) - middle).max() < 6


def test_what_is_no_picture_has_no_thumbnail(tmp_path: Path) -> None:
    assert thumbnail(b"nothing") == b""
    assert thumbnail(tmp_path / "none.png") == b""
