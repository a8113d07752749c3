"""`nearfar train`, `nearfar export`, `nearfar evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nearfar.cli import stream_options
from nearfar.cli.fitting import refuse_options
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


_EVALUATED = ("bundle", "pairs", "json_output")
_OF_PEOPLE = ("plot", "samples", "attacks", "item", "session", "attribute", "split", "label", "threshold")
_OF_RECOMMENDERS = ("user", "item", "time")
_OF_MONITORS = ("label", "threshold", *stream_options.NAMES)


def evaluate(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    pairs: Annotated[
        Path,
        typer.Argument(
            help="Table of held-out pairs (.jsonl, .csv, .parquet); of a monitor labelled samples; of a recommender an event log; of an encoder of "
            "identities a folder with a folder for each, or a table."
        ),
    ],
    query: Annotated[str, typer.Option(help="Column with the queries.")] = "query",
    positive: Annotated[str, typer.Option(help="Column with what each should find: a text or a list.")] = "positive",
    json_output: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Of identities: draw the DET curve as .png or .html.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Of identities: samples that each is enrolled with.")
    ] = None,
    attacks: Annotated[bool, typer.Option("--attacks/--no-attacks", help="Of identities: attack as well.")] = True,
    item: Annotated[
        str | None,
        typer.Option(
            "--item",
            help="Of a table of identities: column with the picture or recording; of an event log: with what was acted on.",
        ),
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Of an event log: column that says who acted.")] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", help="Of a table of identities: column that says what was taken in one go."),
    ] = None,
    attribute: Annotated[
        str | None,
        typer.Option("--attribute", help="Of a table of identities: column whose groups are told apart (sex, camera)."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Of a table of identities: column with the split; `train` is left out."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            help="Column that is not 0 where a fault is known, by default `label` or `anomaly`; of identities who it is.",
        ),
    ] = None,
    threshold: stream_options.Threshold = None,
    time: stream_options.Time = None,
    channel: stream_options.Channel = None,
    value: stream_options.Value = None,
    machine_column: stream_options.MachineColumn = None,
    machine: stream_options.Machine = None,
    machines: stream_options.Machines = None,
    rate: stream_options.Rate = None,
    timezone: stream_options.Timezone = None,
) -> None:
    """Measure a bundle on your own data.

    Of texts: does a query find its text among all texts of the table, BM25 beside it? Of a monitor: do its alarms fit the faults that
    somebody has labelled (--label), an alarm that is always on beside it? Of an encoder of pictures or sound: does it tell people
    apart whom it has never met, and what do attacks on templates and samples do? Of a recommender: does it rank what users did next
    among the first, counting beside it?
    """
    import json

    from nearfar import road
    from nearfar.bundle import Bundle
    from nearfar.cli.console import figures_table, out, progress_lines
    from nearfar.road import as_metrics

    opened = Bundle.open(bundle)
    if opened.manifest.kind == "series-monitor":
        from nearfar.cli.evaluate_stream import evaluate_stream
        from nearfar.road.stored_series import Reading

        refuse_options(context, "a monitor", (*_EVALUATED, *_OF_MONITORS))
        reading = Reading(time, machine_column, channel, value, label, machines, rate, timezone)
        evaluate_stream(opened, pairs, reading, machine=machine, threshold=threshold, json_output=json_output)
        return
    if opened.manifest.kind == "audio-encoder" or opened.manifest.kind == "image-encoder":
        from nearfar.cli.evaluate_identity import evaluate_people
        from nearfar.edge.verify.samples import SampleColumns

        refuse_options(context, "an encoder of identities", (*_EVALUATED, *_OF_PEOPLE))
        columns = SampleColumns(item, label or "label", session, split, attribute)
        evaluate_people(
            opened,
            pairs,
            columns,
            samples=samples,
            threshold=threshold,
            attacks=attacks,
            plot=plot,
            json_output=json_output,
        )
        return
    if opened.manifest.kind == "recommender":
        from nearfar.cli.evaluate_ranking import evaluate_log

        refuse_options(context, "a recommender", (*_EVALUATED, *_OF_RECOMMENDERS))
        evaluate_log(opened, pairs, user=user, item=item, time=time, json_output=json_output)
        return
    refuse_options(context, "an encoder of texts", (*_EVALUATED, "query", "positive"))
    with progress_lines() as stages:
        scores = road.evaluate(bundle, pairs, query=query, positive=positive, stages=stages)
    out.print(figures_table(as_metrics(scores)))
    if json_output is not None:
        from nearfar.evaluate.report import as_figures

        json_output.write_text(json.dumps(as_figures(scores), indent=1) + "\n", "utf-8")
