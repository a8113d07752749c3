"""Adversarial samples: as small a change as may be of what the sensor sees, by the gradient of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Goal = Literal["impersonate", "evade"]

Encode = Callable[[Tensor], Tensor]
"""A float model: inputs of the graph (n, ...) in, vectors (n, d) of any length out, differentiable."""

_STEP = 2.5  # times eps / steps: so that the border is reached, and can be walked along


def pgd(
    encode: Encode,
    inputs: Tensor,
    targets: Tensor,
    *,
    goal: Goal,
    eps: float,
    steps: int = 20,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> Tensor:
    """Change inputs by at most `eps` each, so that their embeddings come near to templates, or get away from them.

    The attacker knows the float model and the embedding behind the template, which is more than a thief at the door knows.

    Args:
        encode: inputs in, vectors (n, d) out, of any length; differentiable.
        inputs: (n, ...) pixels or samples, within `bounds`.
        targets: (n, d), what each is held against.
        goal: `impersonate` raises the cosine, `evade` lowers it.
        eps: largest change of a pixel or sample.
        steps: of ascent.
        bounds: of the inputs.
        seed: of where in the box of changes the ascent starts.

    Returns:
        The changed inputs, (n, ...).

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks (arXiv:1706.06083).
    """
    sign = 1.0 if goal == "impersonate" else -1.0
    generator = torch.Generator().manual_seed(seed)
    start = (torch.rand(inputs.shape, generator=generator) * 2 - 1) * eps
    changed = (inputs + start).clamp(*bounds)
    step = _STEP * eps / steps
    directions = F.normalize(targets, dim=1)
    for _ in range(steps):
        changed = changed.detach().requires_grad_()
        cosines = (F.normalize(encode(changed), dim=1) * directions).sum()
        (gradient,) = torch.autograd.grad(sign * cosines, changed)
        moved = changed.detach() + step * gradient.sign()
        changed = torch.minimum(torch.maximum(moved, inputs - eps), inputs + eps).clamp(*bounds)
    return changed.detach()


def attacked(
    encode: Encode,
    items: Sequence[npt.NDArray[Any]],
    targets: npt.NDArray[np.float32],
    *,
    goal: Goal,
    eps: float,
    steps: int,
    bounds: tuple[float, float],
    seed: int,
) -> list[npt.NDArray[np.float32]]:
    """`pgd` of prepared items, one by one: recordings differ in length.

    Args:
        encode: the float model.
        items: each (h, w, c) or (t,), as an encoder of the device takes them.
        targets: (n, d), what each is held against.
        goal: as of `pgd`.
        eps: as of `pgd`.
        steps: as of `pgd`.
        bounds: as of `pgd`.
        seed: as of `pgd`, the same for every item.

    Returns:
        The changed items.
    """
    changed = []
    for item, target in zip(items, targets, strict=True):
        aim = torch.from_numpy(target)[None]
        found = pgd(encode, _as_input(item), aim, goal=goal, eps=eps, steps=steps, bounds=bounds, seed=seed)
        changed.append(np.ascontiguousarray(found[0].movedim(0, -1).numpy() if item.ndim == 3 else found[0].numpy()))
    return changed


@torch.no_grad()
def embedded(encode: Encode, items: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Vectors (n, d) of prepared items by the float model, of whatever length it gives."""
    vectors: npt.NDArray[np.float32] = np.stack([encode(_as_input(item))[0].numpy() for item in items])
    return vectors


def _as_input(item: npt.NDArray[Any]) -> Tensor:
    """A prepared item as an input of the graph: (1, c, h, w) or (1, t)."""
    places = item.transpose(2, 0, 1) if item.ndim == 3 else item
    return torch.from_numpy(np.ascontiguousarray(places, dtype=np.float32))[None]
