"""CoSENT: pairs with a higher score should have a higher cosine, in whatever scale the scores are."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.learn.losses.operands import aligned, unit


def cosent(left: Tensor, right: Tensor, scores: Tensor, *, temperature: Tensor | float = 0.05) -> Tensor:
    """log(1 + sum of exp((cosine of i - cosine of j) / temperature) over all i that score lower than j).

    Only the order of the scores counts; pairs of equal score are not compared.

    Args:
        left: (n, d), any length; compared by cosine.
        right: (n, d), the other item of each pair.
        scores: (n,), how similar the two should be, e.g. 0 to 5 as in STS; numbers of any scale and type.
        temperature: divides the cosines; a float or a scalar tensor (then it gets a gradient).

    Returns:
        Scalar loss, at least float32. 0 with zero gradients where no two scores differ. Time O(n log n), memory O(n)
        beside the vectors, although up to n(n - 1) / 2 comparisons are made.

    Raises:
        ValueError: shapes do not fit, there is no pair, or a score is not a number.

    Source:
        Su, CoSENT: a more effective sentence embedding scheme than Sentence-BERT (https://kexue.fm/archives/8847, in
        Chinese); temperature 0.05 is its scale of 20.
    """
    left, right = aligned({"left": left, "right": right})
    if scores.shape != left.shape[:1]:
        raise ValueError(f"scores must be (n,): got {tuple(scores.shape)} for {len(left)} pairs")
    if scores.isnan().any():
        raise ValueError("a score is not a number (nan): leave its pair out")
    cosines = (unit(left) * unit(right)).sum(dim=-1)

    ascending, order = scores.sort()
    logits = cosines[order] / temperature
    # Those that score lower than j are the first `lower[j]`, whose exps a running log-sum-exp has already summed.
    lower = torch.searchsorted(ascending, ascending)
    compared = lower > 0
    sums = logits.logcumsumexp(dim=0)[lower[compared] - 1] - logits[compared]
    return torch.cat([sums.new_zeros(1), sums]).logsumexp(dim=0)
