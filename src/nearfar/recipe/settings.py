"""What every block of a recipe is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

# Strict: `true` is no number and "10" is text, in a recipe as anywhere else.
Count = Annotated[int, Strict(), Field(ge=1, le=10**9)]
Dimension = Annotated[int, Strict(), Field(ge=8, le=4096)]
Amount = Annotated[float, Strict(), Field(gt=0.0, le=1e9)]
Fraction = Annotated[float, Strict(), Field(ge=0.0, lt=1.0)]


def _ascending(limits: tuple[float, ...]) -> tuple[float, ...]:
    if limits[0] > limits[1]:
        raise ValueError(f"the smaller limit comes first: [{limits[1]:g}, {limits[0]:g}]")
    return limits


# Not tuple[float, float]: of a list of one type the messages and the reference can say what each member is.
LIMITS = (Field(min_length=2, max_length=2), AfterValidator(_ascending))
"""Of a tuple: two numbers, the smaller one first."""


class Settings(BaseModel):
    """A block of a recipe: unknown keys are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
