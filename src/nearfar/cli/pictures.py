"""`nearfar views` and `nearfar finetune`: commands for pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli.options import Overrides


def views(
    recipe: Annotated[Path, typer.Argument(help="A recipe for pictures (YAML).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG file to write.")] = Path("views.png"),
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("--count", min=1, max=100, help="Pictures, one a row.")] = 8,
    columns: Annotated[int, typer.Option("--columns", min=1, max=50, help="Views of each, besides local ones.")] = 6,
) -> None:
    """Look at what a method will compare: the first pictures of a recipe, and views of each."""
    from nearfar.cli.console import out
    from nearfar.recipe import load_recipe
    from nearfar.road import show_views

    grid = show_views(load_recipe(recipe, overrides or ()), output, count=count, columns=columns)
    shown = f"{output}  ({grid.shape[1]} x {grid.shape[0]} pixels; the originals are on the left)"
    out.print(shown, markup=False, soft_wrap=True)


def finetune(
    run: Annotated[Path, typer.Argument(help="A finished run over pictures, whose encoder is the start.")],
    labelled: Annotated[
        Path | None,
        typer.Argument(
            help="Pictures with labels: a folder with a folder for each, or a Parquet file with a column `label`; by default "
            "those of the run."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory of the new run; by default runs/NAME-DATE-TIME.")
    ] = None,
    overrides: Overrides = None,
    per_class: Annotated[
        int | None, typer.Option("--per-class", min=1, help="Learn from so many labels a class only.")
    ] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Train the linear layer alone; the encoder stays as it is.")
    ] = False,
    export: Annotated[
        bool, typer.Option("--export/--no-export", help="Make the bundle when training has ended.")
    ] = True,
) -> None:
    """Teach a trained encoder labels, few or many; the bundle then also classifies."""
    from nearfar import road
    from nearfar.cli.console import progress_lines, show_skipped
    from nearfar.cli.train import show_bundle

    changes = [*(["method.frozen=true"] if frozen else []), *(overrides or ())]
    if per_class is not None:
        changes.append(f"data.labels_per_class={per_class}")
    with progress_lines() as stages:
        new = road.finetune(run, labelled, output, overrides=changes, stages=stages)
        bundle = new.export(stages=stages) if export else None
    show_skipped(*new.skipped)
    if bundle is not None:
        show_bundle(bundle, new.directory)
