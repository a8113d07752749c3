"""Negatives from memory alone, as MoCo and its kin have them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses import Match, info_nce
from nearfar.learn.losses.logsumexp import pair_logsumexp
from nearfar.learn.losses.operands import at_least_float32, unit
from nearfar.learn.losses.tiles import Exclusion
from nearfar.learn.negatives import Remembered


def info_nce_with_stored(
    queries: Tensor, keys: Tensor, items: Tensor, stored: Remembered, *, temperature: float
) -> Tensor:
    """InfoNCE of each query with its key against what is stored of other pictures (arXiv:1911.05722, eq. 1).

    What is stored of the picture itself is no negative, which matters where the memory is longer than the corpus. While nothing is
    stored, the keys of the other pictures of the batch are the negatives.

    Args:
        queries: (n, d).
        keys: (n, d), the positives; they get no gradient.
        items: (n,) int64, the picture that each is of; several queries may be of one.
        stored: of past steps, by `ids` of pictures.
        temperature: divides the cosines.
    """
    if not len(stored.ids):
        places = torch.arange(len(queries), device=queries.device)
        return info_nce(queries, keys.detach(), places, temperature=temperature, ignored=(Match(items, items),))
    # Not by `info_nce`, which would compare each query with all keys of the batch and then leave out all but its own.
    with torch.autocast(queries.device.type, enabled=False):
        own, others = at_least_float32(queries, keys.detach())
        own, others = unit(own), unit(others)
        scale = own.new_tensor(1 / temperature)
        excluded = Exclusion(ignored=(Match(items, stored.ids),))
        negatives, _ = pair_logsumexp(own, stored.vectors.to(own.dtype), scale, excluded, columns=False)
        return -F.logsigmoid(scale * (own * others).sum(dim=1) - negatives).mean()
