"""Which links share a batch: a pure function of seed and step, so a resumed run sees what an unbroken one would, on any number of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.errors import DataError
from nearfar.learn.data.batches import Share
from nearfar.learn.data.joint import JointCorpus, Sides, Stream
from nearfar.learn.data.split import TRAIN

Ints = npt.NDArray[np.int64]

_ORDER, _DRAWS = 7, 1
"""Told apart from the other draws of a seed."""
_LEAST = 2
"""Links of a stream in a batch: one alone has no negatives."""


class Links(NamedTuple):
    """The links of a whole batch, by numbers, and which of them a rank takes.

    Attributes:
        step: of the run.
        streams: (n,) int64, in order.
        rows: (n,) int64, of the corpus.
        left: (n,) int64, number of the item of the first tower.
        right: (n,) int64, of the second.
        rank: takes every `world`-th.
        world: how many ranks there are.
    """

    step: int
    streams: Tensor
    rows: Tensor
    left: Tensor
    right: Tensor
    rank: int = 0
    world: int = 1

    @property
    def own(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Streams, rows, first and second items of this rank's links."""
        streams, rows, left, right = (
            part[self.rank :: self.world].cpu().numpy() for part in (self.streams, self.rows, self.left, self.right)
        )
        return streams, rows, left, right


@dataclass(frozen=True)
class Members:
    """The different items of one tower in some rows: those of place i are `items[starts[i] : starts[i + 1]]`, ascending."""

    starts: Ints
    items: Ints

    @classmethod
    def of(cls, sides: Sides, rows: Ints) -> Members:
        """Those of some rows of a corpus."""
        first, last = sides.starts[rows], sides.starts[rows + 1]
        places = np.repeat(np.arange(len(rows)), last - first)
        within = np.arange(len(places)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
        pairs = np.unique(np.stack([places, sides.items[np.repeat(first, last - first) + within]]), axis=1)
        counts = np.bincount(pairs[0], minlength=len(rows))
        return cls(np.concatenate([[0], counts.cumsum()]), pairs[1])

    @property
    def counts(self) -> Ints:
        """(rows,) how many each has."""
        return np.diff(self.starts)

    @property
    def places(self) -> Ints:
        """(len(items),) the place of the row that each stands in."""
        return np.repeat(np.arange(len(self.starts) - 1), self.counts)

    def kept(self, which: npt.NDArray[np.bool_]) -> Members:
        """Those of some of the rows, which take new places."""
        counts = self.counts
        return Members(np.concatenate([[0], counts[which].cumsum()]), self.items[np.repeat(which, counts)])

    def drawn(self, places: Ints, draws: npt.NDArray[np.float64]) -> Ints:
        """One item of each of some rows, by a draw in [0, 1)."""
        return self.items[self.starts[places] + (draws * self.counts[places]).astype(np.int64)]

    def others(self, places: Ints, items: Ints, draws: npt.NDArray[np.float64]) -> Ints:
        """One item of each of some rows that is not the one of `items`, which stands in the row too; each has at least two."""
        drawn = self.starts[places] + (draws * (self.counts[places] - 1)).astype(np.int64)
        # Ascending items: from the one that is left out on, each steps up by one.
        return self.items[drawn + (self.items[drawn] >= items)]


@dataclass(frozen=True)
class StreamRows:
    """The training rows of one kind of pairs.

    Attributes:
        stream: which.
        rows: (m,) int64 numbers in the corpus, ascending.
        left: items of the first tower by place in `rows`.
        right: of the second.
    """

    stream: Stream
    rows: Ints
    left: Members
    right: Members

    @classmethod
    def of(cls, corpus: JointCorpus, stream: Stream, side: int = TRAIN) -> StreamRows:
        """The rows of one side of a corpus that have both items."""
        rows = np.flatnonzero((corpus.side == side) & (corpus.files == stream.file))
        left, right = (Members.of(corpus.sides[tower], rows) for tower in (stream.left, stream.right))
        has_both = left.counts > 1 if stream.left == stream.right else (left.counts > 0) & (right.counts > 0)
        return cls(stream, rows[has_both], left.kept(has_both), right.kept(has_both))

    def links(self, places: Ints, draws: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
        """A first and a second item of some of the rows, by draws (2, n) in [0, 1)."""
        left = self.left.drawn(places, draws[0])
        if self.stream.left == self.stream.right:
            return left, self.right.others(places, left, draws[1])
        return left, self.right.drawn(places, draws[1])


@dataclass(frozen=True)
class JointRows:
    """Training links by step: an index is a `Share`, the item is the whole batch by numbers, with the share of a rank.

    Each stream goes through its rows in permutations of its own, and leaves out the last incomplete part of each, so that no row comes
    twice in a batch, or `per_row` times, with other items if it has so many.

    Attributes:
        streams: by number; also those that are not trained on.
        sizes: links of each stream in a batch; 0 of one with fewer than two rows.
        seed: of the recipe.
        per_row: links of each row that is in a batch.
    """

    streams: Sequence[StreamRows]
    sizes: Sequence[int]
    seed: int
    per_row: int = 1
    _orders: dict[int, tuple[int, Ints]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, corpus: JointCorpus, *, batch_size: int, seed: int, per_row: int = 1) -> JointRows:
        """The training links of a corpus.

        Args:
            corpus: what belongs together.
            batch_size: links a step, shared out among the streams by weight.
            seed: of the recipe.
            per_row: links of each row that is in a batch.

        Raises:
            DataError: no stream has two rows to learn from, or a batch is too small for all streams.
        """
        streams = [StreamRows.of(corpus, stream) for stream in corpus.counts.streams]
        room = np.array([len(some.rows) if len(some.rows) >= _LEAST else 0 for some in streams], np.int64)
        used = int((room > 0).sum())
        counts = corpus.counts
        if not used:
            raise DataError(
                f"there are no two training rows with both sides of any kind of pairs ({counts.rows} rows, {counts.validation} held out for "
                f"validation, {counts.test} for test, {counts.dropped} left out because they share an item with those): give more rows, or "
                "lower data.split.validation and data.split.test"
            )
        if batch_size < _LEAST * used:
            raise DataError(
                f"train.batch_size is {batch_size}, but there are {used} kinds of pairs, and each needs {_LEAST} in a batch: set it to "
                f"{_LEAST * used} at least; some hundreds learn better"
            )
        weights = np.array([some.stream.weight for some in streams]) * (room > 0)
        return cls(streams, shared_out(batch_size, weights, room * per_row).tolist(), seed, per_row)

    def __len__(self) -> int:
        """Links of a pass: `per_row` for each row of each stream that is trained on."""
        return self.per_row * sum(len(some.rows) for some, size in zip(self.streams, self.sizes, strict=True) if size)

    def __getitem__(self, index: Share) -> Links:
        step = index.step
        rng = np.random.default_rng([self.seed, _DRAWS, step])
        parts: list[tuple[Ints, ...]] = []
        for number, size in enumerate(self.sizes):
            if not size:
                continue
            some, places = self.streams[number], self.places(number, step)
            # Over and over, so that each row has as many links as another, or one more.
            turn, row = np.divmod(np.arange(size), len(places))
            draws = rng.random((2, size))
            # Evenly spaced from the first draw of a row: as random as one draw, and other items each time.
            draws = (draws[:, row] + turn / (turn[-1] + 1)) % 1.0
            places = places[row]
            left, right = some.links(places, draws)
            parts.append((np.full(size, number), some.rows[places], left, right))
        streams, rows, first, second = (torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True))
        return Links(step, streams, rows, first, second, index.rank, index.world)

    def places(self, stream: int, step: int) -> Ints:
        """Places of the rows of a stream that are in the batch of a step, each once."""
        count = len(self.streams[stream].rows)
        size = min(count, max(_LEAST, self.sizes[stream] // self.per_row))
        epoch, part = divmod(step, count // size)
        if self._orders.get(stream, (-1,))[0] != epoch:
            order = np.random.default_rng([self.seed, _ORDER, stream, epoch]).permutation(count)
            self._orders[stream] = (epoch, order)
        return self._orders[stream][1][part * size : (part + 1) * size]


def shared_out(total: int, weights: npt.NDArray[np.float64], room: Ints) -> Ints:
    """Whole numbers that sum up to `total`, or to all the room there is, nearly in proportion to weights (largest remainder).

    Args:
        total: to share out; at least 2 for each with room.
        weights: (s,) not negative.
        room: (s,) most that each can take; each with room gets at least 2.
    """
    shares = np.minimum(_LEAST, room)
    while (left := min(total, int(room.sum())) - int(shares.sum())) > 0:
        # What is full leaves its part to the others.
        open_ = shares < room
        wanted = np.where(open_, total * weights / weights[open_].sum(), 0.0)
        lacking = np.maximum(wanted - shares, 0.0) * open_
        lacking = lacking if lacking.sum() > 0 else weights * open_
        more = lacking * left / lacking.sum()
        whole = np.minimum(np.floor(more).astype(np.int64), room - shares)
        if not whole.any():
            first = np.argsort(-more, kind="stable")[:left]
            whole[first[open_[first]]] = 1
        shares = shares + whole
    return shares
