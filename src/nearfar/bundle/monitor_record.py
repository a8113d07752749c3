"""What a manifest says of the detector of a monitor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from nearfar.bundle.block import Block, FileName, Finite, Metric, Share


class ScorerTrial(Block):
    """How one way to score found faults that were injected into held-out healthy data."""

    features: Literal["raw", "embedding"]
    by: Literal["centroid", "mahalanobis", "prototypes", "knn"]
    smooth: PositiveInt = 1
    auc_pr: Metric
    """Area under the precision-recall curve over frames, the mean of all machines and draws."""


class DetectorRecord(Block):
    """What tells healthy from faulty by distance, and when that is an alarm."""

    weights: FileName
    """A .npz file with the arrays of the detector."""
    features: Literal["raw", "embedding"]
    """What is scored: the mean of the last `smooth` frames, or the embedding of the last window."""
    by: Literal["centroid", "mahalanobis", "prototypes", "knn"]
    """Distance from what."""
    smooth: PositiveInt
    threshold: Finite
    """Scores above it are alarming."""
    tail: Literal["conformal", "gpd", "fleet", "given"]
    """How the threshold was found: from the highest scores of healthy blocks, by their tail, or, from too little data for either,
    by what later healthy scores of other machines were against their first ones."""
    fleet_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """How high later healthy scores came against the first ones, over all machines in training; None where there were too few."""
    block: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Seconds of the blocks whose highest scores were looked at."""
    blocks: Annotated[int, Field(ge=0)]
    """How many healthy blocks there were."""
    false_alarms_per_day: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """What was promised."""
    needed: PositiveInt
    out_of: PositiveInt
    release: Share
    calm: PositiveInt = 1
    """It ends only after so many low scores in a row."""
    settle: Share = 0.0
    """An alarm ends also below this share of its mean score; 0 turns that off."""
    cool_down: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Seconds after an alarm's end in which the next one is still the same."""
    adapt: bool = False
    adapt_limit: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    trials: tuple[ScorerTrial, ...] = ()
    """The candidates, best first; the first is the one that ships."""
    remark: str = ""
    """Why a way to score was no candidate."""
    realised_per_day: Metric | None = None
    """False alarms a day on healthy data that came after all this was fitted; None where none was left."""
