"""What CLIP and SigLIP share: any number of towers in one space, and kinds of pairs (streams) whose two items belong together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nearfar.learn.losses import Match, Negatives
from nearfar.learn.losses.operands import unit
from nearfar.learn.towers.tower import rows_of


class JointBatch(NamedTuple):
    """n links: pairs of items that belong together, each of one stream.

    Attributes:
        inputs: tower -> what its encoder takes of its items; towers without items are left out.
        left: (n,) int64, the place of the first item of each link among all items, those of one tower after those of another in the
            order of `inputs`.
        right: (n,) int64, likewise of the second.
        streams: (n,) int64, numbers of the kinds of pairs.
        left_ids: (n,) int64, equal within a stream for equal first items; -1 for nobody's.
        right_ids: (n,) int64, likewise of second items.
        labels: (n,) int64, equal for links that fit each other; -1 for none.
        left_alike: (n, p) int64, ids of first items that say the same as the own one, filled up with -1.
        right_alike: (n, q) int64, likewise of second items.
        rows: (n,) int64, equal for links of one row; -1 for none.
    """

    inputs: dict[str, Any]
    left: Tensor
    right: Tensor
    streams: Tensor
    left_ids: Tensor
    right_ids: Tensor
    labels: Tensor
    left_alike: Tensor
    right_alike: Tensor
    rows: Tensor

    @classmethod
    def of_two(
        cls, left: tuple[str, Any], right: tuple[str, Any], *, left_ids: Tensor, right_ids: Tensor
    ) -> JointBatch:
        """Links of one stream whose items are in order: the i-th of one tower belongs to the i-th of another.

        Args:
            left: name of the first tower, and what its encoder takes of n items.
            right: of the second.
            left_ids: (n,) int64, equal for equal items, -1 for nobody's.
            right_ids: (n,) int64, likewise.
        """
        places = torch.arange(len(left_ids), device=left_ids.device)
        nobody = torch.full_like(left_ids, -1)
        return cls(
            dict([left, right]),
            places,
            places + len(places),
            torch.zeros_like(places),
            left_ids,
            right_ids,
            nobody,
            left_ids.unsqueeze(1),
            right_ids.unsqueeze(1),
            nobody,
        )

    def to(self, device: torch.device) -> JointBatch:
        """The same on a device; inputs are tuples of tensors."""
        inputs = {tower: tuple(part.to(device) for part in items) for tower, items in self.inputs.items()}
        return JointBatch(inputs, *(field.to(device) for field in self[1:]))

    def split(self, size: int) -> list[JointBatch]:
        """The batch in parts of at most `size` links, as even as can be, each with the items of its links alone.

        What `embed` makes of the parts, joined field by field, is what it makes of the whole.
        """
        count = -(-len(self.left) // size)
        if count <= 1:
            return [self]
        bounds = [len(self.left) * i // count for i in range(count + 1)]
        return [self._between(first, last) for first, last in pairwise(bounds)]

    def _between(self, first: int, last: int) -> JointBatch:
        inputs: dict[str, Any] = {}
        sides = torch.stack([self.left[first:last], self.right[first:last]])
        places, begin, kept = torch.full_like(sides, -1), 0, 0
        for tower, items in self.inputs.items():
            end = begin + len(items[0])
            here = ((sides >= begin) & (sides < end)).nonzero(as_tuple=True)
            count = len(here[0])
            if count:
                inputs[tower] = rows_of(items, sides[here] - begin)
                places[here] = torch.arange(kept, kept + count, device=sides.device)
            begin, kept = end, kept + count
        return JointBatch(inputs, places[0], places[1], *(field[first:last] for field in self[3:]))


class Embedded(NamedTuple):
    """n links, as the loss takes them; the fields that are not here explained are those of `JointBatch`.

    Attributes:
        left: (n, d), any length.
        right: (n, d), row i belongs to row i of the left ones.
    """

    left: Tensor
    right: Tensor
    streams: Tensor
    left_ids: Tensor
    right_ids: Tensor
    labels: Tensor
    left_alike: Tensor
    right_alike: Tensor
    rows: Tensor

    @property
    def present(self) -> list[int]:
        """The streams that have links here, ascending."""
        return sorted(set(self.streams.tolist()))

    def of(self, stream: int) -> Embedded:
        """The links of one stream."""
        own = (self.streams == stream).nonzero().squeeze(1)
        return Embedded(*(field.index_select(0, own) for field in self))

    def ignored(self, *, one_tower: bool) -> dict[str, Match]:
        """The pairs of a first and a second item of links of one stream that are no negatives, though not given as positive, by reason.

        Args:
            one_tower: whether first and second items are of one tower, so that one may be the other.
        """
        same = {
            "left": Match(self.left_alike, self.left_ids),
            "right": Match(self.right_alike, self.right_ids),
            "label": Match(self.labels, self.labels),
            "row": Match(self.rows, self.rows),
        }
        return same | ({"across": Match(self.left_alike, self.right_ids)} if one_tower else {})


class Joint(nn.Module, ABC):
    """Encoders of several modalities, each with a projection into one space.

    Args:
        towers: encoder by name; each gives (n, its dim). One that does not learn is a `learn.towers.frozen.Frozen`.
        projections: (n, dim of the encoder) to (n, d), by the same names.
        streams: names of the two towers of each kind of pairs; equal for two items of one tower.
        temperature: divides the cosines; the value at the first step, from `coldest` to `hottest`.
        learned: whether it is trained along within these bounds, for each stream its own.

    Attributes:
        coldest: lowest temperature, of the class.
        hottest: highest.
    """

    coldest: float
    hottest: float

    def __init__(
        self,
        towers: Mapping[str, nn.Module],
        projections: Mapping[str, nn.Module],
        streams: Sequence[tuple[str, str]],
        *,
        temperature: float,
        learned: bool = True,
    ) -> None:
        super().__init__()
        if not self.coldest <= temperature <= self.hottest:
            raise ValueError(f"temperature is {temperature}, and must be from {self.coldest} to {self.hottest}")
        self.towers, self.projections = _ByName(towers), _ByName(projections)
        self.streams = list(streams)
        logs = torch.full((len(self.streams),), temperature).log()
        self.log_temperature = nn.Parameter(logs, requires_grad=learned)

    @property
    def temperature(self) -> Tensor:
        """(streams,) the temperature of each."""
        return self.log_temperature.exp()

    def project(self, tower: str, vectors: Tensor) -> Tensor:
        """What an encoder gave (n, its dim), any length, in the common space: (n, d), any length."""
        projected: Tensor = self.projections[tower](unit(vectors))
        return projected

    def embed(self, batch: JointBatch) -> Embedded:
        """Step one: each item through its tower and into the common space."""
        made = [self.project(tower, self.towers[tower](inputs)) for tower, inputs in batch.inputs.items()]
        items = torch.cat(made)
        return Embedded(items[batch.left], items[batch.right], *batch[3:])

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Step two: the loss of each stream over its own links, weighted by their number; a scalar. All negatives are in the batch."""
        parts = [(embedded.of(stream), stream) for stream in embedded.present]
        losses = [len(part.left) * self.contrast(part, stream) for part, stream in parts]
        return torch.stack(losses).sum() / len(embedded.left)

    @abstractmethod
    def contrast(self, links: Embedded, stream: int) -> Tensor:
        """The mean loss over links that are all of one stream."""

    def ignored(self, links: Embedded, stream: int) -> dict[str, Match]:
        """The pairs that are no negatives among links of one stream, by reason."""
        left, right = self.streams[stream]
        return links.ignored(one_tower=left == right)

    def remember(self, embedded: Embedded) -> None:
        """Nothing."""

    @torch.no_grad()
    def follow(self, step: int, total_steps: int) -> None:
        """Bring the temperatures back into their bounds; before `embed`, at every step but the first."""
        bounds = torch.tensor([self.coldest, self.hottest]).log()
        self.log_temperature.clamp_(*bounds.tolist())


class _ByName(nn.ModuleDict):
    """Modules under any name, also under those that a `ModuleDict` has methods of: a tower may be called `values`."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        assert module is not None
        self._modules[name] = module
