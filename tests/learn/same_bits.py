"""Whether two runs ended alike, to the last bit."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


def weights(directory: Path) -> dict[str, Tensor]:
    """Weights, what is remembered, and optimiser state at the end."""
    checkpoint = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    state: dict[str, Tensor] = dict(checkpoint["state_dict"])
    for number, moments in checkpoint["optimizer_states"][0]["state"].items():
        state.update({f"{number}.{name}": value for name, value in moments.items()})
    return state


def assert_same_bits(run: Path, other: Path) -> None:
    found, expected = weights(run), weights(other)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
