"""Whether an encoder gives on the device the vectors of the model that it was made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearfar.embedder import Embedder, Side
from nearfar.errors import RunError

FLOAT_TOLERANCE = 1e-4
"""How far the cosine of a text's two vectors may be below 1 in float."""
INT8_AGREEMENT = 0.98
"""Least mean cosine in int8."""

_TEXTS = (
    "how do I copy a file to another disk",
    "cp copies files and directories; with -r it copies what is in them too, to any mounted disk.",
    "Symptoms of iron deficiency",
    "Tiredness, pale skin and shortness of breath are common in people who lack iron.",
    "wer schrieb den Faust",
    "Goethe begann den Faust um 1770 und vollendete den zweiten Teil kurz vor seinem Tod.",
    "The train to the coast leaves at seven every morning.",
    "x = {k: v for k, v in sorted(pairs.items()) if v is not None}",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🥊",
    "東京の天気",
    "naïve  café\n\n\ttabs, and  two spaces",
    "?",
    "yes",
    "The committee met on Tuesday to discuss the budget. " * 6,
    "Iron is a metal. " * 200,
)


def check_same_vectors(
    model: Embedder, shipped: Embedder, *, quantised: bool, sides: Sequence[Side] = ("query", "document")
) -> float:
    """Compare vectors of trial texts of all lengths.

    Args:
        model: where the encoder comes from.
        shipped: what it became, through the device's own code, so with padding and batches.
        quantised: whether int8 is in it.
        sides: those that differ.

    Returns:
        The mean cosine of the two vectors of a text.

    Raises:
        RunError: a cosine in float is more than `FLOAT_TOLERANCE` below 1, or the mean in int8 below `INT8_AGREEMENT`.
    """
    cosines = np.concatenate(
        [(model.embed(_TEXTS, side).astype(np.float64) * shipped.embed(_TEXTS, side)).sum(axis=1) for side in sides]
    )
    mean, least = float(cosines.mean()), float(cosines.min())
    if quantised and not mean >= INT8_AGREEMENT:  # also where it is no number
        raise RunError(
            f"in int8 the vectors of trial texts have a mean cosine of only {mean:.3f} with those of the model, less than "
            f"{INT8_AGREEMENT}: import it with --quantise none"
        )
    if not quantised and not least >= 1 - FLOAT_TOLERANCE:
        text = _TEXTS[int(cosines.argmin()) % len(_TEXTS)]
        raise RunError(
            f"the bundle's vector of the trial text {text[:60]!r} has a cosine of only {least:.5f} with that of the model, less "
            f"than {1 - FLOAT_TOLERANCE}: this kind of model cannot be exported faithfully; use another"
        )
    return mean
