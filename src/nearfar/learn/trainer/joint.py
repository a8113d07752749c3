"""What happens around a step over partners of several modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from nearfar.learn.data.joint import JointCorpus
from nearfar.learn.data.joint_batches import Ints, Links
from nearfar.learn.losses import Match, Negatives
from nearfar.learn.methods.joint import Embedded, Joint, JointBatch
from nearfar.learn.methods.siglip import SigLip
from nearfar.learn.negatives.ledger import Group, ledger
from nearfar.learn.towers.tower import Inputs, Items

_CHANGED = 6
"""How items are changed; told apart from the other draws of a seed."""


class ChoosesLinks(Protocol):
    """Puts other links in the place of some that chance has drawn."""

    @property
    def sources(self) -> nn.Module:
        """What of it belongs into a checkpoint."""
        ...

    def chosen(self, links: Links, step: int) -> Links:
        """The batch of a step, the same on every rank."""
        ...


class JointSteps:
    """Makes of the numbers of links what the towers take, and says what was no negative.

    Args:
        method: what is trained.
        corpus: labels, and which texts say the same.
        items: by tower.
        seed: of how items are changed.
        total_steps: of the whole run.
        hard: chooses links beside chance.

    Attributes:
        sources: what `hard` remembers.
    """

    def __init__(
        self,
        method: Joint,
        corpus: JointCorpus,
        items: Mapping[str, Items],
        *,
        seed: int,
        total_steps: int,
        hard: ChoosesLinks | None = None,
    ) -> None:
        self.method, self.corpus, self.items = method, corpus, items
        self.seed, self.total_steps, self.hard = seed, total_steps, hard
        self.sources = nn.Module() if hard is None else hard.sources
        self._note = ""

    @property
    def note(self) -> str:
        """The share of pairs that were no negatives, as of the last ledger; empty before the first."""
        return self._note

    def before(self, links: Links, step: int) -> JointBatch:
        """What the towers take of this rank's links, on the device where they are."""
        if step:
            self.method.follow(step, self.total_steps)
        device = links.rows.device
        if self.hard is not None:
            links = self.hard.chosen(links, step)
        return self._made(links).to(device)

    def _made(self, links: Links) -> JointBatch:
        streams, rows, left, right = links.own
        sides = np.stack([left, right])
        names = list(self.items)
        tower_of = np.array([[names.index(stream[side]) for stream in self.method.streams] for side in (0, 1)])
        towers = tower_of[:, streams]
        inputs: dict[str, Inputs] = {}
        places, count = np.empty_like(sides), 0
        for tower, name in enumerate(names):
            here = towers == tower
            if here.any():
                # How many ranks there are changes what is drawn, and no two ranks draw alike.
                rng = np.random.default_rng([self.seed, _CHANGED, links.step, tower, links.rank, links.world])
                # What stands in several links is embedded once.
                numbers, own = np.unique(sides[here], return_inverse=True)
                inputs[name] = self.items[name].inputs(numbers, rng)
                places[here] = count + own
                count += len(numbers)
        alike = [self._alike(sides[side], towers[side], names) for side in (0, 1)]
        fields = (*places, streams, left, right, self.corpus.labels[rows], *alike, rows)
        return JointBatch(inputs, *map(torch.from_numpy, fields))

    def _alike(self, items: Ints, towers: Ints, names: Sequence[str]) -> Ints:
        """For each item those that say the same, itself first: (n, p), filled up with -1."""
        lists = {number: self.corpus.alike[name] for number, name in enumerate(names) if name in self.corpus.alike}
        width = max([1, *(lists[number].shape[1] for number in set(towers.tolist()) & lists.keys())])
        alike = np.full((len(items), width), -1, np.int64)
        alike[:, 0] = items
        for number, listed in lists.items():
            here = towers == number
            if here.any():
                alike[here, : listed.shape[1]] = listed[items[here]]
        return alike

    def given(self, embedded: Embedded, step: int) -> tuple[Embedded, Sequence[Any]]:
        """Nothing besides the batch."""
        return embedded, ()

    def for_loss(self, embedded: Embedded, sources: Sequence[Any]) -> tuple[Negatives, ...]:
        """Nothing."""
        return ()

    def remember(self, batch: JointBatch, embedded: Embedded, step: int) -> None:
        """Nothing."""

    @torch.no_grad()
    def ledger(self, embedded: Embedded, sources: Sequence[Any]) -> dict[str, float]:
        """By stream: temperature, what its negatives weigh, and which share of them was left out for which reason."""
        figures: dict[str, float] = {}
        ignored, pairs = 0.0, 0
        for stream in embedded.present:
            links, (left, right) = embedded.of(stream), self.method.streams[stream]
            name, count = f"{stream}_{left}_{right}", len(links.left)
            own = Match.places(torch.arange(count, device=links.left.device), count)
            group = Group(name, links.right, (("positive", own), *self.method.ignored(links, stream).items()))
            temperature = self.method.temperature[stream]
            weighed = ledger(links.left, links.right, [group], temperature=temperature)
            share = weighed.sources[name]
            figures |= {
                f"streams/{name}/temperature": float(temperature),
                f"streams/{name}/positive_similarity": weighed.positive_similarity,
                f"streams/{name}/negative_similarity": share.similarity,
                f"streams/{name}/positive_mass": weighed.positive_mass,
            }
            without = {reason: part for reason, part in share.ignored.items() if reason != "positive"}
            figures |= {f"streams/{name}/ignored_{reason}": part for reason, part in without.items()}
            if isinstance(self.method, SigLip):
                figures[f"streams/{name}/bias"] = float(self.method.bias[stream])
            ignored, pairs = ignored + sum(without.values()) * count**2, pairs + count**2
        self._note = f"no negatives {ignored / pairs:.0%}" if ignored else ""
        return figures
