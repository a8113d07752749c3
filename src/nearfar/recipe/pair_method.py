"""What methods over queries and documents have in common. The docstrings are their documentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from nearfar.recipe.settings import Count, Settings


class Temperature(Settings):
    """The softmax temperature of InfoNCE."""

    initial: Annotated[float, Strict(), Field(gt=0, le=10)] = 0.05
    """Its value at the first step."""
    learned: bool = False
    """Whether it is trained along, between 0.005 and 1."""


class PairMethod(Settings):
    """Towers, temperature, and prefixes."""

    towers: Literal["shared", "separate"] = "shared"
    """One encoder for both sides, or one for each."""
    temperature: Temperature = Temperature()
    """How sharply the nearest negatives stand out."""
    matryoshka: tuple[Count, ...] = ()
    """Prefix lengths that are trained to work on their own (Matryoshka representation learning, arXiv:2205.13147)."""


class DualEncoder(PairMethod):
    """Queries and documents in one space by symmetric InfoNCE over the batch (DPR, arXiv:2004.04906; CLIP, arXiv:2103.00020)."""

    kind: Literal["dual_encoder"] = "dual_encoder"
