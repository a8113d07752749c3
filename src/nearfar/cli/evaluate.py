"""`nearfar evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli import stream_options
from nearfar.cli.fitting import refuse_options

_EVALUATED = ("bundle", "pairs", "json_output")
_OF_TEXTS = ("query", "positive")
_OF_PEOPLE = ("plot", "samples", "attacks", "item", "session", "attribute", "split", "label", "threshold")
_OF_JOINT = ("item", "label")
_OF_RECOMMENDERS = ("user", "item", "time")
_OF_MONITORS = ("label", "threshold", *stream_options.NAMES)


def evaluate(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    pairs: Annotated[
        Path,
        typer.Argument(
            help="Table of held-out pairs (.jsonl, .csv, .parquet); of several modalities a table of partners; of a monitor labelled samples; of a recommender an event log; of an encoder of "
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
        list[str] | None,
        typer.Option(
            "--item",
            metavar="COLUMN",
            help="Of a table of identities: column with the picture or recording; of an event log: with what was acted on; of several "
            "modalities TOWER=COLUMN, once for each tower.",
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
            help="Column that is not 0 where a fault is known, by default `label` or `anomaly`; of identities who it is; of several modalities what a "
            "row is of.",
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
    apart whom it has never met, and what do attacks on templates and samples do? Of several modalities: do the items of a row find each
    other? Of a recommender: does it rank what users did next
    among the first, counting beside it?
    """
    from nearfar.bundle import Bundle

    opened = Bundle.open(bundle)
    match opened.manifest.kind:
        case "series-monitor":
            from nearfar.cli.evaluate_stream import evaluate_stream
            from nearfar.road.stored_series import Reading

            refuse_options(context, "a monitor", (*_EVALUATED, *_OF_MONITORS))
            reading = Reading(time, machine_column, channel, value, label, machines, rate, timezone)
            evaluate_stream(opened, pairs, reading, machine=machine, threshold=threshold, json_output=json_output)
        case "audio-encoder" | "image-encoder":
            from nearfar.cli.evaluate_identity import evaluate_people
            from nearfar.edge.verify.samples import SampleColumns

            refuse_options(context, "an encoder of identities", (*_EVALUATED, *_OF_PEOPLE))
            columns = SampleColumns(_only(item), label or "label", session, split, attribute)
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
        case "joint-encoder":
            from nearfar.cli.evaluate_joint import evaluate_partners

            refuse_options(context, "an encoder of several modalities", (*_EVALUATED, *_OF_JOINT))
            evaluate_partners(opened, pairs, item or (), label=label, json_output=json_output)
        case "recommender":
            from nearfar.cli.evaluate_ranking import evaluate_log

            refuse_options(context, "a recommender", (*_EVALUATED, *_OF_RECOMMENDERS))
            evaluate_log(opened, pairs, user=user, item=_only(item), time=time, json_output=json_output)
        case _:
            from nearfar.cli.evaluate_pairs import evaluate_pairs

            refuse_options(context, "an encoder of texts", (*_EVALUATED, *_OF_TEXTS))
            evaluate_pairs(opened, pairs, query=query, positive=positive, json_output=json_output)


def _only(columns: list[str] | None) -> str | None:
    """The one column that holds items.

    Raises:
        DataError: there are several.
    """
    from nearfar.errors import DataError

    if columns and len(columns) > 1:
        raise DataError(f"--item {columns[1]}: items of this bundle stand in one column: give --item once")
    return columns[0] if columns else None
