"""Made things that are seen, heard, felt, described and measured, as a table of partners, and recipes to learn one space of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from nearfar.recipe import Recipe, parse_recipe
from nearfar.simulate import write_wav
from nearfar.simulate.voices import Utterance

RATE = 8_000
COLUMNS = (
    "picture",
    "sound",
    "series",
    "caption",
    "caption_de",
    "size",
    "colour_name",
    "label",
)

# A label is a colour and a shape; size and ground are drawn beside it, so that rows of one label still differ.
_LABELS = (
    ("red", "circle", "ein roter Kreis", (220, 40, 40)),
    ("green", "square", "ein grünes Quadrat", (40, 200, 60)),
    ("blue", "circle", "ein blauer Kreis", (40, 70, 230)),
    ("yellow", "square", "ein gelbes Quadrat", (230, 220, 40)),
    ("violet", "circle", "ein violetter Kreis", (170, 50, 220)),
    ("orange", "square", "ein oranges Quadrat", (250, 140, 30)),
)
_SIZES = (("small", "klein"), ("medium", "mittel"), ("large", "groß"))
_GROUNDS = (("dark", "dunklem", 20), ("grey", "grauem", 110), ("bright", "hellem", 200))


def write_partners(folder: Path, rows: int = 60, *, seed: int = 0, holes: int = 0) -> Path:
    """A table `pairs.csv` and the files that it names.

    Row i has label i % 6, size (i // 6) % 3 and ground (i // 18) % 3, which every side but the row of numbers shows; captions come
    again after 54 rows, pictures, sounds and series never.

    Args:
        folder: where to.
        rows: of the table.
        seed: of noise.
        holes: each so many rows one side is missing, another one every time; 0 for none.

    Returns:
        The table.
    """
    rng = np.random.default_rng(seed)
    for kind in ("pictures", "series"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(rows):
        label, size, ground = number % 6, (number // 6) % 3, (number // 18) % 3
        colour, shape, german, pixel = _LABELS[label]
        picture = folder / "pictures" / f"{number:04}.png"
        _draw(rng, shape, pixel, size, _GROUNDS[ground][2]).save(picture)
        sound = Utterance(f"{number:04}", "one", colour, _tone(rng, label, size, ground))
        series = folder / "series" / f"{number:04}.csv"
        series.write_text(_samples(rng, label, size, ground), encoding="utf-8")
        lines.append(
            {
                "picture": picture.relative_to(folder).as_posix(),
                "sound": write_wav([sound], folder / "sounds", RATE)[0].relative_to(folder).as_posix(),
                "series": series.relative_to(folder).as_posix(),
                "caption": f"a {_SIZES[size][0]} {colour} {shape} on {_GROUNDS[ground][0]} ground",
                "caption_de": f"{german}, {_SIZES[size][1]}, auf {_GROUNDS[ground][1]} Grund",
                "size": f"{2 + 3 * size + rng.uniform(-0.8, 0.8):.3f}",
                "colour_name": colour,
                "label": f"{colour} {shape}",
            }
        )
    for place, number in enumerate(range(holes - 1, rows, holes) if holes else ()):
        lines[number][COLUMNS[place % 4]] = ""
    return write_table(folder / "pairs.csv", lines)


def write_table(path: Path, lines: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> Path:
    """Rows as a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(lines)
    return path


def partners_recipe(table: Path, **changes: Any) -> Recipe:
    """A recipe over `write_partners` that trains in seconds: towers `text`, `image`, `audio`, `series` and `table`.

    Args:
        table: what `write_partners` returned.
        changes: blocks of the recipe that are laid over its own, key by key: `towers={"image": {"encoder": {"kind": "vit"}}}`. A block of
            another kind takes the place of the whole block; None takes a key away, a tower together with its columns.
    """
    values: dict[str, Any] = {
        "name": "made-partners",
        "data": {
            "source": {
                "kind": "pairs",
                "files": [
                    {
                        "path": str(table),
                        "columns": {
                            "text": ["caption", "caption_de"],
                            "image": ["picture"],
                            "audio": ["sound"],
                            "series": ["series"],
                            "table": ["size", "colour_name"],
                        },
                        "label": "label",
                    }
                ],
            },
            # The captions differ in single words: all but equal ones are negatives of each other.
            "pairings": [{"kind": "partners", "similar": 0.98}],
            "split": {"validation": 0.15, "test": 0.15},
        },
        "encoder": {"dim": 32},
        "towers": {
            "text": {"encoder": {"kind": "static", "dim": 32}, "frontend": {"tokenizer": {"kind": "train", "vocab_size": 300}}},
            "image": {"frontend": {"size": 24}, "encoder": {"kind": "cnn", "width": 8, "dim": 24}},
            "audio": {
                "frontend": {"rate": RATE, "bands": 32, "trim": False},
                "encoder": {"kind": "mel_cnn", "width": 8, "dim": 24},
            },
            "series": {"frontend": {"window": 96}, "encoder": {"kind": "dilated_cnn", "width": 8, "layers": 3, "dim": 16}},
            "table": {"encoder": {"kind": "mlp", "width": 32, "layers": 2, "dim": 16}},
        },
        "method": {"kind": "clip"},
        "train": {"epochs": 6, "batch_size": 24, "learning_rate": 0.005, "threads": 1, "accelerator": "cpu"},
        "evaluate": {"bootstrap": 50},
    }  # fmt: skip
    gone = [name for name, block in changes.get("towers", {}).items() if block is None]
    for file in values["data"]["source"]["files"]:
        for name in gone:
            del file["columns"][name]
    return parse_recipe(json.dumps(_laid_over(values, changes)), name="made-partners.yaml", base=table.parent)


def _laid_over(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    laid = dict(values)
    for key, change in changes.items():
        now = laid.get(key)
        if change is None and isinstance(now, dict):
            del laid[key]
        elif isinstance(change, Mapping) and isinstance(now, dict) and change.get("kind") in (None, now.get("kind")):
            laid[key] = _laid_over(now, change)
        else:
            laid[key] = change
    return laid


def _draw(rng: np.random.Generator, shape: str, colour: tuple[int, int, int], size: int, ground: int) -> Image.Image:
    picture = Image.new("RGB", (32, 32), (ground, ground, ground))
    radius, (x, y) = (4, 8, 12)[size], 16 + rng.integers(-3, 4, 2)
    box = (int(x) - radius, int(y) - radius, int(x) + radius, int(y) + radius)
    draw = ImageDraw.Draw(picture)
    (draw.ellipse if shape == "circle" else draw.rectangle)(box, fill=colour)
    pixels = np.asarray(picture, np.float64) + rng.normal(0, 6, (32, 32, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _tone(rng: np.random.Generator, label: int, size: int, ground: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """0.6 s: pitch by label, more overtones the larger, a faster tremolo the brighter."""
    time = np.arange(int(0.6 * RATE)) / RATE
    pitch = 250 * 1.35**label * rng.uniform(0.98, 1.02)
    wave = sum(np.sin(2 * np.pi * pitch * part * time + rng.uniform(0, 6)) / part for part in range(1, size + 2))
    tremolo = 1 + 0.8 * np.sin(2 * np.pi * (2, 6, 18)[ground] * time)
    sound = 0.15 * wave * tremolo + rng.normal(0, 0.005, len(time))
    return np.asarray(sound, np.float32)


def _samples(rng: np.random.Generator, label: int, size: int, ground: int) -> str:
    """2 s at 50 Hz: frequency by label, amplitude by size, level of the second channel by ground."""
    time = np.arange(100) / 50
    swing = (1 + size) * np.sin(2 * np.pi * (1 + 2 * label) * time + rng.uniform(0, 6))
    level = ground - 1 + 0.3 * np.cos(2 * np.pi * (1 + 2 * label) * time)
    noise = rng.normal(0, 0.05, (2, 100))
    rows = (f"{t:.2f},{a:.4f},{b:.4f}" for t, a, b in zip(time, swing + noise[0], level + noise[1], strict=True))
    return "\n".join(["time,force,shift", *rows]) + "\n"
