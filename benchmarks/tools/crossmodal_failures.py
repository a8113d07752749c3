"""The worst failures as a picture: what was asked, which emoji was meant, and what was found in its place."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_CELL, _PICTURE, _TEXT_WIDTH, _HEAD = 56, 48, 340, 26
_COLUMNS = 2


class Failure(NamedTuple):
    """A query that missed.

    Attributes:
        language: of the query.
        query: its text.
        rank: of the first right emoji, from 1.
        expected: number of the emoji that the query was taken from.
        found: numbers of the first that were found.
    """

    language: str
    query: str
    rank: int
    expected: int
    found: list[int]


def draw_failures(failures: Sequence[Failure], pictures: Sequence[bytes], target: Path) -> None:
    """Write failures as rows of a PNG picture, two rows side by side.

    Args:
        failures: what to show.
        pictures: of all emoji, as encoded bytes.
        target: the PNG file.
    """
    from PIL import Image, ImageDraw

    width = _TEXT_WIDTH + 7 * _CELL
    lines = -(-len(failures) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * width, _HEAD + max(1, lines) * _CELL), "white")
    draw, font = ImageDraw.Draw(sheet), _font()
    for column in range(_COLUMNS):
        left = column * width
        for text, place in (("asked (place of the first right one)", 8), ("meant", _TEXT_WIDTH)):
            draw.text((left + place, 6), text, fill="#555555", font=font)
        draw.text((left + _TEXT_WIDTH + int(1.5 * _CELL), 6), "found", fill="#555555", font=font)
    for number, failure in enumerate(failures):
        left, top = number // max(1, lines) * width, _HEAD + number % max(1, lines) * _CELL
        said = f"{failure.language}: {failure.query} ({failure.rank})"
        draw.text((left + 8, top + _CELL // 2 - 8), said, fill="black", font=font)
        spots = [_TEXT_WIDTH, *(_TEXT_WIDTH + int((1.5 + place) * _CELL) for place in range(len(failure.found)))]
        for spot, item in zip(spots, (failure.expected, *failure.found), strict=True):
            with Image.open(io.BytesIO(pictures[item])) as picture:
                small = picture.convert("RGBA").resize((_PICTURE, _PICTURE), Image.Resampling.LANCZOS)
            sheet.paste(small, (left + spot, top + 4), small)
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=True)


def _font() -> Any:
    """DejaVu Sans, which comes with matplotlib."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 14)
