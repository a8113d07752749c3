"""What stands on an encoder while it is trained and does not ship: projectors, predictors, prototypes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(
    dims: Sequence[int],
    *,
    norm: Literal["batch", "none"] = "batch",
    last_norm: bool = False,
    last_affine: bool = False,
    last_bias: bool = True,
) -> nn.Sequential:
    """A stack of linear layers with BatchNorm and ReLU between them: the projectors and predictors of the papers.

    | paper | projector | predictor |
    |---|---|---|
    | SimCLR (2002.05709), MoCo v2 (2003.04297) | `(d, d, 128)`, norm none; with BatchNorm in later code | - |
    | SwAV (2006.09882) | `(d, 2048, 128)` | - |
    | BYOL (2006.07733), MoCo v3 (2104.02057) | `(d, 4096, 256)`; MoCo v3 with last_norm | the same |
    | SimSiam (2011.10566) | `(d, 2048, 2048, 2048)` with last_norm | `(2048, 512, 2048)` |
    | Barlow Twins (2103.03230), VICReg (2105.04906) | `(d, 8192, 8192, 8192)`, last_bias off | - |

    Args:
        dims: components before the first layer and after each, so at least two; two give one linear layer.
        norm: what stands after each linear layer but the last: BatchNorm, or nothing.
        last_norm: whether the last layer, which has no ReLU, has BatchNorm too.
        last_affine: whether that BatchNorm learns a scale and a shift.
        last_bias: whether the last layer has a bias; where BatchNorm follows it has none.

    Returns:
        A module of (n, dims[0]) to (n, dims[-1]).

    Raises:
        ValueError: fewer than two dims, or last_norm where norm is none.
    """
    if len(dims) < 2:
        raise ValueError(f"expected at least two dims, got {list(dims)}")
    if last_norm and norm == "none":
        raise ValueError("last_norm is BatchNorm, which norm 'none' rules out")
    layers: list[nn.Module] = []
    for before, after in pairwise(dims[:-1]):
        # BatchNorm takes out whatever a bias before it adds.
        layers.append(nn.Linear(before, after, bias=norm == "none"))
        if norm == "batch":
            layers.append(nn.BatchNorm1d(after))
        layers.append(nn.ReLU(inplace=True))
    layers.append(nn.Linear(dims[-2], dims[-1], bias=last_bias and not last_norm))
    if last_norm:
        layers.append(nn.BatchNorm1d(dims[-1], affine=last_affine))
    return nn.Sequential(*layers)


def norm_by_item(module: nn.Module) -> None:
    """Put a LayerNorm in the place of every BatchNorm1d in a module: what it makes of an item then depends on no other item.

    Gradient caching and several devices ask for that; the papers have BatchNorm.
    """
    for name, layer in module.named_children():
        if isinstance(layer, nn.BatchNorm1d):
            own = nn.LayerNorm(layer.num_features, eps=layer.eps, elementwise_affine=layer.affine)
            setattr(module, name, own)
        else:
            norm_by_item(layer)


def dense_mlp(dims: Sequence[int]) -> nn.Sequential:
    """The same on every place of a map: 1x1 convolutions with ReLU between them (DenseCL, arXiv:2011.09157, sec. 3.2).

    Args:
        dims: channels before the first layer and after each, so at least two.

    Returns:
        A module of (n, dims[0], h, w) to (n, dims[-1], h, w).

    Raises:
        ValueError: fewer than two dims.
    """
    if len(dims) < 2:
        raise ValueError(f"expected at least two dims, got {list(dims)}")
    layers: list[nn.Module] = []
    for before, after in pairwise(dims[:-1]):
        layers += [nn.Conv2d(before, after, kernel_size=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(dims[-2], dims[-1], kernel_size=1))


class Prototypes(nn.Module):
    """Trained directions that vectors are compared with (SwAV, arXiv:2006.09882, sec. 3.1).

    Their length is taken out where they are used, and stays whatever training makes it: writing unit length back into the
    weights, as the paper's code does before each step, would change a tensor that autograd and other ranks look at.

    Args:
        dim: components of a vector.
        count: number of prototypes.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        # Directions spread evenly over the sphere.
        self.weight = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Cosines (k, count) of k vectors (k, dim) of any length with the prototypes."""
        return F.linear(F.normalize(vectors, dim=-1), F.normalize(self.weight, dim=-1))
