"""What each part of benchmarks/crossmodal.py trains, and what stands beside the bundle."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle
from nearfar.edge import Encoder
from nearfar.progress import Stages
from nearfar.road.run import training_wing
from tools.crossmodal_ranking import Floats
from tools.identity_trainings import fitted, trained
from tools.text_state import State

Vectors = npt.NDArray[np.float32]
Embed = Callable[[str, Sequence[Any]], Vectors]
"""Name of a tower, and items for it -> unit vectors (n, d)."""

BESIDE = ("untrained", "float")
"""Systems that are measured beside the bundle, with the first seed alone."""

_NO_STEP = ("train.max_steps=1", "train.learning_rate=1e-12", "evaluate.bootstrap=0")
_QUICK = ("train.max_steps=4", "train.batch_size=32", "evaluate.bootstrap=10")


def systems(
    recipe: str,
    files: Sequence[Path],
    folder: Path,
    stages: Stages,
    *,
    seed: int,
    changes: Sequence[str] = (),
    beside: bool,
    quick: bool,
    timed: Callable[[float, float], None] | None = None,
) -> Iterator[tuple[str, Embed]]:
    """Train a recipe, unless `folder` has it already, and yield what embeds.

    Args:
        recipe: name of a file in `recipes/`.
        files: tables of partners, in the order of the recipe.
        folder: of the runs.
        stages: told what is being done.
        seed: of the recipe.
        changes: further overrides.
        beside: also what stands beside the bundle: `untrained`, the same bundle after one step of no length, and `float`, the trained one
            in 32-bit numbers.
        quick: a few steps only.
        timed: told the seconds of the training, and the processor seconds of it and of what prepares the data, where both are done now.

    Yields:
        Name, empty for the bundle, and what embeds through the runtime of the device.
    """
    run = folder / f"seed_{seed}"
    changes = [*changes, *(_QUICK if quick else ())]
    if timed is not None and not (run / "fit.json").is_file():
        training_wing()  # imports take seconds, too
        before = _processor_seconds()
        done = fitted(recipe, files, run, stages, seed=seed, changes=changes, quick=False)
        timed(_wall_seconds(done.directory), _processor_seconds() - before)
    done, bundle = trained(recipe, files, run, stages, seed=seed, changes=changes, quick=False)
    yield "", embed_of(bundle)
    if not beside:
        return
    stages("training not at all")
    _, start = trained(
        recipe, files, folder / "untrained", stages, seed=seed, changes=[*changes, *_NO_STEP], quick=False
    )
    yield "untrained", embed_of(start)
    target = folder / "float"
    if (target / "manifest.json").is_file():
        yield "float", embed_of(Bundle.open(target))
    else:
        overrides = ["evaluate.bootstrap=0"]
        yield "float", embed_of(done.export(target, quantise="none", overrides=overrides, stages=stages))


def embed_of(bundle: Bundle) -> Embed:
    """By the towers of a bundle, as a device runs them."""

    @cache
    def encoder(tower: str) -> Encoder:
        return Encoder.open(bundle, tower=tower)

    def embed(tower: str, items: Sequence[Any]) -> Vectors:
        return encoder(tower).embed(items)

    return embed


def named(prefix: str, system: str, key: str) -> str:
    """The key of a figure: that of the bundle has no name of a system in it."""
    return "_".join(part for part in (prefix, system, key) if part)


def keep(state: State, key: str, values: Floats, *, part: str = "all", seed: int) -> None:
    """Note what the queries of one figure found.

    Args:
        state: where to.
        key: of the figure.
        values: (q,), from 0 to 1.
        part: which queries, where runs have different ones.
        seed: of the run.
    """
    state.keep("share", f"{part}_seed_{seed}", values, group=key)


def _wall_seconds(run: Path) -> float:
    return float(json.loads((run / "fit.json").read_text("utf-8"))["seconds"])


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
