"""Whether a cross-encoder scores on the device as it does in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from nearfar.errors import RunError
from nearfar.frontend.pairs import PairFrontend
from nearfar.learn.cross_encoder import CrossEncoder

FLOAT_TOLERANCE = 1e-3
"""Largest difference of a score in float, relative to the largest score where that is above 1."""
INT8_AGREEMENT = 0.9
"""Least correlation of the scores in int8 with those in float over the trial pairs."""

_QUERIES = ("how do I copy a file to another disk", "symptoms of iron deficiency", "wer schrieb den Faust", "?", "")
_PASSAGES = (
    "cp copies files and directories; with -r it copies what is in them too, to any mounted disk.",
    "Tiredness, pale skin and shortness of breath are common in people who lack iron.",
    "Goethe begann den Faust um 1770 und vollendete den zweiten Teil kurz vor seinem Tod.",
    "The train to the coast leaves at seven every morning.",
    "x = {k: v for k, v in sorted(pairs.items()) if v is not None}",
    "Iron is a metal. " * 60,
    "Yes.",
    "",
)


def check_agreement(
    encoder: CrossEncoder,
    frontend: PairFrontend,
    score: Callable[[str, Sequence[str]], npt.NDArray[np.float32]],
    *,
    quantised: bool,
) -> None:
    """Compare scores of trial pairs, with that all lengths and padding.

    Args:
        encoder: the model, in eval mode.
        frontend: makes its rows.
        score: what ships: a query and n passages to float32 (n,).
        quantised: whether int8 is in it: then the order counts, else the values.

    Raises:
        RunError: they are further apart than `FLOAT_TOLERANCE` or less correlated than `INT8_AGREEMENT`.
    """
    wanted, found = [], []
    for query in _QUERIES:
        feed = {
            name: torch.from_numpy(values) for name, values in frontend.pad(frontend.encode(query, _PASSAGES)).items()
        }
        with torch.no_grad():
            wanted.append(encoder(**feed).double().numpy())
        found.append(score(query, _PASSAGES).astype(np.float64))
    torch_scores, shipped = np.concatenate(wanted), np.concatenate(found)
    if quantised:
        agreement = float(np.corrcoef(torch_scores, shipped)[0, 1])
        if not agreement >= INT8_AGREEMENT:  # also where it is no number
            raise RunError(
                f"in int8 the scores of trial pairs correlate with those of the model by only {agreement:.3f}, less than "
                f"{INT8_AGREEMENT}: export it with --quantise none"
            )
        return
    apart = float(np.abs(torch_scores - shipped).max() / max(1.0, float(np.abs(torch_scores).max())))
    if not apart <= FLOAT_TOLERANCE:
        raise RunError(
            f"the exported graph scores trial pairs {apart:.2g} away from the model, more than {FLOAT_TOLERANCE}: this kind of "
            "model cannot be exported faithfully; use another"
        )
