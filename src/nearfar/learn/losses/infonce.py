"""InfoNCE, the one operation behind every contrastive method here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(
    anchors: Tensor,
    candidates: Tensor,
    positive: Tensor,
    *,
    temperature: Tensor | float,
    ignored: Tensor | None = None,
    symmetric: bool = False,
) -> Tensor:
    """Mean over anchors of -log softmax of the positive among the candidates.

    Args:
        anchors: (n, d), any length; compared by cosine.
        candidates: (m, d).
        positive: (n,) int64, the candidate that belongs to each anchor.
        temperature: divides the cosines; a float or a scalar tensor (then it gets a gradient).
        ignored: (n, m) bool, pairs that count neither as positive nor as negative (other positives, duplicates). The entry
            of an anchor's own positive is disregarded.
        symmetric: average with the other direction, in which each positive looks for its anchor among all anchors.

    Returns:
        Scalar loss, at least float32 whatever the vectors are. 0 where an anchor has no negative left.

    Source:
        van den Oord et al., Representation Learning with Contrastive Predictive Coding (arXiv:1807.03748), eq. 4, with cosine
        similarity and temperature as in SimCLR (arXiv:2002.05709), eq. 1; symmetric as in CLIP (arXiv:2103.00020), fig. 3.
    """
    # Half precision keeps three digits of a cosine; divided by a small temperature that would be noise. Autocast would
    # bring the product back to half precision, so it is switched off here.
    precise = torch.promote_types(torch.promote_types(anchors.dtype, candidates.dtype), torch.float32)
    with torch.autocast(anchors.device.type, enabled=False):
        cosines = F.normalize(anchors.to(precise), dim=-1) @ F.normalize(candidates.to(precise), dim=-1).T
        logits = cosines / temperature
    rows = torch.arange(len(anchors), device=anchors.device)
    if ignored is not None:
        strangers = ignored.clone()
        strangers[rows, positive] = False
        logits = logits.masked_fill(strangers, -torch.inf)
    loss = F.cross_entropy(logits, positive)
    if symmetric:
        loss = (loss + F.cross_entropy(logits[:, positive].T, rows)) / 2
    return loss
