"""What the blocks of a manifest are made of: strict and unchanging, with values that mean the same wherever they stand."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# One plain name in the bundle's own folder: no separator of any system, no drive, no "..", nothing hidden.
FileName = Annotated[str, Field(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,126}\z")]

Finite = Annotated[float, Field(allow_inf_nan=False)]

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Block(BaseModel):
    """A block of the manifest: unknown keys are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Metric(Block):
    """One measured figure with its 95 % interval, if one was computed."""

    value: Finite
    low: Finite | None = None
    high: Finite | None = None
