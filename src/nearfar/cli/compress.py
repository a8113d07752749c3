"""`nearfar compress`: a smaller bundle of a finished run, with what every step costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli.options import Overrides
from nearfar.errors import RecipeError


def compress(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory of the bundle; by default RUN/bundle.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Make the bundle of a finished run small, step by step; one that costs too much is left out.

    The steps are those of the recipe's compress block, or of --set: `--set compress.limit=0.01
    --set 'compress.steps=[{kind: vocabulary}, {kind: weights, format: int4}]'`. Without either, the weights go to int8.
    """
    from nearfar.cli.console import notes, progress_lines
    from nearfar.cli.train import show_bundle
    from nearfar.recipe import load_recipe
    from nearfar.recipe.compress import Compress
    from nearfar.road import Run

    for override in overrides or ():
        if override.partition("=")[0].strip().split(".")[0] != "compress":
            raise RecipeError(f"--set {override}: the run is trained already; only keys of compress can be set here")
    opened = Run.open(run)
    steps = load_recipe(run / "recipe.yaml", overrides or ()).compress or Compress()
    with progress_lines() as stages:
        bundle = opened.export(output, compress=steps, stages=stages)
    show_bundle(bundle, run)
    if all(step.quality is None for step in bundle.manifest.compression):
        notes.print(
            "warning: nothing was held out for validation, so every step was kept, whatever it costs: "
            "train with data.split.validation above 0",
            style="yellow",
            soft_wrap=True,
        )
