"""What stands between the encoder of a tower and the common space, and ships in the tower's graph."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn


def build_projection(kind: Literal["linear", "mlp", "none"], given: int, dim: int) -> nn.Module:
    """A map of unit vectors (n, given) to (n, dim), of fresh weights.

    Args:
        kind: `linear`, a matrix; `mlp`, two with a GELU between them, whose hidden layer is as wide as the wider end; `none`, nothing.
        given: components of what the encoder gives.
        dim: components of the common space.

    Raises:
        ValueError: `none`, and the two differ.
    """
    if kind == "linear":
        return nn.Linear(given, dim, bias=False)
    if kind == "none":
        if given != dim:
            raise ValueError(f"nothing maps {given} components to {dim}")
        return nn.Identity()
    hidden = nn.Linear(given, max(given, dim))
    # The components of a unit vector are small: as they are, the GELU would be a straight line at the start.
    with torch.no_grad():
        hidden.weight.mul_(math.sqrt(given))
    return nn.Sequential(hidden, nn.GELU(), nn.Linear(max(given, dim), dim))
