"""Negatives from memory alone, as MoCo and its kin have them."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.learn.losses import Match, Negatives, info_nce
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
    places = torch.arange(len(queries), device=queries.device)
    if not len(stored.ids):
        return info_nce(queries, keys.detach(), places, temperature=temperature, ignored=(Match(items, items),))
    batch = Match(torch.zeros_like(places), torch.zeros_like(places))
    negatives = Negatives(stored.vectors, (Match(items, stored.ids),))
    return info_nce(queries, keys.detach(), places, temperature=temperature, ignored=(batch,), negatives=(negatives,))
