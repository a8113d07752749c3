"""The data of benchmarks/crossmodal.py as tables of partners: glyphs and their names, emoji and their words, digits that are said and drawn."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.identity_sets import read_rows, written

LANGUAGES = ("en", "de", "es", "fr", "zh", "ar")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
"""Who says digits: each is held out once."""

_FONT = "DejaVuSans.ttf"
_CATEGORIES = "LNPS"
_SIDE, _FINER = 64, 4
_EM, _BASELINE = 0.66, 0.70
_TEST_NAMES, _VALIDATION_NAMES = 600, 400


def glyphs(target: Path, *, seed: int = 0, most: int | None = None) -> Path:
    """Characters of DejaVu Sans, which comes with matplotlib, and their Unicode names.

    Letters, numbers, punctuation and symbols; not the 256 Braille patterns, whose names are numbers of dots, nor marks that stand on
    other characters, nor what leaves no ink. All of one size on one baseline, so that place and size tell what they tell.

    Columns: image (PNG), name, split (600 names test, 400 validation), words_seen (whether all words of the name are in training names).

    Args:
        target: where the table goes.
        seed: of the split.
        most: so many characters only, drawn at random.
    """
    points = [point for point in _points() if _named(point)]
    if most is not None:
        points = sorted(np.random.default_rng([seed, 1]).permutation(points)[:most].tolist())
    pictures = _drawn(points)
    kept = [number for number in range(len(points)) if pictures[number].any()]
    order = np.random.default_rng(seed).permutation(len(kept))
    test = min(_TEST_NAMES, len(kept) // 4)
    validation = min(_VALIDATION_NAMES, len(kept) // 6)
    split = np.full(len(kept), "train", dtype="<U10")
    split[order[:test]], split[order[test : test + validation]] = "test", "validation"
    names = [unicodedata.name(chr(points[number])).lower() for number in kept]
    known = {word for name, part in zip(names, split, strict=True) if part == "train" for word in _words(name)}
    rows = [
        {
            "image": _png(pictures[number]),
            "name": name,
            "split": str(part),
            "words_seen": all(word in known for word in _words(name)),
        }
        for number, name, part in zip(kept, names, split, strict=True)
    ]
    return written(rows, target)


def emoji(data: Path, target: Path, *, most: int | None = None) -> Path:
    """Emoji without their skin tones, with names and keywords in six languages.

    Columns: image (PNG with alpha), emoji, split, and of each language name_XX and keywords_XX (a list, without the name).
    """
    rows = []
    for row in read_rows(data / "noto_emoji" / "noto_emoji_72.parquet"):
        if row["skin_tone"]:
            continue
        words: dict[str, Any] = {}
        for language in LANGUAGES:
            name = (row[f"name_{language}"] or "").strip()
            listed = dict.fromkeys(word.strip() for word in row[f"keywords_{language}"] or () if word.strip())
            words[f"name_{language}"] = name
            words[f"keywords_{language}"] = [word for word in listed if word.lower() != name.lower()]
        rows.append({"image": row["image"], "emoji": row["emoji"], "split": _part(row["split"]), **words})
    return written(rows[:: max(1, len(rows) // most)] if most else rows, target)


def spoken_digits(data: Path, target: Path, held_out: Sequence[str], *, most: int | None = None) -> Path:
    """Digits that somebody says, and the words for them.

    Columns: audio (FLAC), word, speaker, split: `test` for who is held out.
    """
    rows = [
        {
            "audio": row["audio"],
            "word": WORDS[int(row["digit"])],
            "speaker": row["speaker"],
            "split": "test" if row["speaker"] in held_out else "train",
        }
        for row in read_rows(data / "fsdd" / "fsdd.parquet")
    ]
    return written(_some(rows, most), target)


def drawn_digits(data: Path, target: Path, *, train: int = 4000, test: int = 2000, seed: int = 0) -> Path:
    """Digits that somebody wrote, and the words for them; drawn at random from MNIST, whose own test part is tested with.

    Columns: image (PNG), word, split; a tenth of the training pictures validates.
    """
    rows = []
    for part, count in (("train", train), ("test", test)):
        found = read_rows(data / "mnist" / f"{part}.parquet")
        chosen = np.random.default_rng([seed, part == "test"]).permutation(len(found))[:count]
        for place, number in enumerate(chosen.tolist()):
            split = "validation" if part == "train" and place % 10 == 0 else part
            rows.append({"image": found[number]["image"], "word": WORDS[int(found[number]["label"])], "split": split})
    return written(rows, target)


def _some(rows: list[dict[str, Any]], most: int | None) -> list[dict[str, Any]]:
    """So many rows, spread over all."""
    return rows if most is None else rows[:: max(1, len(rows) // most)]


def _part(split: str) -> str:
    return {"valid": "validation", "val": "validation"}.get(split, split)


def _words(name: str) -> list[str]:
    return name.replace("-", " ").split()


def _named(point: int) -> bool:
    name = unicodedata.name(chr(point), "")
    return bool(name) and unicodedata.category(chr(point))[0] in _CATEGORIES and not name.startswith("BRAILLE PATTERN")


def _points() -> list[int]:
    from matplotlib.ft2font import FT2Font

    return sorted(FT2Font(str(_font())).get_charmap())


def _font() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / _FONT


def _drawn(points: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Black characters on white, (n, side, side); what would stick out is moved in, and made smaller only where it must."""
    from PIL import Image, ImageDraw, ImageFont

    big = _SIDE * _FINER
    room = big - 2 * _FINER

    def font(height: int) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(str(_font()), height, layout_engine=ImageFont.Layout.BASIC)

    usual = font(round(big * _EM))
    pictures = np.zeros((len(points), _SIDE, _SIDE), np.uint8)
    for number, point in enumerate(points):
        character, face = chr(point), usual
        left, top, right, bottom = face.getbbox(character, anchor="ls")
        extent = max(right - left, bottom - top)
        if extent > room:
            face = font(max(1, int(big * _EM * room / extent)))
            left, top, right, bottom = face.getbbox(character, anchor="ls")
        x = big / 2 - face.getlength(character) / 2
        x += max(0.0, _FINER - (x + left)) - max(0.0, x + right - (big - _FINER))
        y = big * _BASELINE
        y += max(0.0, _FINER - (y + top)) - max(0.0, y + bottom - (big - _FINER))
        picture = Image.new("L", (big, big), 0)
        ImageDraw.Draw(picture).text((round(x), round(y)), character, fill=255, font=face, anchor="ls")
        levels = np.asarray(picture, np.float64).reshape(_SIDE, _FINER, _SIDE, _FINER).mean(axis=(1, 3))
        pictures[number] = np.rint(levels).astype(np.uint8)
    return pictures


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    """Ink is black, as in a book."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(255 - picture).save(content, "PNG")
    return content.getvalue()
