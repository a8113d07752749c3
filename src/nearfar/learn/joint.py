"""Partners of several modalities as a workload: what a run directory holds of them, and what a fit trains on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nearfar.embedder import Side
from nearfar.errors import DataError, RunError
from nearfar.learn.data.joint import JointCorpus, prepare_joint
from nearfar.learn.data.joint_batches import Ints, JointRows
from nearfar.learn.encoders.projection import build_projection
from nearfar.learn.methods.clip import Clip
from nearfar.learn.methods.joint import Joint
from nearfar.learn.methods.siglip import SigLip
from nearfar.learn.towers.build import build_towers
from nearfar.learn.towers.tower import Items, Tower
from nearfar.learn.trained import Trained
from nearfar.learn.trainer.fit import load_weights, planned_steps
from nearfar.learn.trainer.hard_pairs import HardPairs
from nearfar.learn.trainer.joint import JointSteps
from nearfar.learn.trainer.joint_figures import JointFigures, embed_items
from nearfar.learn.trainer.workload import Workload
from nearfar.progress import Stages
from nearfar.recipe import Recipe
from nearfar.recipe.joint import AnyTower, TextTower
from nearfar.recipe.joint import SigLip as SigLipSettings
from nearfar.recipe.text import StaticEncoder


@dataclass(frozen=True)
class PreparedJoint:
    """The partners of a run.

    Attributes:
        directory: where they lie.
        corpus: which items belong together.
    """

    directory: Path
    corpus: JointCorpus

    @classmethod
    def open(cls, directory: Path) -> PreparedJoint:
        """Open what `prepare` left in a run directory."""
        return cls(directory / "data", JointCorpus.open(directory / "data"))

    @classmethod
    def prepare(cls, recipe: Recipe, directory: Path, stages: Stages) -> PreparedJoint:
        """Read the tables of a recipe; what is finished is taken up as it is.

        Raises:
            DataError: where the data cannot be used.
            RunError: a model, bundle or run that a tower starts from is not there, or does not fit.
        """
        data = directory / "data"
        if (data / "joint.json").is_file():
            return cls.open(directory)
        for tower in build_towers(recipe.of_joint.towers).values():
            tower.check()
        return cls(data, prepare_joint(recipe, data, stages))

    def items(self, towers: Mapping[str, Tower]) -> dict[str, Items]:
        """The items of each tower."""
        return {name: tower.open(self.directory / "towers" / name) for name, tower in towers.items()}

    def workload(self, recipe: Recipe, *, threads: int, say: Callable[[str], None]) -> Workload:
        """What a fit works on; see `Prepared`."""
        towers = build_towers(recipe.of_joint.towers)
        items = self.items(towers)
        _, pairing, *_ = recipe.of_joint
        rows = JointRows.of(self.corpus, batch_size=recipe.train.batch_size, seed=recipe.seed, per_row=pairing.per_row)
        for some, size in zip(rows.streams, rows.sizes, strict=True):
            if not size:
                say(
                    f"{some.stream.left} and {some.stream.right} have {len(some.rows)} training rows: too few to learn from"
                )
        steps = planned_steps(recipe, len(rows))
        method = build_method(recipe, self.corpus, towers, items)
        validation = JointFigures(self.corpus, items, seed=recipe.seed)
        if recipe.train.early_stop is not None and not validation.has_pairs:
            raise DataError(
                "train.early_stop watches recall, which needs at least two validation rows with the same two sides: raise "
                "data.split.validation, or set train.early_stop to null"
            )
        hard = None
        if (settings := recipe.of_joint.method.hard) is not None:
            hard = HardPairs(settings, rows, self.corpus, items, method, total_steps=steps, threads=threads, say=say)
        return Workload(
            rows,
            method,
            steps,
            JointSteps(method, self.corpus, items, seed=recipe.seed, total_steps=steps, hard=hard),
            validation if validation.has_pairs else None,
            shown="recall_at_10",
            groups=[
                (method.towers[name], tower.rate) for name, tower in recipe.of_joint.towers.items() if tower.rate != 1
            ],
        )

    def trained(self, recipe: Recipe, directory: Path) -> TrainedJoint:
        """The finished run that they belong to."""
        return TrainedJoint(directory, recipe, self)


@dataclass(frozen=True)
class TrainedJoint(Trained[JointCorpus]):
    """A finished run over partners of several modalities."""

    prepared: PreparedJoint

    @property
    def skipped(self) -> tuple[dict[str, int], list[str]]:
        """What the reader passed over, and how many rows it left out because they lack sides."""
        skipped, examples = super().skipped
        alone = self.corpus.counts.alone
        return skipped | ({"rows with fewer than two sides that can be used": alone} if alone else {}), examples

    @cached_property
    def items(self) -> dict[str, Items]:
        """The items of each tower."""
        return self.prepared.items(self.towers())

    def towers(self) -> dict[str, Tower]:
        """The towers of the recipe, by name, in its order."""
        return build_towers(self.recipe.of_joint.towers)

    def tower(self, name: str) -> Tower:
        """One of them."""
        return self.towers()[name]

    def method(self) -> Joint:
        """The trained method, with the best weights of the run."""
        # Not from where encoders started, which may be gone by now: all weights are in the checkpoint.
        method = build_method(self.recipe, self.corpus, self.towers(), self.items, started=False)
        load_weights(method, self.directory / "checkpoints" / "best.ckpt")
        return method.eval()

    def embedder(self, tower: str, method: Joint | None = None) -> TowerEmbedder:
        """A trained tower in float.

        Args:
            tower: its name.
            method: what `method()` gave, where it is there already.
        """
        return self._embedding(tower, method or self.method())

    def untrained(self, tower: str) -> TowerEmbedder:
        """The same tower as it was before the first step."""
        return self._embedding(tower, build_method(self.recipe, self.corpus, self.towers(), self.items))

    def _embedding(self, tower: str, method: Joint) -> TowerEmbedder:
        return TowerEmbedder(method, tower, self.items[tower], dim=self.recipe.of_joint.encoder.dim)


class TowerEmbedder:
    """A tower in torch as an Embedder whose items are numbers: what the bundle is compared with.

    Args:
        method: what embeds.
        tower: name of the tower.
        items: its items.
        dim: components of the common space.
    """

    def __init__(self, method: Joint, tower: str, items: Items, *, dim: int) -> None:
        self.method, self.tower, self.items, self.dim = method, tower, items, dim

    def embed(self, items: Sequence[int] | Ints, side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed items by their numbers; float32 (n, dim), rows of unit length."""
        del side
        numbers = np.asarray(items, np.int64)
        if not len(numbers):
            return np.zeros((0, self.dim), np.float32)
        return embed_items(self.method, self.tower, self.items, numbers)


def build_method(
    recipe: Recipe,
    corpus: JointCorpus,
    towers: Mapping[str, Tower],
    items: Mapping[str, Items],
    *,
    started: bool = True,
) -> Joint:
    """The method of a recipe with fresh weights, drawn from the recipe's seed.

    Args:
        recipe: what to do.
        corpus: for the kinds of pairs.
        towers: of the recipe.
        items: of each tower, for what was fitted.
        started: encoders have the weights that the recipe says to start from.

    Raises:
        RunError: these cannot be had or do not fit, or an encoder without projection gives another number of components.
    """
    _, _, blocks, space, settings = recipe.of_joint
    torch.manual_seed(recipe.seed)
    # All of one tower before all of another, so that a further one leaves the weights of those before it as they are.
    encoders: dict[str, nn.Module] = {}
    projections: dict[str, nn.Module] = {}
    for name, tower in towers.items():
        encoders[name] = tower.encoder(items[name], dim=space.dim, started=started)
        projections[name] = _projection(name, blocks[name], int(encoders[name].dim), space.dim)  # type: ignore[arg-type]
    streams = [(stream.left, stream.right) for stream in corpus.counts.streams]
    first, learned = settings.temperature.initial, settings.temperature.learned
    if isinstance(settings, SigLipSettings):
        return SigLip(encoders, projections, streams, temperature=first, learned=learned, bias=settings.bias)
    return Clip(encoders, projections, streams, temperature=first, learned=learned)


def _projection(name: str, tower: AnyTower, given: int, dim: int) -> nn.Module:
    kind = tower.projection
    if kind == "auto":
        in_space = isinstance(tower, TextTower) and isinstance(tower.encoder, StaticEncoder) and given == dim
        kind = "none" if in_space else "linear"
    if kind == "none" and given != dim:
        raise RunError(
            f"towers.{name}.projection is none, but its encoder gives {given} components, and encoder.dim is {dim}: set encoder.dim to "
            f"{given}, or the projection to linear"
        )
    return build_projection(kind, given, dim)
