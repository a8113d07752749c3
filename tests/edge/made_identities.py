"""Pictures of made identities: a pattern each, with the noise and light of a session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def made_identity_pictures(identities: int, each: int, *, sessions: int = 2, size: int = 24, seed: int = 0):
    """Yield (identity, session, number, uint8 (size, size, 3)); the same seed gives the same."""
    generator = np.random.default_rng(seed)
    for identity in range(identities):
        pattern = generator.uniform(0, 1, (8, 8, 3))
        for number in range(each):
            session = number * sessions // each
            light = 0.9 - 0.1 * session
            cells = np.clip(light * pattern + generator.normal(0, 0.06, pattern.shape), 0, 1)
            large = np.repeat(np.repeat(cells, size // 8, axis=0), size // 8, axis=1)
            yield f"person-{identity:03}", f"day-{session}", number, (255 * large).astype(np.uint8)


def write_identity_pictures(folder: Path, identities: int, each: int, **more: int) -> Path:
    """Write them as `<identity>/<session>/<number>.png`."""
    for identity, session, number, pixels in made_identity_pictures(identities, each, **more):
        path = folder / identity / session / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder
