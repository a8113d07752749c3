"""Healthy windows of a machine find each other among synthetic faults of it; compare CARLA (arXiv:2308.09296).

Similarity is the negative squared distance of embeddings that have any length: a bounded one would call all faults alike that
are far enough away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.data.window_batch import WindowBatch
from nearfar.learn.encoders.series import SeriesEncoder
from nearfar.learn.losses import Match, Negatives, info_nce
from nearfar.recipe.series import FaultContrast as Settings


class Embedded(NamedTuple):
    """n pairs of healthy windows, and P faults of each pair.

    Attributes:
        healthy: (n, 2, d).
        faulty: (n, P, d).
        machines: (n,) number of the machine.
        groups: (n,) number of the machine and its operating point.
    """

    healthy: Tensor
    faulty: Tensor
    machines: Tensor
    groups: Tensor


class FaultContrast(nn.Module):
    """Both windows of a pair look for each other among the faults of their machine; all other healthy windows are ignored.

    Args:
        encoder: what is trained, and what ships.
        settings: the recipe's method block.
    """

    def __init__(self, encoder: SeriesEncoder, settings: Settings) -> None:
        super().__init__()
        self.encoder, self.settings = encoder, settings

    def embed(self, batch: WindowBatch) -> Embedded:
        """All windows in one pass."""
        n, count = batch.windows.shape[:2]
        vectors = self.encoder(batch.windows.flatten(0, 1), batch.present.flatten(0, 1)).view(n, count, -1)
        return Embedded(vectors[:, :2], vectors[:, 2:], batch.machines, batch.groups)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """InfoNCE over negative squared distances, and how far healthy windows lie from their machine's mean."""
        healthy, faulty, machines, groups = embedded
        anchors, faults = healthy.transpose(0, 1).flatten(0, 1).float(), faulty.flatten(0, 1).float()
        candidates = torch.cat([anchors, faults])
        places = torch.arange(len(anchors), device=anchors.device)
        whose, of_faults = machines.repeat(2), machines.repeat_interleave(faulty.shape[1])
        no_machine = torch.full_like(of_faults, -1)
        ignored = [Match(torch.zeros_like(whose), torch.cat([torch.zeros_like(whose), no_machine]))]
        if self.settings.negatives == "machine":
            ignored.append(Match(_others(whose), torch.cat([torch.full_like(whose, -1), of_faults])))
        contrast = info_nce(
            F.pad(
                2 * anchors, (0, 1), value=-1.0
            ),  # 2 a.c - |c|^2 is -|a - c|^2 but for |a|^2, which the softmax cancels
            torch.cat([candidates, candidates.square().sum(dim=1, keepdim=True)], dim=1),
            places.roll(len(healthy)),
            temperature=self.settings.temperature,
            ignored=ignored,
            similarity="dot",
        )
        return contrast + self.settings.spread * spread(anchors, groups.repeat(2))


def spread(vectors: Tensor, groups: Tensor) -> Tensor:
    """Mean squared distance of vectors (n, d) from the mean of their group (n,)."""
    _, places, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, places, vectors)
    means = sums / counts.unsqueeze(1)
    distances: Tensor = (vectors - means[places]).square().sum(dim=1)
    return distances.mean()


def _others(machines: Tensor) -> Tensor:
    """For each the machines of the batch but its own, (n, k - 1); -1 for one that is alone."""
    known = torch.unique(machines)
    if len(known) == 1:
        return torch.full_like(machines, -1).unsqueeze(1)
    others: Tensor = known.expand(len(machines), -1)
    return others[others != machines.unsqueeze(1)].view(len(machines), -1)
