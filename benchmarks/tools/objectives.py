"""The losses that are compared, each made ready once for two sides of n vectors and then called again and again."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses import Match, Negatives, info_nce, nt_xent, siglip, sup_con
from nearfar.learn.losses.infonce import Similarity

TEMPERATURE = 0.07
SIGMOID_TEMPERATURE, SIGMOID_BIAS = 0.1, -10.0

Objective = Callable[[Tensor, Tensor], Callable[[], Tensor]]
"""Two sides (n, d) -> what computes their loss. What is made before the first call, as ids, is input and not measured."""


def sides(
    n: int, d: int, *, alike: float = 1.0, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Two sides of n unit vectors; those at the same place have a cosine of about 0.7, or of about 0 with `alike` 0."""
    random = torch.Generator(device).manual_seed(n + d)
    x = torch.randn(n, d, generator=random, device=device)
    y = torch.randn(n, d, generator=random, device=device).add_(x, alpha=alike)
    first, second = (F.normalize(side, dim=1).to(dtype).requires_grad_() for side in (x, y))
    return first, second


def step(objective: Objective, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """Forward and backward in one call, which returns the loss and leaves new gradients at `x` and `y`."""
    loss_of = objective(x, y)

    def run() -> Tensor:
        x.grad = y.grad = None
        loss = loss_of()
        loss.backward()
        return loss.detach()

    return run


# --- InfoNCE in both directions ----------------------------------------------------------------------------------------


def ours(
    x: Tensor, y: Tensor, *, temperature: float = TEMPERATURE, similarity: Similarity = "cosine"
) -> Callable[[], Tensor]:
    own = _places(x)
    return lambda: info_nce(x, y, own, temperature=temperature, symmetric=True, similarity=similarity)


def masked(x: Tensor, y: Tensor, *, positives: int = 1, similarity: Similarity = "cosine") -> Callable[[], Tensor]:
    """As `ours`, with the masks of a dual encoder.

    Ignored are texts that say the same (an eighth of them are copies), and, by ids of width 2, all that is positive to the
    owner of the anchor.
    """
    own = _places(x)
    ids = torch.where(own % 8 == 7, own - 1, own)
    owners = torch.stack([ids, ids.roll(len(x) // 2)], dim=1)
    positive = torch.stack([own.roll(-place) for place in range(positives)], dim=1).squeeze(1)
    ignored = (Match(ids, ids), Match(owners, ids))
    return lambda: info_nce(
        x, y, positive, temperature=TEMPERATURE, ignored=ignored, symmetric=True, similarity=similarity
    )


def frozen(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """The first 1,024 pairs, with all of y as further negatives, as a queue, a bank or precomputed vectors are."""
    anchors, positives = (side[:1024].detach().clone().requires_grad_() for side in (x, y))
    own, ids = _places(anchors), _places(y)
    negatives = (Negatives(y.detach(), (Match(own, ids),)),)
    return lambda: info_nce(anchors, positives, own, temperature=TEMPERATURE, negatives=negatives)


def naive(
    x: Tensor, y: Tensor, *, temperature: float = TEMPERATURE, similarity: Similarity = "cosine"
) -> Callable[[], Tensor]:
    own = _places(x)
    return lambda: naive_loss(x, y, own, temperature, similarity)


def naive_loss(x: Tensor, y: Tensor, own: Tensor, temperature: float, similarity: Similarity) -> Tensor:
    """As in every tutorial: the matrix, and cross-entropy along its rows and along its columns."""
    if similarity == "cosine":
        x, y = F.normalize(x, dim=1), F.normalize(y, dim=1)
    logits = (x @ y.T).to(torch.promote_types(x.dtype, torch.float32)) / temperature
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


# --- two views of every item, all others negative ------------------------------------------------------------------------


def ours_nt_xent(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    return lambda: nt_xent(x, y, temperature=TEMPERATURE)


def lightly(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    objective = _lightly_nt_xent()(temperature=TEMPERATURE)
    return lambda: objective(x, y)


def pml(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    objective = SelfSupervisedLoss(NTXentLoss(temperature=TEMPERATURE))
    return lambda: objective(x, y)


def _lightly_nt_xent() -> Callable[..., Callable[[Tensor, Tensor], Tensor]]:
    """The class NTXentLoss of lightly.

    Other objectives in its package take two names from torchvision while they are imported. Where torchvision cannot be
    imported, a module that has these and nothing else stands in for it until that is done.
    """
    stand_ins: dict[str, Any] = {}
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # not there, or built for another torch
        stand_ins = {name: ModuleType(name) for name in ("torchvision", "torchvision.ops")}
        stand_ins["torchvision.ops"].roi_align = stand_ins["torchvision.ops"].StochasticDepth = None
    sys.modules.update(stand_ins)
    try:
        from lightly.loss.ntx_ent_loss import NTXentLoss
    finally:
        for name in stand_ins:
            del sys.modules[name]
    return NTXentLoss


# --- by label ------------------------------------------------------------------------------------------------------------


def ours_sup_con(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    labels = _labels(x)
    return lambda: sup_con(_halves(x, y), labels, temperature=TEMPERATURE)


def pml_sup_con(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    from pytorch_metric_learning.losses import SupConLoss

    objective, labels = SupConLoss(temperature=TEMPERATURE), _labels(x)
    return lambda: objective(_halves(x, y), labels)


def _halves(x: Tensor, y: Tensor) -> Tensor:
    """As many vectors as a side has, half of them from each."""
    return torch.cat([x[: len(x) // 2], y[: len(y) // 2]])


def _labels(x: Tensor) -> Tensor:
    """Four vectors have the same: two items, from each side."""
    return (_places(x)[: len(x) // 2] // 2).repeat(2)


# --- every pair on its own -----------------------------------------------------------------------------------------------


def ours_siglip(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    own = _places(x)
    return lambda: siglip(x, y, own, temperature=SIGMOID_TEMPERATURE, bias=SIGMOID_BIAS)


def naive_siglip(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """As in open_clip: a matrix of logits and one of labels."""

    def loss() -> Tensor:
        logits = F.normalize(x, dim=1) @ F.normalize(y, dim=1).T / SIGMOID_TEMPERATURE + SIGMOID_BIAS
        labels = 2 * torch.eye(len(x), dtype=x.dtype, device=x.device) - torch.ones_like(logits)
        return -F.logsigmoid(labels * logits).sum() / len(x)

    return loss


def _places(x: Tensor) -> Tensor:
    return torch.arange(len(x), device=x.device)


OBJECTIVES: dict[str, Objective] = {
    "ours": ours,
    "masked": masked,
    "frozen": frozen,
    "two_positives": partial(masked, positives=2),
    "naive": naive,
    "nt_xent": ours_nt_xent,
    "lightly": lightly,
    "pml": pml,
    "sup_con": ours_sup_con,
    "pml_sup_con": pml_sup_con,
    "siglip": ours_siglip,
    "naive_siglip": naive_siglip,
}
_PACKAGES = {"lightly": "lightly", "pml": "pytorch_metric_learning", "pml_sup_con": "pytorch_metric_learning"}


def is_installed(name: str) -> bool:
    """Whether the package that an objective comes from is there."""
    return name not in _PACKAGES or importlib.util.find_spec(_PACKAGES[name]) is not None
