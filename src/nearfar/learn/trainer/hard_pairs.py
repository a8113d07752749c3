"""Hard negatives for batches: links whose items the index finds near another's, though they do not belong to it (ANCE, arXiv:2007.00808)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nearfar.learn.data.joint import JointCorpus
from nearfar.learn.data.joint_batches import Ints, JointRows, Links, StreamRows
from nearfar.learn.methods.joint import Joint
from nearfar.learn.negatives.mined import MinedNegatives
from nearfar.learn.negatives.mining import Known, mine
from nearfar.learn.negatives.sources import first_step
from nearfar.learn.towers.tower import Items
from nearfar.learn.trainer.joint_figures import embed_items
from nearfar.recipe.joint import HardPairs as Settings

_DRAWS = 8
"""Told apart from the other draws of a seed."""


class HardPairs:
    """Puts links with a hard negative of another one in the place of some that chance has drawn.

    Of each stream the first part of a batch stays. For each of its links a second item is drawn from those that were found near its
    first one, and a row of that item comes into the batch, unless it is there already.

    Args:
        settings: the recipe's `method.hard`.
        rows: what is trained on.
        corpus: what belongs together.
        items: by tower.
        method: what embeds.
        total_steps: of the whole run.
        threads: of searching a graph.
        say: told what is going on when a step takes long.

    Attributes:
        sources: for each stream a table of what was found, which belongs into a checkpoint.
    """

    def __init__(
        self,
        settings: Settings,
        rows: JointRows,
        corpus: JointCorpus,
        items: Mapping[str, Items],
        method: Joint,
        *,
        total_steps: int,
        threads: int = 1,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.settings, self.rows, self.items, self.method = settings, rows, items, method
        self.threads, self._say = threads, say
        self._streams = {
            number: _Stream(some, corpus)
            for number, (some, size) in enumerate(zip(rows.streams, rows.sizes, strict=True))
            if size
        }
        each = min(settings.depth, math.ceil(settings.share / (1 - settings.share)))
        begins = first_step(settings.start, total_steps)
        self._tables = {
            number: MinedNegatives(
                len(stream.first), settings.depth, per_query=each, seed=rows.seed, begins=begins, every=settings.every
            )
            for number, stream in self._streams.items()
        }
        self.sources: nn.Module = nn.ModuleDict({f"stream_{number}": table for number, table in self._tables.items()})

    def chosen(self, links: Links, step: int) -> Links:
        """The batch with its hard negatives; searches first, if that is due."""
        if any(table.is_due(step) for table in self._tables.values()):
            self._search(step)
        given = (links.streams, links.rows, links.left, links.right)
        streams, rows, left, right = (part.cpu().numpy().copy() for part in given)
        for number, stream in self._streams.items():
            table, here = self._tables[number], np.flatnonzero(streams == number)
            if step < table.begins:
                continue
            rng = np.random.default_rng([self.rows.seed, _DRAWS, step, number])
            kept, free = np.split(here, [len(here) - int(self.settings.share * len(here))])
            # The first of each link, then the second of each.
            found = table.drawn(stream.place_of(left[kept]), step).T.reshape(-1)
            chosen, second = stream.rows_of(found[found >= 0], rng.random(int((found >= 0).sum())))
            fresh = ~np.isin(chosen, rows[kept])
            fresh[fresh] = _first_of_each(chosen[fresh])
            chosen, second = chosen[fresh][: len(free)], second[fresh][: len(free)]
            # What was drawn and is not there again fills the rest.
            others = free[~np.isin(rows[free], chosen)][: len(free) - len(chosen)]
            old = rows[others], left[others], right[others]
            first = stream.first_of(chosen, second, rng.random(len(chosen)))
            # Where a row has several links there may be fewer than are free.
            filled = free[: len(chosen) + len(others)]
            for part, new, rest in zip((rows, left, right), (chosen, first, second), old, strict=True):
                part[filled] = np.concatenate([new, rest])
        rows_, left_, right_ = (torch.from_numpy(part).to(links.rows.device) for part in (rows, left, right))
        return links._replace(rows=rows_, left=left_, right=right_)

    def _search(self, step: int) -> None:
        """Fill the tables by the weights as they are now."""
        self._say("searching hard pairs")
        for number, stream in self._streams.items():
            some = stream.some.stream
            first, second = (
                embed_items(self.method, tower, self.items[tower], numbers)
                for tower, numbers in ((some.left, stream.first), (some.right, stream.second))
            )
            depth, skip = self.settings.depth, self.settings.skip
            table = np.full((len(stream.first), depth), -1, np.int64)
            if np.isfinite(first).all() and np.isfinite(second).all():  # else the run has failed, and will say why
                found = mine(
                    first,
                    second,
                    stream.known,
                    depth=depth,
                    keep=depth,
                    skip=skip,
                    numbers=stream.second,
                    threads=self.threads,
                )
                table = found.documents
            self._tables[number].replace(table, step)


class _Stream:
    """What of a kind of pairs a search has to know.

    Attributes:
        some: its training rows.
        first: (a,) different items of the first tower, ascending.
        second: (b,) of the second.
        known: what belongs together, by place of the first and number of the second.
    """

    def __init__(self, some: StreamRows, corpus: JointCorpus) -> None:
        self.some = some
        self.first, self.second = np.unique(some.left.items), np.unique(some.right.items)
        order = np.argsort(some.right.items, kind="stable")
        self._rows_of_second = some.rows[some.right.places[order]]
        self._starts = np.searchsorted(some.right.items[order], self.second)
        self._ends = np.searchsorted(some.right.items[order], self.second, "right")
        self.known = self._known(corpus)

    def place_of(self, items: Ints) -> Ints:
        """Places of first items."""
        return np.searchsorted(self.first, items)

    def rows_of(self, items: Ints, draws: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
        """For each of some second items one of its rows, by a draw in [0, 1); and the items again."""
        places = np.searchsorted(self.second, items)
        first, last = self._starts[places], self._ends[places]
        return self._rows_of_second[first + (draws * (last - first)).astype(np.int64)], items

    def first_of(self, rows: Ints, second: Ints, draws: npt.NDArray[np.float64]) -> Ints:
        """A first item of each of some rows, by a draw in [0, 1), that is not the second one of the link."""
        places = np.searchsorted(self.some.rows, rows)
        if self.some.stream.left == self.some.stream.right:
            return self.some.left.others(places, second, draws)
        return self.some.left.drawn(places, draws)

    def _known(self, corpus: JointCorpus) -> Known:
        """Items of one row, of one label, and those that say the same."""
        left, right = self.some.left, self.some.right
        # Every first item of a row with every second one of it.
        counts = right.counts[left.places]
        pairs = np.stack(
            [
                np.repeat(left.items, counts),
                right.items[np.repeat(right.starts[left.places], counts) + _within(counts)],
            ]
        )
        if self.some.stream.left == self.some.stream.right:
            pairs = np.concatenate([pairs, np.stack([self.first, self.first])], axis=1)
        alike = corpus.alike.get(self.some.stream.right)
        if alike is not None:
            said = alike[pairs[1]]
            pairs = np.stack([np.repeat(pairs[0], said.shape[1]), said.reshape(-1)])[:, (said >= 0).reshape(-1)]
        pairs = np.unique(pairs, axis=1)
        starts = np.searchsorted(pairs[0], np.append(self.first, np.iinfo(np.int64).max))
        labels = corpus.labels[self.some.rows]
        owners = np.full(int(self.second[-1]) + 1, -1, np.int64)
        owners[right.items[::-1]] = labels[right.places[::-1]]
        own = np.full(len(self.first), -1, np.int64)
        own[self.place_of(left.items[::-1])] = labels[left.places[::-1]]
        return Known(pairs[1], starts, own, owners)


def _within(counts: Ints) -> Ints:
    """0, 1, ... up to each count, one after the other."""
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)


def _first_of_each(values: Ints) -> npt.NDArray[np.bool_]:
    """Which are the first of their kind."""
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first
