"""Histories and the items that come next: SASRec (Kang and McAuley, arXiv:1808.09781) with the objectives that came after it.

`softmax`: Klenitskiy and Vasilev, Turning Dross Into Gold Loss (arXiv:2309.07602); `sampled_softmax` and `in_batch`: Yi et al.,
RecSys 2019; `gbce`: gSASRec (arXiv:2308.07192).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.learn.data.actions import Content
from nearfar.learn.data.history_batch import Histories, HistoryBatch
from nearfar.learn.encoders.item_tower import ItemTower
from nearfar.learn.encoders.sequence import SequenceEncoder
from nearfar.learn.losses import Negatives, calibrated_bce, gbce_power, info_nce, nt_xent, sampled_softmax
from nearfar.learn.losses.operands import unit
from nearfar.recipe.events import NextAction as Settings

LARGEST_SOFTMAX = 50_000
"""Items up to which `auto` takes all of them."""

_TOGETHER_TEMPERATURE = 0.1


class Embedded(NamedTuple):
    """A batch; see `HistoryBatch`.

    Attributes:
        users: (n, L + 1, d), vectors of users at every place.
        seen: int64 (n, L), the items of the histories.
        targets: int64 (n, (L + 1) * K).
        weights: (n, (L + 1) * K).
        copies: (n, 2, d), vectors of the altered copies; (0, 2, d) without.
        viewers: (m, d), vectors of users at impressions, m may be 0.
        shown: int64 (m,), items that they were shown.
        acted: (m,).
        propensities: (m,).
        pairs: int64 (q, 2), items that belong together, q may be 0.
        pair_weights: (q,).
    """

    users: Tensor
    seen: Tensor
    targets: Tensor
    weights: Tensor
    copies: Tensor
    viewers: Tensor
    shown: Tensor
    acted: Tensor
    propensities: Tensor
    pairs: Tensor
    pair_weights: Tensor


class NextAction(nn.Module):
    """The vector of a user finds the item that comes next, by a dot product and a share of its popularity.

    Negatives of a user are never items that come next, nor those that were acted on before: neither is ever recommended wrongly.

    Args:
        items: vectors of items.
        tower: vectors of users.
        settings: the recipe's method block.
        counts: float64 (items,), how often each item was acted on in training.
        content_only: share of the items that a step knows by their content alone.
        copies: weight and temperature of the loss over altered copies.
        together: weight of the loss over pairs of items.
        seed: of what is drawn at each step.
    """

    log_popularity: Tensor
    share: Tensor
    draw: Tensor

    def __init__(
        self,
        items: ItemTower,
        tower: SequenceEncoder,
        settings: Settings,
        *,
        counts: npt.NDArray[np.float64],
        content_only: float = 0.0,
        copies: tuple[float, float] = (0.0, 1.0),
        together: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.items, self.tower, self.settings = items, tower, settings
        self.content_only, self.seed = content_only, seed
        self.copies, self.together = copies, together
        popular = torch.from_numpy(log_popularity(counts))
        self.register_buffer("log_popularity", popular, persistent=False)
        share = torch.from_numpy(np.maximum(counts[: items.warm], 1e-3))
        for name, power in (("share", 1.0), ("draw", settings.popular)):
            self.register_buffer(name, share**power / (share**power).sum(), persistent=False)
        self.popularity = nn.Parameter(torch.ones(()))
        self.click_rate = nn.Parameter(torch.zeros(()))
        self.step = 0
        self._by_content: Tensor | None = None

    @property
    def loss_kind(self) -> str:
        """The objective, `auto` resolved."""
        if self.settings.loss != "auto":
            return self.settings.loss
        return "softmax" if self.items.warm <= LARGEST_SOFTMAX else "sampled_softmax"

    def follow(self, step: int) -> None:
        """Draw what a step needs, the same on all ranks and for all parts of a batch: which items it knows by their content alone."""
        self.step = step
        self._by_content = None
        if self.items.content is not None and self.content_only > 0 and self.training:
            drawn = torch.rand(self.items.items, generator=self._generator(0)) < self.content_only
            self._by_content = drawn.to(self.draw.device)

    def item_vectors(self, numbers: Tensor) -> Tensor:
        """Vectors (n, d) of items by their numbers, as catalogues hold them."""
        vectors = self.items(numbers, self._by_content if self.training else None)
        return unit(vectors) if self.settings.cosine else vectors

    def vectors_of_content(self, content: Content) -> Tensor:
        """Vectors (n, d) of new items by their content alone."""
        vectors = self.items.of_content(content)
        return unit(vectors) if self.settings.cosine else vectors

    def user_vectors(self, histories: Histories, values: Tensor, codes: Tensor) -> Tensor:
        """Vectors (n, d) of users after their histories, whose dot products with those of items are scores."""
        return self._scaled(self.tower(*self._inputs(histories), values, codes))

    def embed(self, batch: HistoryBatch) -> Embedded:
        """All places of all histories, and what else is in the batch."""
        everywhere = self.tower.everywhere(*self._inputs(batch.histories), batch.values, batch.codes)
        n, _, dim = everywhere.shape
        copies, viewers = everywhere.new_zeros(0, 2, dim), everywhere.new_zeros(0, dim)
        if batch.copies is not None:
            # The moment says nothing of the history, so that both copies are told of the same.
            moment = [part[:, -1].repeat_interleave(2, dim=0) for part in (batch.values, batch.codes)]
            copies = self.tower(*self._inputs(batch.copies), *moment).view(n, 2, dim)
        shown = batch.shown
        if shown is not None:
            viewers = self.user_vectors(shown.histories, shown.values, shown.codes)
        none, nothing = batch.targets.new_zeros(0), everywhere.new_zeros(0)
        return Embedded(
            self._scaled(everywhere),
            batch.histories.items,
            batch.targets,
            batch.target_weights,
            copies,
            viewers,
            none if shown is None else shown.items,
            nothing if shown is None else shown.acted,
            nothing if shown is None else shown.propensities,
            none.view(0, 2) if batch.pairs is None else batch.pairs.items,
            nothing if batch.pairs is None else batch.pairs.weights,
        )

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """The loss of the next action, and those of copies, impressions and pairs of items where there are such."""
        loss = self._of_next(embedded)
        weight, temperature = self.copies
        if weight and len(embedded.copies) > 1:
            loss = loss + weight * nt_xent(*embedded.copies.unbind(1), temperature=temperature)
        if self.settings.impressions and len(embedded.shown):
            loss = loss + self.settings.impressions * self._of_impressions(embedded)
        if self.together and len(embedded.pairs) > 1:
            loss = loss + self.together * self._of_pairs(embedded)
        return loss

    def negatives_of(self, embedded: Embedded) -> int:
        """How many negatives a place is held against, before those are left out that it knows."""
        match self.loss_kind:
            case "softmax":
                return self.items.warm
            case "in_batch":
                return len(torch.unique(embedded.targets[embedded.targets >= 0]))
            case "bce":
                return 1
            case _:
                return min(self.settings.negatives, self.items.warm)

    def _of_next(self, embedded: Embedded) -> Tensor:
        """Every place with a target looks for it."""
        n, places, _ = embedded.users.shape
        # What is known by its content alone, though a few acted on it, is no target: there is too little to learn from.
        own = embedded.targets < self.items.warm
        targets = embedded.targets.where(own, -1).view(n, places, -1)
        weights = (embedded.weights * own).view(n, places, -1)
        rows, where = (weights.sum(dim=2) > 0).nonzero(as_tuple=True)
        if not len(rows):
            return embedded.users.sum() * 0
        users, targets, weights = embedded.users[rows, where], targets[rows, where], weights[rows, where]
        before = torch.arange(places - 1, device=rows.device) < where.unsqueeze(1)
        known = torch.cat([targets, embedded.seen[rows].masked_fill(~before, -1)], dim=1)
        if self.loss_kind in ("gbce", "bce"):
            return self._binary(users, targets, weights, known)
        return self._softmax(users, targets, weights, known)

    def _softmax(self, users: Tensor, targets: Tensor, weights: Tensor, known: Tensor) -> Tensor:
        """Softmax over all items, over drawn ones, or over the targets of the batch."""
        users = torch.cat([users, users.new_ones(len(users), 1)], dim=1)
        place_of = torch.full(
            (self.items.items + 1,), -1, dtype=torch.int64, device=users.device
        )  # the last stands for -1
        if self.loss_kind == "softmax":
            numbers = torch.arange(self.items.warm, device=users.device)
            table = self._scored(numbers)
            place_of[numbers] = numbers
            return sampled_softmax(users, table, table, targets, weights, left_out=place_of[known])
        wanted, counts = torch.unique(targets[targets >= 0], return_counts=True)
        place_of[wanted] = torch.arange(len(wanted), device=users.device)
        positive, table = place_of[targets], self._scored(wanted)
        if self.loss_kind == "in_batch":
            # Each target stands for those as often met: there as often as it is, and expected by its share of all actions.
            offset = ((self.share[wanted] * counts.sum()).log() - counts.log()).float()
            return sampled_softmax(
                users, table, table, positive, weights, left_out=place_of[known], log_expected=offset
            )
        numbers, offset = self._drawn()
        place_of[wanted] = -1
        place_of[numbers] = torch.arange(len(numbers), device=users.device)
        return sampled_softmax(
            users, self._scored(numbers), table, positive, weights, left_out=place_of[known], log_expected=offset
        )

    def _binary(self, users: Tensor, targets: Tensor, weights: Tensor, known: Tensor) -> Tensor:
        """Each positive against drawn items: the same ones for the whole batch, or for `bce` one of its own for each."""
        users = torch.cat([users, users.new_ones(len(users), 1)], dim=1)
        rows, slots = (targets >= 0).nonzero(as_tuple=True)
        positives = torch.linalg.vecdot(users[rows], self._scored(targets[rows, slots]))
        if self.loss_kind == "bce":
            numbers = torch.randint(self.items.warm, (len(rows), 1), generator=self._generator(1)).to(users.device)
            negatives = torch.linalg.vecdot(users[rows], self._scored(numbers.squeeze(1))).unsqueeze(1)
            counted = (known[rows] != numbers).all(dim=1, keepdim=True)
            return calibrated_bce(positives, negatives, weights[rows, slots], counted=counted)
        many = min(self.settings.negatives, self.items.warm)
        numbers = torch.randperm(self.items.warm, generator=self._generator(1))[:many].to(users.device)
        place_of = torch.full(
            (self.items.items + 1,), many, device=users.device
        )  # what is not drawn falls behind the last
        place_of[numbers] = torch.arange(many, device=users.device)
        counted = torch.ones(len(users), many + 1, dtype=torch.bool, device=users.device)
        counted.scatter_(1, place_of[known], False)
        negatives = users @ self._scored(numbers).T
        power = gbce_power(many, self.items.warm, self.settings.calibration)
        return calibrated_bce(
            positives, negatives[rows], weights[rows, slots], counted=counted[rows, :many], power=power
        )

    def _of_impressions(self, embedded: Embedded) -> Tensor:
        """Acted on or not, each impression weighted by one over how likely it was (inverse propensity scoring; Schnabel et al.,
        Recommendations as Treatments, arXiv:1602.05352, eq. 5), normalised by the sum of the weights.
        """
        vectors = self._scored(embedded.shown)
        scores = torch.linalg.vecdot(embedded.viewers, vectors[:, :-1]) + vectors[:, -1] + self.click_rate
        weights = 1 / embedded.propensities.clamp(min=self.settings.propensity_floor)
        losses = nn.functional.binary_cross_entropy_with_logits(scores, embedded.acted, reduction="none")
        return (losses * weights).sum() / weights.sum()

    def _of_pairs(self, embedded: Embedded) -> Tensor:
        """Items that were acted on together find each other among those of the batch, by direction."""
        numbers, places = torch.unique(embedded.pairs, return_inverse=True)
        order = places[:, 0].argsort(stable=True)
        anchors, group, counts = torch.unique_consecutive(places[order, 0], return_inverse=True, return_counts=True)
        # All partners of an item in one row, so that none is a negative of it.
        slots = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[group]
        partners = places.new_full((len(anchors), int(counts.max())), -1)
        partners[group, slots] = places[order, 1]
        vectors = self.item_vectors(numbers)
        return info_nce(
            vectors[anchors],
            vectors,
            partners,
            temperature=_TOGETHER_TEMPERATURE,
            itself=anchors,
            several="apart",
            weights=vectors.new_zeros(len(anchors)).index_add(0, group, embedded.pair_weights[order].to(vectors)),
        )

    def _inputs(self, histories: Histories) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        there = histories.items >= 0
        numbers, inverse = torch.unique(histories.items.clamp(min=0), return_inverse=True)
        vectors = self.item_vectors(numbers)[inverse] * there.unsqueeze(-1)
        return vectors, histories.gaps, histories.weights, histories.mask

    def _scaled(self, users: Tensor) -> Tensor:
        """So long that dot products with items are the scores that the loss compares."""
        return (unit(users) if self.settings.cosine else users) / self.settings.temperature

    def _scored(self, numbers: Tensor) -> Tensor:
        """Vectors of items (n, d + 1), the last component what their popularity gives to the score."""
        popular = self.popularity * self.log_popularity[numbers]
        return torch.cat([self.item_vectors(numbers), popular.unsqueeze(1)], dim=1)

    def _drawn(self) -> tuple[Tensor, Tensor]:
        """Items drawn with replacement, each once, and the logarithm of how often it was to be expected by how often it came."""
        many = self.settings.negatives
        drawn = torch.multinomial(self.draw.cpu(), many, replacement=True, generator=self._generator(1))
        numbers, counts = torch.unique(drawn.to(self.draw.device), return_counts=True)
        return numbers, ((self.draw[numbers] * many).log() - counts.log()).float()

    def _generator(self, purpose: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 1_000_003 + self.step) * 2 + purpose)


def log_popularity(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """log(1 + count) of each item (items,), less the mean of all."""
    logs = np.log1p(counts)
    return np.asarray(logs - logs.mean(), np.float32)
