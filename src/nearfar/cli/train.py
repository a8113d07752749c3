"""`nearfar train`, `nearfar export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nearfar.cli.options import Overrides
from nearfar.errors import RecipeError

if TYPE_CHECKING:
    from nearfar.bundle import Bundle


def train(
    recipe: Annotated[Path | None, typer.Argument(help="The recipe (YAML).")] = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory of the run; by default runs/NAME-DATE-TIME.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with an interrupted or killed run.")
    ] = None,
    export: Annotated[
        bool, typer.Option("--export/--no-export", help="Make the bundle when training has ended.")
    ] = True,
) -> None:
    """Train what a recipe describes, measure it on what was held out, and make a bundle."""
    from nearfar import road
    from nearfar.cli.console import progress_lines, show_recognised, show_skipped

    if (recipe is None) == (resume is None):
        raise RecipeError("give a recipe to train, or --resume RUN to go on with a run (and not both)")
    if resume is not None and (overrides or output is not None):
        raise RecipeError("--resume goes on with the run as it was begun: it takes no --set and no -o")
    with progress_lines() as stages:
        if resume is not None:
            run = road.resume(resume, stages=stages)
        else:
            assert recipe is not None
            run = road.train(recipe, output, overrides=overrides or (), stages=stages)
        bundle = run.export(stages=stages) if export else None
    show_recognised(run.recognised)
    show_skipped(*run.skipped)
    if bundle is not None:
        show_bundle(bundle, run.directory)


def export(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory of the bundle; by default RUN/bundle.")
    ] = None,
    dim: Annotated[int | None, typer.Option("--dim", help="Keep only the first so many components.")] = None,
    quantise: Annotated[
        str | None, typer.Option("--quantise", help="int8 or none; by default as the recipe says.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the blocks watch, export and evaluate, which need no training: watch.false_alarms_per_day=2.",
        ),
    ] = None,
) -> None:
    """Make the bundle of a finished run: int8 graphs, learned fusion, figures, card."""
    from nearfar.cli.console import progress_lines
    from nearfar.road import Run

    with progress_lines() as stages:
        bundle = Run.open(run).export(output, dim=dim, quantise=quantise, overrides=overrides or (), stages=stages)
    show_bundle(bundle, run)


def show_bundle(bundle: Bundle, run: Path) -> None:
    """Print the figures of a bundle, what made it small, and where it is."""
    from nearfar.cli.compression_table import show_steps
    from nearfar.cli.console import figures_table, out, show_broken_promise
    from nearfar.road.teacher import teacher_folder

    if bundle.manifest.compression:
        show_steps(bundle.manifest)
    if bundle.manifest.frontend.kind == "table":
        show_columns(bundle)
    if bundle.manifest.recommender is not None:
        show_recommender(bundle)
    if bundle.manifest.metrics:
        out.print()
        out.print(figures_table(bundle.manifest.metrics))
    encoder = f"{bundle.manifest.dim} dimensions" if bundle.manifest.towers else "no encoder"
    size = f"{bundle.size_bytes / 1e6:.2f} MB, {encoder}"
    lines = [f"\nbundle  {bundle.path}  ({size})", f"run     {run}"]
    if bundle.manifest.teacher is not None:
        lines.append(f"\nnext:   nearfar index {bundle.path} FOLDER --teacher {teacher_folder(run)} -o my.index")
    elif bundle.manifest.frontend.kind == "text":
        lines.append(f"\nnext:   nearfar index {bundle.path} docstrings -o docs.index")
    elif bundle.manifest.kind == "series-monitor":
        lines.append(
            f"\nnext:   nearfar replay {bundle.path} DATA -o replay.html, or nearfar monitor {bundle.path} --from live.csv"
        )
    elif bundle.manifest.joint is not None:
        lines += _next_of_joint(bundle)
    elif bundle.manifest.frontend.kind == "table":
        lines.append(f"\nnext:   nearfar similar {bundle.path} TABLE --row 2, or nearfar dedupe {bundle.path} TABLE")
    elif bundle.manifest.recommender is not None:
        lines.append(f"\nnext:   nearfar record HISTORY ITEM --bundle {bundle.path}, then nearfar recommend HISTORY")
    elif bundle.manifest.verification is not None:
        threshold = bundle.manifest.verification.threshold
        first = f"nearfar enroll VAULT NAME SAMPLES --bundle {bundle.path}"
        calibrated = f"nearfar calibrate {bundle.path} PEOPLE -o NEW, which sets the threshold; then nearfar enroll"
        lines.append(f"\nnext:   {calibrated if threshold is None else first}")
    elif bundle.manifest.frontend.kind == "image" and not bundle.manifest.classes:
        lines.append(f"\nnext:   nearfar finetune {run} LABELLED-FOLDER --per-class 10")
    show_broken_promise(bundle.manifest.detector)
    for line in lines:  # with paths in them, which are to be copied as they are
        out.print(line, markup=False, soft_wrap=True)


def _next_of_joint(bundle: Bundle) -> list[str]:
    """How the items of several modalities are indexed and found, and which tower did not ship in int8."""
    from nearfar.bundle import joint_card
    from nearfar.frontend.settings import JointSettings

    frontend = bundle.manifest.frontend
    assert isinstance(frontend, JointSettings)
    record = joint_card.record_of(bundle.manifest)
    lines = [
        f"tower   {one.tower} ships in float: in int8 it would have kept only a cosine of {one.int8_cosine:.3f}"
        for one in record.graphs
        if one.int8_cosine is not None
    ]
    return [
        *lines,
        f"\nnext:   nearfar index {bundle.path} FOLDER -o my.index",
        f"        nearfar search my.index {joint_card.example_query(frontend)} --page hits.html",
    ]


def show_columns(bundle: Bundle) -> None:
    """What the columns of a table were taken for."""
    from nearfar.bundle import table_card
    from nearfar.cli.console import out, pairs_table
    from nearfar.frontend.settings import TableSettings

    assert isinstance(bundle.manifest.frontend, TableSettings)
    out.print()
    out.print(pairs_table(table_card.rows(bundle.manifest.frontend)))


def show_recommender(bundle: Bundle) -> None:
    """Print how a recommender ranks, and what no rule let into its training."""
    from nearfar.bundle import recommender_card
    from nearfar.cli.console import out, pairs_table

    manifest = bundle.manifest
    counts = {
        name.removeprefix("dropped: "): f"{count:,} events were no evidence"
        for name, count in manifest.provenance.data_counts.items()
        if name.startswith("dropped: ")
    }
    out.print()
    out.print(
        pairs_table([*recommender_card.recommender_rows(recommender_card.recommender_of(manifest)), *counts.items()])
    )
