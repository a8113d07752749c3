"""What a manifest says of a catalogue and of how it is ranked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from nearfar.bundle.block import Block, FileName, Finite, Share


class PriorRecord(Block):
    """How the prior was counted; what the words mean is in the recipe, under `recommend.prior`."""

    reach: Literal["near", "far"]
    skip: PositiveInt
    decay: Share
    back: Share
    smoothing: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    damping: Share
    recency: Share
    """Of these alone the device makes use, and reads it in the file of the prior."""


class RecommenderRecord(Block):
    """What is ranked, and how: a score is a sum of parts, each with the weight that validation chose."""

    items: PositiveInt
    """How many; row i of `vectors` is line i of `names`."""
    names: FileName
    """A file of DEFLATE (zlib): the names of the items, UTF-8, each ended by a newline."""
    vectors: FileName
    """A .npy file, int8 (items, dim)."""
    scales: FileName
    """A .npy file, float16 (items,): item i is `vectors[i] * scales[i]`."""
    popularity: FileName
    """A .npy file, float16 (items,): log of the share of training actions, smoothed, so that no item has none."""
    prior: FileName | None = None
    """A .npz file of what comes after what; see `nearfar.edge.recommend.prior`. None where the prior is left out."""
    counted: PriorRecord | None = None
    """How the prior was counted; None where the prior is left out."""
    facts: FileName | None = None
    """A file of DEFLATE: JSON, title and other known columns of each item; None where nothing is known."""
    encoder_weight: Finite = 1.0
    """Of the encoder's part of the score; `prior_weight` and `popularity_weight` likewise."""
    prior_weight: Finite = 0.0
    popularity_weight: Finite = 0.0
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 50.0
    """Actions after which one counts half in the long-term vector."""
    noise: Share = 0.0
    """Of the long-term vector; see the recipe."""
    signed_by: str | None = None
    """Public key (Ed25519, hex) of who may change the catalogue of a device."""
    cold: Annotated[int, Field(ge=0)] = 0
    """Items among them that nobody had acted on: their vectors are of their content alone."""
