"""SigLIP: Zhai et al., Sigmoid Loss for Language Image Pre-Training (arXiv:2303.15343), algorithm 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nearfar.learn.losses import siglip
from nearfar.learn.methods.joint import Embedded, Joint


class SigLip(Joint):
    """Whether two items belong together is asked of every pair of the batch by itself.

    Args:
        towers: encoder by name.
        projections: into the common space, by the same names.
        streams: names of the two towers of each kind of pairs.
        temperature: divides the cosines; the value at the first step. From 0.005 to 1.
        learned: whether it is trained along, within those bounds, for each kind of pairs its own.
        bias: added to each logit; the value at the first step, from where each kind of pairs learns its own. About the logarithm of the
            share of pairs that are positive.
    """

    coldest, hottest = 0.005, 1.0

    def __init__(
        self,
        towers: Mapping[str, nn.Module],
        projections: Mapping[str, nn.Module],
        streams: Sequence[tuple[str, str]],
        *,
        temperature: float = 0.1,
        learned: bool = True,
        bias: float = -10.0,
    ) -> None:
        super().__init__(towers, projections, streams, temperature=temperature, learned=learned)
        self.bias = nn.Parameter(torch.full((len(streams),), bias))

    def contrast(self, links: Embedded, stream: int) -> Tensor:
        """The pairwise sigmoid loss over the links."""
        return siglip(
            links.left,
            links.right,
            torch.arange(len(links.left), device=links.left.device),
            temperature=self.temperature[stream],
            bias=self.bias[stream],
            ignored=tuple(self.ignored(links, stream).values()),
        )
