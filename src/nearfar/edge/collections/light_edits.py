"""Copies of an item that anybody would call the same: what a threshold for near-identical items is taken from."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt

_SIGNS = ".,;:!?"


def edited_text(text: str, share: float, seed: int | str) -> str:
    """A lightly edited copy: one in `1 / share` words dropped, doubled, swapped with the next or misspelt, at least one.

    Args:
        text: any text.
        share: of the words that change, above 0 and at most 1.
        seed: the same seed gives the same copy.
    """
    rng = random.Random(seed)
    words = text.split()
    if not words:
        return text
    # The rest of the share is a chance, or long texts would be edited more exactly than short ones.
    edits = max(1, int(len(words) * share + rng.random()))
    for _ in range(edits):
        place = rng.randrange(len(words))
        match rng.choice(("drop", "double", "swap", "misspell", "sign")):
            case "drop" if len(words) > 1:
                del words[place]
            case "double":
                words.insert(place, words[place])
            case "swap" if place + 1 < len(words):
                words[place], words[place + 1] = words[place + 1], words[place]
            case "misspell" if len(words[place]) > 2:
                letter = rng.randrange(len(words[place]) - 1)
                word = words[place]
                words[place] = word[:letter] + word[letter + 1] + word[letter] + word[letter + 2 :]
            case _:
                words[place] = words[place].rstrip(_SIGNS) + rng.choice(_SIGNS)
    return " ".join(words)


def edited_picture(pixels: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """A lightly edited copy: a little blurred and noisy, as resizing and compressing leave it, cropped, brighter or darker.

    Half of every pixel is the mean of the 3 x 3 around it; noise of 2 %; up to 2 % cut off at each side; up to 5 % brighter or
    darker.

    Args:
        pixels: float32 (h, w, c) in [0, 1].
        seed: the same seed gives the same copy.

    Returns:
        float32 (h', w', c) in [0, 1].
    """
    rng = np.random.default_rng(seed)
    height, width = pixels.shape[:2]
    around = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    blurred = sum(around[down : down + height, right : right + width] for down in range(3) for right in range(3)) / 9
    top, bottom = (rng.random(2) * 0.02 * height).astype(int)
    left, right = (rng.random(2) * 0.02 * width).astype(int)
    part = ((pixels + blurred) / 2)[top : height - bottom, left : width - right]
    changed = part * rng.uniform(0.95, 1.05) + rng.normal(0, 0.02, part.shape)
    return np.asarray(changed.clip(0, 1), dtype=np.float32)
