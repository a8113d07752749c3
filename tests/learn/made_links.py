"""A small corpus of three towers, whose items are vectors in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nearfar.learn.data.joint import Ints, JointCorpus, JointCounts, Sides, Stream
from nearfar.learn.data.split import TRAIN, VALIDATION
from nearfar.learn.encoders.projection import build_projection
from nearfar.learn.methods.joint import Joint
from nearfar.learn.towers.frozen import Frozen
from nearfar.learn.towers.tower import Inputs

WIDTHS = {"text": 6, "image": 5, "audio": 4}
SPACE = 8


class MadeItems:
    """Vectors of a tower, which noise is put on in training."""

    def __init__(self, vectors: np.ndarray[Any, Any], noise: float = 0.0) -> None:
        self.vectors, self.noise = vectors.astype(np.float64), noise
        self.keys: Ints = np.arange(len(vectors))
        self.frontend: Any = None
        self.files: Mapping[str, bytes] = {}
        self.counts: Mapping[str, int] = {}

    def __len__(self) -> int:
        return len(self.vectors)

    def inputs(self, numbers: Ints, rng: np.random.Generator) -> Inputs:
        drawn = rng.normal(size=(len(numbers), self.vectors.shape[1]))
        return (torch.from_numpy(self.vectors[numbers] + self.noise * drawn),)

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        # Out of order, as towers are that sort by length.
        for places in np.split(np.argsort(-numbers), range(at_a_time, len(numbers), at_a_time)):
            yield places, (torch.from_numpy(self.vectors[numbers[places]]),)

    def raw(self, numbers: Ints) -> list[Any]:
        return list(self.vectors[numbers])


class Linear(nn.Module):
    """An encoder of such items, with a norm over the others of the batch if so wished."""

    def __init__(self, width: int, dim: int, *, norm: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.norm = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.map = nn.Linear(width, dim)

    def forward(self, inputs: Inputs) -> Tensor:
        mapped: Tensor = self.map(self.norm(inputs[0]))
        return torch.tanh(mapped)


def made_corpus(rows: list[dict[str, list[int]]], streams: list[Stream], **fields: Any) -> JointCorpus:
    """A corpus of rows: tower to the numbers of its items.

    Args:
        rows: what stands in each.
        streams: kinds of pairs.
        fields: `side`, `files`, `labels` and `alike` where they are not the plain ones.
    """
    sides = {}
    for tower in WIDTHS:
        listed = [row.get(tower, []) for row in rows]
        starts = np.concatenate([[0], np.cumsum([len(some) for some in listed])])
        items = np.array([item for some in listed for item in some], np.int64)
        sides[tower] = Sides(starts, items, np.zeros_like(items))
    labels = np.array(fields.get("labels", [-1] * len(rows)), np.int64)
    side = np.array(fields.get("side", [TRAIN] * len(rows)), np.int8)
    held = int((side == VALIDATION).sum())
    many = {tower: len(np.unique(own.items)) for tower, own in sides.items()}
    names = [str(number) for number in range(int(labels.max(initial=-1)) + 1)]
    counts = JointCounts(len(rows), len(rows) - held, held, 0, 0, many, streams, names, {}, 0, "")
    files = np.array(fields.get("files", [0] * len(rows)), np.int64)
    return JointCorpus(side, files, labels, sides, fields.get("alike", {}), counts)


def pairs_corpus(count: int = 40, labels: int = 0, **fields: Any) -> JointCorpus:
    """Each row a picture and two texts, every other one a recording besides, which belongs to a text alone."""
    rows = [
        {"text": [2 * i, 2 * i + 1], "image": [i]} | ({"audio": [i // 2]} if i % 2 == 0 else {}) for i in range(count)
    ]
    streams = [Stream(0, "text", "image", 1.0), Stream(0, "text", "audio", 1.0), Stream(0, "text", "text", 0.5)]
    if labels:
        fields["labels"] = [i % labels for i in range(count)]
    return made_corpus(rows, streams, **fields)


def made_items(corpus: JointCorpus, *, seed: int = 0, noise: float = 0.0) -> dict[str, MadeItems]:
    """Items of every tower: what is in a row shows what the row is, each tower by a map of its own."""
    rng = np.random.default_rng(seed)
    meaning = rng.normal(size=(len(corpus.files), 3))
    made = {}
    for tower, width in WIDTHS.items():
        sides = corpus.sides[tower]
        vectors = 0.05 * rng.normal(size=(int(sides.items.max(initial=0)) + 1, width))
        rows = np.repeat(np.arange(len(corpus.files)), np.diff(sides.starts))
        vectors[sides.items] += meaning[rows] @ rng.normal(size=(3, width))
        made[tower] = MadeItems(vectors, noise)
    return made


def made_method(
    kind: type[Joint],
    corpus: JointCorpus,
    *,
    seed: int = 0,
    norm: bool = False,
    frozen: Collection[str] = (),
    **keys: Any,
) -> Any:
    """A method over linear encoders, in float64."""
    torch.manual_seed(seed)
    towers: dict[str, torch.nn.Module] = {}
    for tower, width in WIDTHS.items():
        towers[tower] = Linear(width, 7, norm=norm and tower == "image")
        if tower in frozen:
            towers[tower] = Frozen(towers[tower], stored=False)
    kinds = zip(WIDTHS, ("linear", "mlp", "linear"), strict=True)
    projections = {tower: build_projection(how, 7, SPACE) for tower, how in kinds}  # type: ignore[arg-type]
    streams = [(stream.left, stream.right) for stream in corpus.counts.streams]
    return kind(towers, projections, streams, **keys).double()
