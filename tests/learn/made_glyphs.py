"""Drawn characters: a few strokes each, drawn by several hands, in pictures on disk or in a table."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from nearfar.recipe import Recipe, parse_recipe

SIZE = 24


def glyph(character: int, hand: int) -> npt.NDArray[np.uint8]:
    """A character as one hand draws it, (SIZE, SIZE): black strokes on white, a little moved, slanted and bent."""
    points = np.random.default_rng([7, character]).uniform(0.15, 0.85, (3, 3, 2))
    rng = np.random.default_rng([8, character, hand])
    slant = np.eye(2) + rng.normal(0, 0.1, (2, 2))
    moved = (points - 0.5) @ slant + 0.5 + rng.normal(0, 0.03, (1, 1, 2)) + rng.normal(0, 0.03, points.shape)
    picture = Image.new("L", (SIZE, SIZE), 255)
    pen = ImageDraw.Draw(picture)
    for stroke in moved * SIZE:
        pen.line([tuple(map(float, point)) for point in stroke], fill=0, width=2)
    return np.asarray(picture)


def write_glyph_folders(folder: Path, characters: int, hands: int, *, days: int = 1) -> Path:
    """A folder for each character, in it a folder for each day that hands drew on."""
    for character in range(characters):
        for hand in range(hands):
            within = folder / f"c{character:03}" / (f"day{hand % days}" if days > 1 else "")
            within.mkdir(parents=True, exist_ok=True)
            Image.fromarray(glyph(character, hand)).save(within / f"{hand:02}.png")
    return folder


def write_glyph_table(path: Path, characters: int, hands: int) -> Path:
    """Rows with picture, character, alphabet (of five characters), hand and the day it drew."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for character in range(characters):
        for hand in range(hands):
            png = io.BytesIO()
            Image.fromarray(glyph(character, hand)).save(png, "PNG")
            rows.append(
                {
                    "image": png.getvalue(),
                    "label": character,
                    "alphabet": f"alphabet {character // 5}",
                    "day": f"day {hand % 3}",
                    "side": "left" if hand % 4 == 0 else "right",
                }
            )
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def glyph_recipe(
    source: str,
    *overrides: str,
    pairing: str = "{kind: identity, samples: 4, turned: 8}",
    method: str = "{kind: sup_con, projector: []}",
) -> Recipe:
    """A recipe over a source of glyphs that trains in seconds."""
    text = f"""
name: glyphs
data:
  source: {source}
  pairings: [{pairing}]
  split: {{validation: 0.15, test: 0.25}}
frontend: {{kind: image, size: 16, channels: 1}}
views: {{crop: null, flip: 0.0, jitter: null, greyscale: 0.0, warp: {{}}}}
encoder: {{kind: cnn, width: 8, dim: 32, pool: map}}
method: {method}
train: {{epochs: 1000, max_steps: 40, batch_size: 64, learning_rate: 0.003, threads: 1, accelerator: cpu, validate_every: 1000}}
evaluate: {{bootstrap: 20, neighbours: 3}}
"""
    return parse_recipe(text, base=Path.cwd(), overrides=overrides)


def folder_source(path: Path) -> str:
    return f'{{kind: images, path: "{path}", labels: folder}}'


def table_source(path: Path) -> str:
    columns = "{label: label, group: alphabet, session: day, attribute: side}"
    return f'{{kind: image_table, path: "{path}", columns: {columns}}}'
