"""Made token tables."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def made_table(count: int = 1500, dim: int = 32, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows of very different lengths, one of zeros, whose numbers hang together."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((dim, dim)) * 0.9 ** np.arange(dim)[:, None]
    table = rng.standard_normal((count, dim)) @ mix * rng.lognormal(0, 1, (count, 1))
    table[7:8] = 0
    return table.astype(np.float32)
