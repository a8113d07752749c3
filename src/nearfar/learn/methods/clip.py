"""CLIP: Radford et al., Learning Transferable Visual Models From Natural Language Supervision (arXiv:2103.00020), figure 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nearfar.learn.losses import info_nce
from nearfar.learn.methods.joint import Embedded, Joint


class Clip(Joint):
    """Each picture finds its text among those of the batch, and each text its picture; so with every two kinds of items.

    Args:
        towers: encoder by name.
        projections: into the common space, by the same names.
        streams: names of the two towers of each kind of pairs.
        temperature: divides the cosines; the value at the first step. From 0.01 to 1.
        learned: whether it is trained along, within those bounds, for each kind of pairs its own.
    """

    coldest, hottest = 0.01, 1.0  # the paper keeps its scale under 100

    def __init__(
        self,
        towers: Mapping[str, nn.Module],
        projections: Mapping[str, nn.Module],
        streams: Sequence[tuple[str, str]],
        *,
        temperature: float = 0.07,
        learned: bool = True,
    ) -> None:
        super().__init__(towers, projections, streams, temperature=temperature, learned=learned)

    def contrast(self, links: Embedded, stream: int) -> Tensor:
        """Symmetric InfoNCE."""
        return info_nce(
            links.left,
            links.right,
            torch.arange(len(links.left), device=links.left.device),
            temperature=self.temperature[stream],
            ignored=tuple(self.ignored(links, stream).values()),
            symmetric=True,
        )
