"""Trainings of benchmarks/identity.py: a recipe on one cut of a data set, kept and taken again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nearfar import road
from nearfar.bundle import Bundle
from nearfar.progress import Stages
from nearfar.road.run import Run

RECIPES = Path(__file__).parent.parent.parent / "recipes"

QUICK = ("train.max_steps=8",)
"""Enough to show that everything runs."""


def trained(
    recipe: str, data: Path, folder: Path, stages: Stages, *, seed: int = 0, changes: Sequence[str] = (), quick: bool
) -> tuple[Run, Bundle]:
    """Train a recipe on one file, unless `folder` has it already.

    Args:
        recipe: name of a file in `recipes/`.
        data: the Parquet file.
        folder: of the run.
        stages: told what is being done.
        seed: of the recipe.
        changes: further overrides.
        quick: eight steps only.

    Returns:
        The run and its bundle, which was measured on export.
    """
    bundle = folder / "bundle"
    if (folder / "fit.json").is_file() and (bundle / "manifest.json").is_file():
        return Run.open(folder), Bundle.open(bundle)
    overrides = [*changes, f"data.source.path={data}", f"seed={seed}", *(QUICK if quick else ())]
    if folder.exists() and (folder / "recipe.yaml").is_file():
        run = road.resume(folder, stages=stages)
    else:
        run = road.train(RECIPES / recipe, folder, overrides=overrides, stages=stages)
    return run, run.export(stages=stages)
