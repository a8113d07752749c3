"""Contrastive losses as their papers write them, one anchor at a time; nothing shared with the source."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def cosine(left: Tensor, right: Tensor) -> float:
    left, right = left.detach(), right.detach()
    return float(left @ right / (left.norm() * right.norm()))


def softmax_loss(anchor: Tensor, positive: Tensor, negatives: Iterable[Tensor], temperature: float) -> float:
    """-log of the share that the positive has of all exponentials."""
    own = math.exp(cosine(anchor, positive) / temperature)
    return -math.log(own / (own + sum(math.exp(cosine(anchor, other) / temperature) for other in negatives)))


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def standardised(features: Tensor) -> Tensor:
    """Columns of mean 0 and variance 1, by the biased deviation."""
    return (features - features.mean(dim=0)) / features.std(dim=0, correction=0)


def off_diagonal(square: Tensor) -> float:
    return float(sum(square[i, j] ** 2 for i in range(len(square)) for j in range(len(square)) if i != j))


def assignment(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Algorithm 1 of arXiv:2006.09882, its `sinkhorn`, on plain numbers: prototypes and pictures are evened out in turn."""
    codes = torch.exp(scores / epsilon).T
    codes = codes / codes.sum()
    prototypes, pictures = codes.shape
    for _ in range(iterations):
        codes = codes / codes.sum(dim=1, keepdim=True) / prototypes
        codes = codes / codes.sum(dim=0, keepdim=True) / pictures
    return (codes * pictures).T
