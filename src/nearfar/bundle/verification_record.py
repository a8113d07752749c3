"""What a manifest says of holding samples against templates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from nearfar.bundle.block import Block, FileName, Finite, Metric


class VerificationRecord(Block):
    """How samples are held against templates, and when they match."""

    components: PositiveInt
    """Of a sealed template, a byte each."""
    samples: PositiveInt
    """Samples that the templates were made of with which all this was measured."""
    threshold: Finite | None = None
    """Least score of a match; None where no trials could support the target: `nearfar calibrate` sets one."""
    fmr: Annotated[float, Field(gt=0, lt=1)]
    """The target."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the one-sided Clopper-Pearson bound that keeps it."""
    trials_of: Literal["validation", "own"] = "validation"
    """Whose trials chose the threshold: identities held out of training, or those that `nearfar calibrate` was given."""
    seen: bool = False
    """Whether the trials, and the figures, are of identities that the encoder was trained on."""
    identities: Annotated[int, Field(ge=0)] = 0
    """In those trials."""
    genuine: Annotated[int, Field(ge=0)] = 0
    """How many trials there were of a sample against the template of its own identity; `impostor`: of another."""
    impostor: Annotated[int, Field(ge=0)] = 0
    realised_fmr: Metric | None = None
    """At the threshold, on these trials; `high` is the bound."""
    realised_fnmr: Metric | None = None
    cohort: FileName | None = None
    """A .npy file, float32 (m, dim), unit rows, to normalise scores by (AS-norm); scores and threshold are then normalised ones."""
