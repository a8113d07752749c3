"""Pictures on disk, and recipes over them and over scikit-learn's digits that train in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from nearfar.recipe import Recipe, parse_recipe

TINY = "{kind: cnn, width: 8, dim: 16}"
TINY_GROUP = "{kind: cnn, width: 8, dim: 16, norm: group}"


def noise(seed: int, height: int = 20, width: int = 20, channels: int = 3) -> npt.NDArray[np.uint8]:
    """A picture like no other, (h, w, c)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def write_picture(path: Path, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Path:
    """A file of the kind that its suffix says; 16 bits as PNG too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels.squeeze()).save(path)
    return path


def write_classes(
    folder: Path, classes: int = 3, each: int = 12, *, size: int = 12, seed: int = 0, skip: int = 0
) -> Path:
    """Folders `a`, `b`, ... of pictures of noise, each class in its own colour."""
    colours = np.random.default_rng(100).integers(40, 216, (26, 3))
    for label in range(classes):
        for number in range(skip, skip + each):
            grain = noise(seed + 10_000 * label + number, size, size).astype(int) - 128
            pixels = (colours[label] + grain // 4).clip(0, 255).astype(np.uint8)
            write_picture(folder / "abcdefghijklmnopqrstuvwxyz"[label] / f"{number:03}.png", pixels)
    return folder


def picture_recipe(
    source: str | Path, *overrides: str, method: str = "{kind: simclr, projector: [16]}", encoder: str = TINY
) -> Recipe:
    """A recipe over a folder of pictures with a folder a class, or over what `source` says in YAML."""
    if isinstance(source, Path):
        source = json.dumps({"kind": "images", "path": str(source), "labels": "folder"})
    text = f"""
name: pictures
data:
  source: {source}
  pairings: [{{kind: views}}]
  split: {{validation: 0.1, test: 0.2}}
frontend: {{kind: image, size: 8}}
views: {{crop: {{scale: [0.4, 1.0]}}, jitter: null, greyscale: 0.0}}
encoder: {encoder}
method: {method}
train: {{epochs: 1, batch_size: 64, learning_rate: 0.005, threads: 1, accelerator: cpu, validate_every: 1000}}
evaluate: {{bootstrap: 50, neighbours: 3}}
"""
    return parse_recipe(text, base=Path.cwd(), overrides=overrides)


def digits_recipe(*overrides: str, method: str = "{kind: simclr}", encoder: str = TINY) -> Recipe:
    """A recipe over the digits: 8 x 8 pixels in grey, about 1,260 to train on, 19 steps an epoch."""
    of_digits = ("frontend.channels=1", "views.flip=0.0")
    return picture_recipe("{kind: digits}", *of_digits, *overrides, method=method, encoder=encoder)
