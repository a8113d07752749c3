"""Made data in the layout of the public sets, so that benchmarks/crossmodal.py runs where these are not."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw

from nearfar.simulate import simulate_voices
from tools.crossmodal_sets import LANGUAGES, SPEAKERS
from tools.identity_sets import written

_RATE = 8000
_COLOURS = ("red", "green", "blue", "yellow", "violet", "orange")
_SHAPES = ("circle", "square", "bar", "ring")


def made_sets(folder: Path) -> Path:
    """Write `noto_emoji`, `mnist` and `fsdd`: coloured shapes with their words, strokes, and made voices that say ten made words.

    Args:
        folder: where to.

    Returns:
        `folder`.
    """
    if not (folder / "fsdd").is_dir():
        _shapes(folder / "noto_emoji" / "noto_emoji_72.parquet")
        for part, count in (("train", 80), ("test", 40)):
            _strokes(folder / "mnist" / f"{part}.parquet", count)
        _voices(folder / "fsdd" / "fsdd.parquet")
    return folder


def _shapes(target: Path, count: int = 120) -> None:
    rows = []
    for number in range(count):
        colour, shape = _COLOURS[number % len(_COLOURS)], _SHAPES[number // len(_COLOURS) % len(_SHAPES)]
        row = {"image": _png(_shape(colour, shape, number)), "emoji": str(number), "skin_tone": False}
        row["split"] = "test" if number % 5 == 0 else "valid" if number % 5 == 1 else "train"
        for language in LANGUAGES:
            row[f"name_{language}"] = f"{colour} {shape} {number} {language}"
            row[f"keywords_{language}"] = [f"{colour} {language}", f"{shape} {language}"]
        rows.append(row)
    written(rows, target)


def _shape(colour: str, shape: str, number: int) -> Image.Image:
    picture = Image.new("RGBA", (72, 72))
    draw = ImageDraw.Draw(picture)
    inset = 8 + number % 12
    box = (inset, inset, 71 - inset, 71 - inset)
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "ring":
        draw.ellipse(box, outline=colour, width=6)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    else:
        draw.rectangle((inset, 30, 71 - inset, 42), fill=colour)
    # No two are the same: rows whose picture is held out would be left out of training.
    draw.point((number % 72, number // 72), fill="black")
    return picture


def _strokes(target: Path, count: int) -> None:
    """As many strokes as the digit."""
    rows = []
    for number in range(count):
        picture = Image.new("L", (28, 28))
        draw = ImageDraw.Draw(picture)
        for stroke in range(number % 10):
            across = 3 + 2 * stroke + number // 10 % 3
            draw.line((across, 6, across, 22), fill=255)
        rows.append({"image": _png(picture), "label": number % 10})
    written(rows, target)


def _voices(target: Path) -> None:
    import soundfile

    people = SPEAKERS
    numbers: dict[str, int] = {}
    rows = []
    for said in simulate_voices(len(people), 10, seed=0, rate=_RATE):
        digit = numbers.setdefault(said.word, len(numbers)) % 10
        content = io.BytesIO()
        soundfile.write(content, said.samples, _RATE, format="FLAC")
        person = people[int(said.identity.rpartition("-")[2]) - 1]
        rows.append({"audio": content.getvalue(), "digit": digit, "speaker": person})
    written(rows, target)


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()
