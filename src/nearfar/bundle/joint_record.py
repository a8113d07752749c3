"""What a manifest says of an encoder of several modalities in one space."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from nearfar.bundle.block import Block, Finite, Metric


class ScoreScale(Block):
    """The cosines of queries of one tower with items of another that do not belong to them: what chance gives, so that hits of
    several modalities can be ranked together by how far they stand out of it.
    """

    query: str
    """Tower of the queries."""
    items: str
    """Tower of the items."""
    mean: Annotated[float, Field(ge=-1.01, le=1.01)]
    spread: Annotated[float, Field(ge=1e-6, le=1.01)]
    """Their standard deviation."""


class Gap(Block):
    """How far the vectors of two towers lie apart as a whole (the modality gap, arXiv:2203.02053)."""

    towers: tuple[str, str]
    distance: Metric
    """Of the mean vector of one from that of the other, on held-out items; unit vectors lie at most 2 apart."""


class ShippedTower(Block):
    """What ships of a tower."""

    tower: str
    weights: Literal["int8", "float32"]
    """Number format of its large weights."""
    size: PositiveInt
    """Bytes of its graph."""
    cosine: Finite
    """Mean cosine of its vectors, through the runtime of the device, with those of the model in float."""
    int8_cosine: Finite | None = None
    """The same of its graph in int8, where that was too little and the graph ships in float."""


class JointRecord(Block):
    """How the towers of one space stand to each other."""

    trained: tuple[tuple[str, str], ...]
    """Pairs of towers that learned from each other; all others have only met through these. A tower paired with itself learned from
    several captions of one thing."""
    centred: bool = False
    """Whether the graphs take each tower's mean away from its vectors."""
    gaps: tuple[Gap, ...] = ()
    """Of every two towers, as the bundle ships."""
    scales: tuple[ScoreScale, ...] = ()
    """Of every two towers, of a tower with itself, too."""
    graphs: tuple[ShippedTower, ...] = ()
    """In the order of the towers."""

    @property
    def towers(self) -> frozenset[str]:
        """All that are named anywhere in it."""
        pairs = [*self.trained, *(gap.towers for gap in self.gaps), *((one.query, one.items) for one in self.scales)]
        return frozenset(name for pair in pairs for name in pair) | {one.tower for one in self.graphs}

    @model_validator(mode="after")
    def _one_scale_a_pair(self) -> Self:
        pairs = [(one.query, one.items) for one in self.scales]
        if len(set(pairs)) < len(pairs):
            raise ValueError("scales must differ by query and items")
        return self
