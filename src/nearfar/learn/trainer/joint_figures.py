"""Figures on held-out partners while training: to watch and to stop by, not to report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from nearfar.evaluate.cross_modal import Kept, Partners, first_ranks
from nearfar.learn.data.joint import JointCorpus
from nearfar.learn.data.joint_batches import Ints, StreamRows
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.losses.operands import unit
from nearfar.learn.methods.joint import Joint
from nearfar.learn.towers.tower import Items
from nearfar.learn.trainer.eval_mode import in_eval_mode

Vectors = npt.NDArray[np.float32]

_ITEMS_AT_A_TIME = 256
_VALIDATED = 1_000
_DEPTHS = (1, 10)


class _Side(NamedTuple):
    """The items of one tower among some rows: (n,) int64 numbers, ascending, and the keys of their rows."""

    tower: str
    numbers: Ints
    kept: Kept

    @classmethod
    def of(cls, tower: str, items: Ints, keys: Ints) -> _Side:
        numbers, places = np.unique(items, return_inverse=True)
        return cls(tower, numbers, Kept(places, keys))


class JointFigures:
    """Of validation items, how many find a partner among the first 1 and 10 of the other tower, both ways.

    What is in rows of one label belongs together too. Where both are of one tower, the first item of a row looks for the others.

    Args:
        corpus: what belongs together.
        items: by tower.
        seed: of the sample of rows.
        most: rows of each kind of pairs, at most.
    """

    def __init__(self, corpus: JointCorpus, items: Mapping[str, Items], *, seed: int, most: int = _VALIDATED) -> None:
        rng = np.random.default_rng([seed, 2])
        self._items = items
        self._ways: list[tuple[_Side, _Side]] = []
        streams = [StreamRows.of(corpus, stream, VALIDATION) for stream in corpus.counts.streams]
        for left, right in dict.fromkeys((some.stream.left, some.stream.right) for some in streams):
            pair: list[list[tuple[Ints, Ints]]] = [[], []]
            for some in streams:
                if (some.stream.left, some.stream.right) != (left, right):
                    continue
                drawn = np.zeros(len(some.rows), bool)
                drawn[rng.permutation(len(drawn))[:most]] = True
                labels = corpus.labels[some.rows]
                # A row of a label has the key of the label, another one its own.
                keys = np.where(labels >= 0, labels, len(corpus.counts.labels) + some.rows)
                for side, members in enumerate((some.left, some.right)):
                    here = drawn[members.places]
                    if left == right:
                        first = np.isin(np.arange(len(members.items)), members.starts)
                        here &= first if side == 0 else ~first
                    pair[side].append((members.items[here], keys[members.places[here]]))
            sides = [
                _Side.of(t, *map(np.concatenate, zip(*s, strict=True)))
                for t, s in zip((left, right), pair, strict=True)
            ]
            if len(sides[0].numbers) > 1 and len(sides[1].numbers) > 1:
                self._ways += [(sides[0], sides[1])] if left == right else [(sides[0], sides[1]), (sides[1], sides[0])]

    @property
    def has_pairs(self) -> bool:
        """Whether there is anything to find."""
        return bool(self._ways)

    def measure(self, method: Joint) -> dict[str, float]:
        """`<left>_to_<right>_recall_at_1` and `_at_10`, the other way round, and their means `recall_at_1` and `recall_at_10`."""
        asked: dict[str, list[Ints]] = {}
        for way in self._ways:
            for side in way:
                asked.setdefault(side.tower, []).append(side.numbers)
        numbers = {tower: np.unique(np.concatenate(parts)) for tower, parts in asked.items()}
        vectors = {tower: embed_items(method, tower, self._items[tower], some) for tower, some in numbers.items()}

        def of(side: _Side) -> Vectors:
            return vectors[side.tower][np.searchsorted(numbers[side.tower], side.numbers)]

        figures: dict[str, float] = {}
        found: dict[int, list[float]] = {k: [] for k in _DEPTHS}
        for asking, sought in self._ways:
            partners = Partners(asking.kept, sought.kept, asked=len(asking.numbers), found=len(sought.numbers))
            ranks = first_ranks(of(asking), of(sought), partners)
            for k in _DEPTHS:
                found[k].append(float((ranks <= k).mean()))
                figures[f"{asking.tower}_to_{sought.tower}_recall_at_{k}"] = found[k][-1]
        return figures | {f"recall_at_{k}": float(np.mean(values)) for k, values in found.items()}


@torch.no_grad()
def embed_items(method: Joint, tower: str, items: Items, numbers: Ints) -> Vectors:
    """Unit vectors (n, d) of items of a tower in the common space, as the device sees them.

    Args:
        method: what embeds; it is in eval mode only meanwhile.
        tower: name of the tower.
        items: its items.
        numbers: (n,) which of them, at least one.
    """
    encoder, device = method.towers[tower], method.log_temperature.device
    made: Vectors | None = None
    with in_eval_mode(method):
        for places, inputs in items.seen(numbers, _ITEMS_AT_A_TIME):
            vectors = method.project(tower, encoder(tuple(part.to(device) for part in inputs)))
            part: Vectors = unit(vectors.float()).cpu().numpy()
            made = np.zeros((len(numbers), part.shape[1]), np.float32) if made is None else made
            made[places] = part
    assert made is not None
    return made
