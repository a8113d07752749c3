"""The negatives of a run from beyond the batch, as its recipe asks for them."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.learn.losses import Match, Negatives
from nearfar.learn.negatives.bank import MemoryBank
from nearfar.learn.negatives.ledger import Group
from nearfar.learn.negatives.mined import MinedNegatives
from nearfar.learn.negatives.momentum import MomentumEncoder
from nearfar.learn.negatives.queue import Queue, Remembered
from nearfar.recipe.negatives import Negatives as Settings

Ints = npt.NDArray[np.int64]

_STREAM = 4
"""Told apart from the other draws of a seed, as in `mined`."""


class Source(NamedTuple):
    """Negatives of one source, full width: a method that trains prefixes takes these of the vectors.

    Attributes:
        name: queue or bank.
        contents: vectors of unit length, ids and owners.
    """

    name: str
    contents: Remembered

    def without(self, owners: Tensor, positive_ids: Tensor) -> tuple[tuple[str, Match], ...]:
        """The pairs that do not count, by reason.

        Args:
            owners: (n,) of the anchors: what was stored for an equal owner is not negative for it; -1 for none.
            positive_ids: (n, p) ids of all that is positive to each anchor, filled up with -1.
        """
        return (
            ("positive", Match(positive_ids, self.contents.ids)),
            ("owner", Match(owners, self.contents.owners)),
        )

    def negatives(self, owners: Tensor, positive_ids: Tensor) -> Negatives:
        """For the loss; arguments as in `without`."""
        return Negatives(self.contents.vectors, tuple(match for _, match in self.without(owners, positive_ids)))

    def group(self, owners: Tensor, positive_ids: Tensor) -> Group:
        """For the ledger; arguments as in `without`."""
        return Group(self.name, self.contents.vectors, self.without(owners, positive_ids))


class NegativeSources(nn.Module):
    """Owns what is remembered from step to step, all of it in the state dict.

    Within a step: `negatives`, then the loss, then `remember` (before it, for a momentum encoder, `follow`, and `momentum` of the
    items). The batch asks `mined` for its negatives before. A source neither remembers nor gives anything before its first step,
    so what it holds is never older than that.

    Args:
        settings: the recipe's negatives block.
        dim: components of an embedding.
        items: how many items (documents) there are; the bank has a slot for each.
        queries: how many queries there are; the table of mined negatives has a row for each.
        total_steps: of the whole run.
        seed: of the recipe.
        encoder: what embeds the items; copied if the queue has a momentum encoder.

    Attributes:
        queue: None where the recipe has none; so are `momentum`, `bank` and `mined`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        dim: int,
        items: int,
        queries: int,
        total_steps: int,
        seed: int,
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.seed = settings, seed
        queue, bank, mined = settings.queue, settings.bank, settings.mined
        self.queue = Queue(queue.size, dim) if queue else None
        self.queue_begins = first_step(queue.start, total_steps) if queue else 0
        self.momentum: MomentumEncoder | None = None
        if queue is not None and queue.momentum is not None:
            if encoder is None:
                raise ValueError("negatives.queue.momentum is set, so the encoder of the items is needed to copy it")
            self.momentum = MomentumEncoder(encoder).eval()
        self.bank = MemoryBank(items, dim, momentum=bank.momentum) if bank else None
        self.bank_begins = first_step(bank.start, total_steps) if bank else 0
        self.mined: MinedNegatives | None = None
        if mined is not None:
            begins = first_step(mined.start, total_steps)
            self.mined = MinedNegatives(
                queries, mined.keep, per_query=mined.per_query, seed=seed, begins=begins, every=mined.every
            )

    def train(self, mode: bool = True) -> Self:
        """As every module; but the momentum encoder always embeds as it would in use, without dropout."""
        super().train(mode)
        if self.momentum is not None:
            self.momentum.eval()
        return self

    def negatives(self, step: int) -> tuple[Source, ...]:
        """What the loss of `step` has besides its batch; empty sources are left out.

        The bank's sample is a function of (seed, step) and of what has been seen.
        """
        sources = []
        if self.queue is not None and step >= self.queue_begins:
            sources.append(Source("queue", self.queue.contents()))
        if self.bank is not None and self.settings.bank is not None and step >= self.bank_begins:
            count = self.settings.bank.sample
            if count is None:
                sources.append(Source("bank", self.bank.contents()))
            else:
                drawn = np.random.default_rng([self.seed, _STREAM, step]).integers(2**63)
                sources.append(Source("bank", self.bank.sample(count, torch.Generator().manual_seed(int(drawn)))))
        return tuple(source for source in sources if len(source.contents.ids))

    def wants_keys(self, step: int) -> bool:
        """Whether `remember` needs what the momentum encoder makes of the items of `step`."""
        return self.momentum is not None and step >= self.queue_begins

    def follow(self, step: int, encoder: nn.Module) -> None:
        """Let the momentum encoder, where there is one, take its step towards the encoder of the items.

        Up to the first step of the queue it is the encoder itself, so that it starts from the weights of that moment.
        """
        if self.momentum is not None and self.settings.queue is not None and self.settings.queue.momentum is not None:
            self.momentum.follow(encoder, 0.0 if step <= self.queue_begins else self.settings.queue.momentum)

    @torch.no_grad()
    def remember(self, step: int, vectors: Tensor, ids: Tensor, owners: Tensor, *, keys: Tensor | None = None) -> None:
        """Store the items of a step, after its loss: those of all ranks, in the same order on each.

        Args:
            step: of the batch.
            vectors: (k, d) embeddings of the items by the model itself.
            ids: (k,) int64 number of each item.
            owners: (k,) int64, whose positive each is; -1 for nobody's.
            keys: (k, d) embeddings of the items by `momentum`, where `wants_keys` says so; the queue takes these then.

        Raises:
            ValueError: keys are wanted and not given, or shapes do not fit.
        """
        if self.queue is not None and step >= self.queue_begins:
            if keys is None and self.wants_keys(step):
                raise ValueError(
                    "the queue has a momentum encoder: call follow, and give what momentum makes of the items"
                )
            self.queue.push(vectors if keys is None else keys, ids, owners)
        if self.bank is not None and step >= self.bank_begins:
            self.bank.update(vectors, ids, owners)


def first_step(start: float, total_steps: int) -> int:
    """The first step after the share `start` of all steps."""
    return math.ceil(start * total_steps)


def positives_within(positives: Ints, starts: Ints, rows: Ints, ids: Ints) -> Ints:
    """Those positives of some queries that are among `ids`, so that a source of thousands needs no list of all positives.

    Args:
        positives: document numbers of query i are `positives[starts[i]:starts[i + 1]]`.
        starts: (q + 1,).
        rows: (n,) numbers of queries; -1 for none, which has no positives.
        ids: (k,) document numbers.

    Returns:
        (n, p) document numbers, filled up with -1; p is at least 1.
    """
    lengths = np.where(rows < 0, 0, starts[rows + 1] - starts[rows])
    owners = np.repeat(np.arange(len(rows)), lengths)
    offsets = np.arange(len(owners)) - np.repeat(lengths.cumsum() - lengths, lengths)
    members = positives[starts[rows[owners]] + offsets]
    there = np.isin(members, ids)
    return _padded(owners[there], members[there], len(rows))


def relatives_within(owners: Ints, ids: Ints, id_owners: Ints) -> Ints:
    """Those of `ids` that belong to an anchor's own owner: to a query that hangs together with it.

    Args:
        owners: (n,) of the anchors; negative for nobody.
        ids: (k,) document numbers.
        id_owners: (k,) whose positive each is; negative for nobody's.

    Returns:
        (n, p) document numbers, filled up with -1; p is at least 1.
    """
    order = np.argsort(id_owners, kind="stable")
    first, last = (np.searchsorted(id_owners[order], owners, side) for side in ("left", "right"))
    lengths = np.where(owners < 0, 0, last - first)
    rows = np.repeat(np.arange(len(owners)), lengths)
    offsets = np.arange(len(rows)) - np.repeat(lengths.cumsum() - lengths, lengths)
    return _padded(rows, ids[order[first[rows] + offsets]], len(owners))


def _padded(rows: Ints, members: Ints, count: int) -> Ints:
    """Members by row (count, p), filled up with -1; `rows` ascending, p at least 1."""
    counts = np.bincount(rows, minlength=count)
    listed = np.full((count, max(1, int(counts.max(initial=0)))), -1, np.int64)
    listed[rows, np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)] = members
    return listed
