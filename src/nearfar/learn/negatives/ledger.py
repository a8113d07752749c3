"""Where the negatives of a step came from, how hard each source is, and what was left out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses import Match

MARGIN = "margin"
"""Reason for leaving out what is too near."""

_CANDIDATES_AT_A_TIME = 4_096


class Group(NamedTuple):
    """The candidates of one source.

    Attributes:
        name: batch, explicit, mined, queue, bank, ...
        vectors: (m, d), any length.
        ignored: which pairs do not count, by reason; a pair counts under the first that applies.
    """

    name: str
    vectors: Tensor
    ignored: tuple[tuple[str, Match], ...] = ()


@dataclass(frozen=True)
class SourceShare:
    """What one source gives to an anchor; means over the anchors.

    Attributes:
        count: negatives left of each anchor.
        similarity: mean cosine of those (over all of them together; NaN where there are none).
        mass: their share of the softmax over the positive and the negatives of all sources.
        ignored: share of the source's candidates that was left out, by reason.
    """

    count: float
    similarity: float
    mass: float
    ignored: dict[str, float]


@dataclass(frozen=True)
class Ledger:
    """The negatives of a step by source.

    Attributes:
        positive_similarity: mean cosine of an anchor and its positive.
        positive_mass: the positive's share of the softmax; with the masses of all sources this makes 1.
        sources: by name.
    """

    positive_similarity: float
    positive_mass: float
    sources: dict[str, SourceShare]

    def figures(self) -> dict[str, float]:
        """As flat names for a logger: `negatives/queue/mass`, `negatives/queue/ignored_owner`."""
        flat = {
            "negatives/positive/similarity": self.positive_similarity,
            "negatives/positive/mass": self.positive_mass,
        }
        for name, share in self.sources.items():
            flat[f"negatives/{name}/count"] = share.count
            flat[f"negatives/{name}/similarity"] = share.similarity
            flat[f"negatives/{name}/mass"] = share.mass
            flat |= {f"negatives/{name}/ignored_{reason}": part for reason, part in share.ignored.items()}
        return flat


@torch.no_grad()
def ledger(
    anchors: Tensor,
    positives: Tensor,
    groups: Sequence[Group],
    *,
    temperature: Tensor | float,
    margin: float | None = None,
    at_most: int = 256,
) -> Ledger:
    """Count and weigh the negatives of some anchors, exactly.

    It is the softmax of `info_nce` from the anchors' side, without `debias` and `hardness`. It costs one product of the sampled
    anchors with all candidates; memory is that of a block of them.

    Args:
        anchors: (n, d), any length.
        positives: (n, d), the positive of each. Where it is also a candidate, its group must ignore that pair.
        groups: the sources.
        temperature: divides the similarities.
        margin: what is nearer than the positive by more than this is left out; as in `info_nce`.
        at_most: anchors looked at, evenly spaced (a batch is in random order anyway).

    Returns:
        The shares of every source.

    Raises:
        ValueError: two groups have the same name.
    """
    if len({group.name for group in groups}) < len(groups):
        raise ValueError(f"two sources have the same name: {', '.join(group.name for group in groups)}")
    rows = torch.linspace(0, len(anchors) - 1, min(at_most, len(anchors)), device=anchors.device).round().long()
    anchors, positives = (F.normalize(vectors[rows].float(), dim=-1) for vectors in (anchors, positives))
    similarity = torch.linalg.vecdot(anchors, positives)
    limit = None if margin is None else similarity + margin
    # Half precision keeps three digits of a cosine: autocast is off here, as in `info_nce`.
    with torch.autocast(anchors.device.type, enabled=False):
        tallies = [_tally(anchors, group, rows, limit, float(temperature)) for group in groups]
    all_together = torch.stack([similarity / temperature, *(tally.logsumexp for tally in tallies)]).logsumexp(0)
    return Ledger(
        positive_similarity=float(similarity.mean()),
        positive_mass=float((similarity / temperature - all_together).exp().mean()),
        sources={
            group.name: SourceShare(
                count=float(tally.count.double().mean()),
                similarity=float(tally.similarity.sum() / tally.count.sum()),
                mass=float((tally.logsumexp - all_together).exp().mean()),
                ignored={
                    reason: float(count.double().mean()) / max(1, len(group.vectors))
                    for reason, count in tally.ignored.items()
                },
            )
            for group, tally in zip(groups, tallies, strict=True)
        },
    )


@dataclass
class _Tally:
    """Of each anchor: how many negatives, the sum of their cosines, the log-sum-exp of their scores, and what was left out."""

    count: Tensor
    similarity: Tensor
    logsumexp: Tensor
    ignored: dict[str, Tensor]


def _tally(anchors: Tensor, group: Group, rows: Tensor, limit: Tensor | None, temperature: float) -> _Tally:
    # Not by `pair_logsumexp`: that never shows which pair was left out for which reason. A few anchors can afford masks.
    count = torch.zeros(len(rows), dtype=torch.int64, device=anchors.device)
    reasons = [*dict.fromkeys(reason for reason, _ in group.ignored), *([MARGIN] if limit is not None else [])]
    tally = _Tally(
        count,
        torch.zeros(len(rows), dtype=torch.float64, device=anchors.device),
        torch.full((len(rows),), -torch.inf, device=anchors.device),
        {reason: torch.zeros_like(count) for reason in reasons},
    )
    for start in range(0, len(group.vectors), _CANDIDATES_AT_A_TIME):
        part = slice(start, start + _CANDIDATES_AT_A_TIME)
        cosines = anchors @ F.normalize(group.vectors[part].float(), dim=-1).T
        left = torch.ones_like(cosines, dtype=torch.bool)

        def leave_out(reason: str, pairs: Tensor, left: Tensor = left) -> None:
            tally.ignored[reason] += (pairs & left).sum(1)
            left &= ~pairs

        for reason, match in group.ignored:
            leave_out(reason, Match(match.anchors[rows], match.candidates[part]).dense())
        if limit is not None:
            leave_out(MARGIN, cosines > limit.unsqueeze(1))
        tally.count += left.sum(1)
        tally.similarity += cosines.masked_fill(~left, 0.0).sum(1)
        scores = (cosines / temperature).masked_fill(~left, -torch.inf)
        tally.logsumexp = torch.logaddexp(tally.logsumexp, scores.logsumexp(1))
    return tally
