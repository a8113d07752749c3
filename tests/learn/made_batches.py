"""Made batches of token ids, with explicit negatives, and dual encoders to embed them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nearfar.learn.data.batches import PairBatch, Tokens
from nearfar.learn.encoders import build_encoder
from nearfar.learn.methods.dual_encoder import DualEncoder
from nearfar.recipe.pair_method import DualEncoder as Settings
from nearfar.recipe.pair_method import Temperature
from nearfar.recipe.text import StaticEncoder, TextFrontendSettings, TransformerEncoder

VOCABULARY = 50
STATIC: dict[str, Any] = {"kind": "static", "dim": 16, "projection": 12}
TRANSFORMER: dict[str, Any] = {"kind": "transformer", "dim": 16, "heads": 2, "layers": 2, "feedforward": 32}


def made_dual_encoder(encoder: dict[str, Any], *, separate: bool = False, dtype: torch.dtype) -> DualEncoder:
    """A dual encoder with fresh weights and a learned temperature; the same for the same arguments."""
    torch.manual_seed(0)
    settings = (StaticEncoder if encoder["kind"] == "static" else TransformerEncoder)(**encoder)
    towers = [
        build_encoder(settings, TextFrontendSettings(), vocab_size=VOCABULARY, pad_id=0) for _ in range(1 + separate)
    ]
    method = Settings(temperature=Temperature(initial=0.2, learned=True), matryoshka=(8,))
    return DualEncoder(towers[0], towers[-1], method).to(dtype)


def made_batch(n: int, m: int, *, seed: int = 0, length: int | None = None) -> PairBatch:
    """n pairs and m explicit negatives; some queries hang together, some texts come twice, some have two positives.

    Args:
        n: pairs.
        m: negatives.
        seed: of all of it.
        length: tokens of every text; by default from 1 to 9.
    """
    rng = np.random.default_rng(seed)

    def texts(count: int) -> Tokens:
        lengths = rng.integers(1, 10, count) if length is None else np.full(count, length)
        return Tokens.of([rng.integers(1, VOCABULARY, size).astype(np.int32) for size in lengths], 0)

    ids = rng.integers(0, 2 * n, n + m)
    positives = np.stack([ids[:n], np.where(rng.random(n) < 0.5, rng.permutation(ids)[:n], -1)], axis=1)
    return PairBatch(
        texts(n),
        texts(n),
        texts(m),
        torch.from_numpy(rng.integers(0, 2 * n, n)),
        torch.from_numpy(ids),
        torch.from_numpy(positives),
        torch.arange(n),
    )
