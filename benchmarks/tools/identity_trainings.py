"""Trainings of benchmarks: a recipe on one cut of a data set, kept and taken again."""

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
    recipe: str,
    data: Path | Sequence[Path],
    folder: Path,
    stages: Stages,
    *,
    seed: int = 0,
    changes: Sequence[str] = (),
    quick: bool,
) -> tuple[Run, Bundle]:
    """Train a recipe on one file, or one of partners on several, unless `folder` has it already.

    Args:
        recipe: name of a file in `recipes/`.
        data: the Parquet file; of partners all of them, in the order of the recipe.
        folder: of the run.
        stages: told what is being done.
        seed: of the recipe.
        changes: further overrides.
        quick: eight steps only.

    Returns:
        The run and its bundle, which was measured on export.
    """
    run = fitted(recipe, data, folder, stages, seed=seed, changes=changes, quick=quick)
    bundle = folder / "bundle"
    return run, Bundle.open(bundle) if (bundle / "manifest.json").is_file() else run.export(stages=stages)


def fitted(
    recipe: str,
    data: Path | Sequence[Path],
    folder: Path,
    stages: Stages,
    *,
    seed: int = 0,
    changes: Sequence[str] = (),
    quick: bool,
) -> Run:
    """The same without the bundle: see `trained`."""
    if (folder / "fit.json").is_file():
        return Run.open(folder)
    if (folder / "recipe.yaml").is_file():
        return road.resume(folder, stages=stages)
    paths = (
        [f"data.source.path={data}"]
        if isinstance(data, Path)
        else [f"data.source.files.{place}.path={path}" for place, path in enumerate(data)]
    )
    overrides = [*changes, *paths, f"seed={seed}", *(QUICK if quick else ())]
    return road.train(RECIPES / recipe, folder, overrides=overrides, stages=stages)
