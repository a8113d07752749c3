"""Distillation of relations: who is near to whom, as a teacher sees it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses.operands import at_least_float32, unit


def similarity_divergence(students: Tensor, teachers: Tensor, *, temperature: float = 0.05) -> Tensor:
    """Mean over rows of KL(teacher || student) between softmaxes over the cosines with the other items of the batch.

    Only relations count, so the two may have different dimensions. The (n, n) matrices are held.

    Args:
        students: (n, d), any length.
        teachers: (n, D), any length; gets no gradient.
        temperature: divides the cosines of both.

    Returns:
        Scalar loss, not negative, at least float32; 0 with zero gradients for fewer than three items, which have no order.

    Raises:
        ValueError: the shapes do not fit.

    Source:
        Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer (arXiv:1803.10837), eqs. 3-8, with
        the cosine as kernel and a temperature as in SEED (arXiv:2101.04731), eq. 5.
    """
    if students.ndim != 2 or teachers.ndim != 2 or len(students) != len(teachers):
        raise ValueError(
            f"students (n, d) and teachers (n, D) must be as many: got {tuple(students.shape)} and {tuple(teachers.shape)}"
        )
    if len(students) < 3:
        return at_least_float32(students)[0].sum() * 0
    with torch.autocast(students.device.type, enabled=False):
        others = ~torch.eye(len(students), dtype=torch.bool, device=students.device)
        wanted, given = (_log_shares(vectors, temperature, others) for vectors in (teachers.detach(), students))
        return F.kl_div(given, wanted, reduction="batchmean", log_target=True)


def _log_shares(vectors: Tensor, temperature: float, others: Tensor) -> Tensor:
    """(n, n - 1) log softmax of each item's cosines with the others."""
    vectors = unit(at_least_float32(vectors)[0])
    cosines = (vectors @ vectors.T)[others].view(len(vectors), -1)
    return F.log_softmax(cosines / temperature, dim=1)
