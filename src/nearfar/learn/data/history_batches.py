"""Training histories by number, and what shares a batch: a pure function of seed and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from nearfar.errors import DataError
from nearfar.frontend.events import EventsFrontend
from nearfar.learn.data.actions import ActionCorpus
from nearfar.learn.data.batches import Share
from nearfar.learn.data.history_batch import Histories, HistoryBatch, Pairs, Shown
from nearfar.learn.data.split import TRAIN
from nearfar.learn.views.events import CopyRules, Sequences, altered
from nearfar.recipe.events import ActedTogetherPairing, NextActionPairing

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_PAIRS_OF_ONE = 16
"""Pairs of items that are taken of one history at a time."""


@dataclass(frozen=True)
class TrainingHistories(Dataset[HistoryBatch]):
    """Windows of training histories by number; an index is a `Share`, the item is that share as a batch.

    A user with more actions than `frontend.length` has several windows, which begin elsewhere each time.

    Attributes:
        corpus: the actions.
        frontend: numbers of gaps.
        windows: int64 (w, 2), user and number of the window among those of the user.
        lengths: int64 (users,), how many actions of each user, the first ones, hold all that are trained on.
        pairing: how many actions ahead are positives.
        together: which pairs of items belong together; None where none do.
        copies: how histories are altered; None without views.
        shown: numbers of the training impressions.
        seed: of the run.
    """

    corpus: ActionCorpus
    frontend: EventsFrontend
    windows: Ints
    lengths: Ints
    pairing: NextActionPairing
    together: ActedTogetherPairing | None
    copies: CopyRules | None
    shown: Ints
    seed: int

    @classmethod
    def of(
        cls,
        corpus: ActionCorpus,
        pairing: NextActionPairing,
        *,
        together: ActedTogetherPairing | None = None,
        copies: CopyRules | None = None,
        impressions: bool = True,
        seed: int,
    ) -> TrainingHistories:
        """The training histories of a corpus.

        Raises:
            DataError: where fewer than two windows, or two items, are left to train on.
        """
        lengths = training_lengths(corpus)
        length = corpus.settings.length
        inputs = lengths - 1  # the last action is a target only
        counts = np.where(inputs > length, -(-inputs // length) + 1, 1) * (lengths > 0)
        users = np.repeat(np.arange(len(lengths)), counts)
        numbers = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
        items = len(np.unique(corpus.items[corpus.side == TRAIN]))
        if len(users) < 2 or items < 2:
            raise DataError(
                f"only {len(users)} histories over {items} items are left to train on: training needs at least 2 of both. Give more "
                "events, or lower data.source.filters.least_of_user and least_of_item"
            )
        shown = np.zeros(0, np.int64)
        if impressions and corpus.impressions is not None:
            shown = np.flatnonzero(corpus.impressions.side == TRAIN)
        return cls(
            corpus,
            EventsFrontend(corpus.settings),
            np.stack([users, numbers], axis=1),
            lengths,
            pairing,
            together,
            copies,
            shown,
            seed,
        )

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: Share) -> HistoryBatch:
        step, rows, rank, world = index
        whole = self._drawn(self.windows[rows], np.random.default_rng([self.seed, 1, step]))
        copies = None
        if self.copies is not None:
            altered_rng = np.random.default_rng([self.seed, 3, step])
            copies = altered(whole.sequences, self.copies, altered_rng)
        own = slice(rank, None, world)
        values, codes = self.corpus.values, self.corpus.codes
        moments = np.minimum(whole.moments[own], len(values) - 1)
        pairs = self._pairs(whole.sequences, np.random.default_rng([self.seed, 4, step]))
        return HistoryBatch(
            _tensors(whole.sequences.taken(own)),
            torch.from_numpy(values[moments]),
            torch.from_numpy(codes[moments]),
            torch.from_numpy(np.ascontiguousarray(whole.targets[own])),
            torch.from_numpy(np.ascontiguousarray(whole.weights[own])),
            copies=None if copies is None else _tensors(_both(copies, own)),
            shown=self._shown(np.random.default_rng([self.seed, 2, step]), len(rows), own),
            pairs=None if pairs is None else Pairs(*(torch.from_numpy(part[own].copy()) for part in pairs)),
        )

    def _drawn(self, windows: Ints, rng: np.random.Generator) -> _Drawn:
        """The windows of a batch, wherever they begin this time."""
        length = self.corpus.settings.length
        users, numbers = windows.T
        actions = self.lengths[users]
        inputs = np.maximum(actions - 1, 0)
        shifts = np.where(inputs > length, rng.integers(length, size=len(users)), 0)
        begin = numbers * length - shifts
        end = np.minimum(begin + length, inputs)
        begin = np.maximum(np.minimum(begin, end - 1), 0)  # a window that lies behind the last action has that one
        return self._windows(users, begin, end, actions)

    def _windows(self, users: Ints, begin: Ints, end: Ints, actions: Ints) -> _Drawn:
        """Windows of users from their action `begin` to before `end`, with what came next."""
        corpus, ahead = self.corpus, self.pairing.window
        firsts = corpus.offsets[users]
        longest = max(1, int((end - begin).max()))
        places = end[:, None] + np.arange(-longest, 1)  # the action that comes next after each place
        within = places >= begin[:, None]
        numbers = firsts[:, None] + np.maximum(places, 0)
        mask = within[:, :-1]
        inputs = np.where(mask, numbers[:, :-1], 0)
        times = corpus.times[numbers]
        sequences = Sequences(
            np.where(mask, corpus.items[inputs], -1),
            times[:, :-1],
            np.where(mask, corpus.weights[inputs], 0).astype(np.float32),
            mask.astype(np.float32),
            times[:, -1],
            self.frontend.gap_numbers,
        )
        # What comes first of all is a target too: of a history that is empty.
        begins = within & ((places > begin[:, None]) | (begin == 0)[:, None])
        which = places[:, :, None] + np.arange(ahead)
        there = begins[:, :, None] & (which < actions[:, None, None])
        which = firsts[:, None, None] + np.where(there, which, 0)
        there &= corpus.side[which] == TRAIN
        shares = np.where(there, self.pairing.decay ** np.arange(ahead), 0.0)
        weights = corpus.weights[which] * shares / np.maximum(shares.sum(axis=2, keepdims=True), 1e-12)
        return _Drawn(
            sequences,
            numbers,
            np.where(there, corpus.items[which], -1).reshape(len(users), -1),
            weights.reshape(len(users), -1).astype(np.float32),
        )

    def _shown(self, rng: np.random.Generator, count: int, own: slice) -> Shown | None:
        """As many impressions as there are histories in the batch, drawn anew."""
        seen = self.corpus.impressions
        if seen is None or not len(self.shown):
            return None
        rows = self.shown[rng.integers(len(self.shown), size=count)][own]
        histories = sequences_of(
            self.corpus, self.frontend, seen.histories[rows, 0], seen.histories[rows, 1], seen.now[rows]
        )
        parts = seen.values, seen.codes, seen.items, seen.acted, seen.propensities
        return Shown(_tensors(histories), *(torch.from_numpy(part[rows]) for part in parts))

    def _pairs(self, sequences: Sequences, rng: np.random.Generator) -> tuple[Ints, Floats] | None:
        """Of each history some actions, each with one that came soon after it."""
        if self.together is None:
            return None
        n, length = sequences.items.shape
        first = rng.integers(length, size=(n, _PAIRS_OF_ONE))
        second = first + rng.integers(1, self.together.window + 1, size=first.shape)
        rows, inside = np.arange(n)[:, None], np.minimum(second, length - 1)
        there = (second < length) & (sequences.mask[rows, first] > 0)
        if self.together.seconds is not None:
            there &= sequences.times[rows, inside] - sequences.times[rows, first] <= self.together.seconds
        items = np.stack([sequences.items[rows, first], sequences.items[rows, inside]], axis=-1)
        there &= items[..., 0] != items[..., 1]
        # Both weights grow with the time that was spent.
        weights = np.sqrt(sequences.weights[rows, first] * sequences.weights[rows, inside])
        return items[there], weights[there].astype(np.float32)


class _Drawn(NamedTuple):
    """What a batch holds, before it is shared out: sequences, the actions (n, L + 1) that come next, targets and their weights."""

    sequences: Sequences
    moments: Ints
    targets: Ints
    weights: Floats


def training_lengths(corpus: ActionCorpus) -> Ints:
    """How many actions of each user, the first ones, hold all that are trained on."""
    trained = np.flatnonzero(corpus.side == TRAIN)
    owners = np.searchsorted(corpus.offsets, trained, side="right") - 1
    lengths = np.zeros(len(corpus.offsets) - 1, np.int64)
    np.maximum.at(lengths, owners, trained + 1 - corpus.offsets[owners])
    return lengths


def sequences_of(
    corpus: ActionCorpus, frontend: EventsFrontend, begin: Ints, end: Ints, now: npt.NDArray[np.float64]
) -> Sequences:
    """The latest actions of histories `begin` to before `end` in the actions of a corpus."""
    places = frontend.positions(begin, end)
    there = places >= 0
    if not len(corpus.items):
        places = np.zeros_like(places)
    safe = np.where(there, places, 0)
    return Sequences(
        np.where(there, corpus.items[safe], -1),
        corpus.times[safe],
        np.where(there, corpus.weights[safe], 0).astype(np.float32),
        there.astype(np.float32),
        now,
        frontend.gap_numbers,
    )


def _both(copies: Sequences, own: slice) -> Sequences:
    """Both copies of each history of one rank."""
    rows = np.arange(len(copies.items)).reshape(-1, 2)[own].ravel()
    return copies.taken(rows)


def _tensors(sequences: Sequences) -> Histories:
    items, weights, mask = (
        torch.from_numpy(np.ascontiguousarray(part)) for part in (sequences.items, sequences.weights, sequences.mask)
    )
    return Histories(items, torch.from_numpy(sequences.gaps()), weights, mask)
