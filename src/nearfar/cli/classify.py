"""`nearfar classify`: labels from a few examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from nearfar.cli.collection_options import Image, Output, Seed, Threads, Tower
from nearfar.cli.options import AsJson
from nearfar.cli.table_options import Id, Location, Text, Title

app = typer.Typer(
    help="Give texts, pictures or rows labels, learned from a few examples, or say that none fits.",
    no_args_is_help=True,
)


@app.command("fit")
def fit(
    bundle: Annotated[Path, typer.Argument(help="A bundle of texts, pictures or rows.")],
    labelled: Annotated[
        str,
        typer.Argument(
            help="Items with labels: a table with a column of them, or a folder with a folder for each label."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The new bundle; it is the old one and the classifier.")
    ],
    head: Annotated[
        str, typer.Option("--head", help="prototypes, logistic, or auto: what cross-validation prefers.")
    ] = "auto",
    precision: Annotated[
        float,
        typer.Option("--precision", help="The share of answers that shall be right; it abstains from the others."),
    ] = 0.9,
    unknown: Annotated[
        float, typer.Option("--unknown", help="The share of items that you expect to fit no label.")
    ] = 0.1,
    label: Annotated[str, typer.Option("--label", help="Of a table: the column with the label.")] = "label",
    text: Text = "text",
    image: Image = "image",
    tower: Tower = None,
    title: Title = None,
    threads: Threads = 1,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Learn labels from a few examples, and store the classifier in a new bundle."""
    import numpy as np

    from nearfar.cli.console import notes, out, pairs_table, progress_lines, show_skipped
    from nearfar.edge.collections.fit_head import KINDS, fit_head, store_head
    from nearfar.edge.collections.gather import Columns, gather
    from nearfar.errors import DataError

    if head not in KINDS:
        raise DataError(f"there is no head {head!r}: choose one of {', '.join(KINDS)}")
    columns = Columns(text=text, image=image, title=title, label=label)
    with (
        progress_lines() as stages,
        gather(bundle, labelled, columns, tower=tower, threads=threads, stages=stages) as gathered,
    ):
        labels = gathered.labels()
        rows = np.array([row for row, name in enumerate(labels) if name], dtype=np.int64)
        stages("fitting")
        fitted = fit_head(
            np.asarray(gathered.collection.vectors[rows], dtype=np.float32),
            [labels[row] for row in rows],
            kind=KINDS[head],
            precision=precision,
            unknown=unknown,
            seed=seed,
        )
        report = gathered.collection.report
        stored = store_head(gathered.bundle, fitted, output)
    show_skipped(report.skipped, report.examples)
    if missing := len(labels) - len(rows):
        notes.print(f"skipped {missing:,}: no label", style="yellow")
    if as_json:
        typer.echo(fitted.head.model_dump_json(indent=1))
        return
    out.print(pairs_table(_fitted(fitted.head.model_dump(), stored.path)))


@app.command("run")
def run(
    bundle: Annotated[Path, typer.Argument(help="A bundle with a classifier.")],
    source: Annotated[str, typer.Argument(help="A folder, a table, or an index that the same encoder made.")],
    output: Output = None,
    abstain: Annotated[
        float | None,
        typer.Option(
            "--abstain", help="Give no label less likely than this, 0 to 1; by default as the classifier was fitted."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="The column with the true label, to compare with; of a folder any word."),
    ] = None,
    text: Text = "text",
    image: Image = "image",
    tower: Tower = None,
    title: Title = None,
    id_: Id = None,
    location: Location = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Label every item of a source."""
    from collections import Counter

    from nearfar.cli.collection_tables import add_row, brief, plain_table
    from nearfar.cli.console import out, progress_lines, show_skipped
    from nearfar.cli.result_file import check_result_path, write_rows
    from nearfar.edge.collections.classify_source import classified
    from nearfar.edge.collections.gather import Columns

    check_result_path(output)
    columns = Columns(text=text, image=image, title=title, id=id_, location=location, label=label)
    with (
        progress_lines() as stages,
        classified(bundle, source, columns, abstain=abstain, tower=tower, threads=threads, stages=stages) as found,
    ):
        stages.finish()
        fields = ("id", "label", "score", "best", "location")

        def rows() -> Iterator[dict[str, Any]]:
            for entry, (name, score, best) in zip(found.entries, found.labels, strict=True):
                values = (entry.id, name, round(score, 4), best, entry.location)
                yield dict(zip(fields, values, strict=True))

        show_skipped(found.report.skipped, found.report.examples)
        if as_json:
            typer.echo(json.dumps(list(rows()), ensure_ascii=False, indent=1))
            if output is None:
                return
        if output is not None:
            write_rows(output, fields, rows())
        if as_json:
            return
        counts = Counter(one.label for one in found.labels)
        table = plain_table("items", "label", "for example")
        examples: dict[str | None, str] = {}
        for entry, one in zip(found.entries, found.labels, strict=True):
            examples.setdefault(one.label, brief(entry))
        for name, many in sorted(counts.items(), key=lambda item: (item[0] is None, -item[1], item[0] or "")):
            add_row(table, f"{many:,}", name or "(none: abstained)", examples[name])
        out.print(table)
        known, answered, right = found.answered_rightly
        if known:
            out.print(
                f"\nof {known:,} items with a true label: {answered / known:.1%} answered, "
                f"{right / max(answered, 1):.1%} of the answers right",
            )
        written = f"; written to {output}" if output else ""
        out.print(f"\n{len(found.labels):,} items, {counts[None]:,} without an answer{written}", soft_wrap=True)


@app.command("names")
def names(
    bundle: Annotated[Path, typer.Argument(help="A bundle of several modalities, texts among them.")],
    source: Annotated[str, typer.Argument(help="A folder, one file, or a table.")],
    name: Annotated[list[str], typer.Option("--name", help="The name of a class; once for each, two or more.")],
    tower: Annotated[str, typer.Option("--tower", help="The tower that takes the items, such as image.")],
    template: Annotated[
        list[str] | None,
        typer.Option("--template", help="A way to say a name, {} in its place; may be given several times."),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Of a table: the column with the items, of rows each column.")
    ] = None,
    abstain: Annotated[
        float | None,
        typer.Option("--abstain", help="Give no name whose score is lower; by default every item has one."),
    ] = None,
    output: Output = None,
    id_: Id = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Label items by the names of the classes alone, without one example: pictures, recordings or whatever a tower takes."""
    from collections import Counter

    from nearfar.cli.collection_tables import add_row, plain_table
    from nearfar.cli.console import out, progress_lines, show_skipped
    from nearfar.cli.result_file import check_result_path, write_rows
    from nearfar.edge.collections.name_source import name_items
    from nearfar.evaluate.zero_shot import TEMPLATES

    check_result_path(output)
    with progress_lines() as stages:
        found, report = name_items(
            bundle,
            source,
            name,
            tower=tower,
            columns=column or (),
            id=id_,
            templates=template or TEMPLATES,
            abstain=abstain,
            threads=threads,
            stages=stages,
        )
    fields = ("id", "label", "score", "best", "margin", "location")
    rows = [
        {
            "id": one.id,
            "label": one.named.label,
            "score": round(one.named.score, 4),
            "best": one.named.best,
            "margin": round(one.named.margin, 4),
            "location": one.location,
        }
        for one in found
    ]
    show_skipped(report.skipped, report.examples)
    if output is not None:
        write_rows(output, fields, rows)
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    counts = Counter(one.named.label for one in found)
    table = plain_table("items", "label", "for example")
    for label, many in sorted(counts.items(), key=lambda item: (item[0] is None, -item[1], item[0] or "")):
        first = max((one for one in found if one.named.label == label), key=lambda one: one.named.score)
        add_row(table, f"{many:,}", label or "(none: abstained)", first.id)
    out.print(table)
    written = f"; written to {output}" if output else ""
    out.print(f"\n{len(found):,} items, {counts[None]:,} without a name{written}", soft_wrap=True)


def _fitted(head: dict[str, Any], path: Path) -> list[tuple[str, str]]:
    accuracy = ", ".join(f"{kind} {share:.1%}" for kind, share in head["accuracy"].items())
    rows = [
        ("bundle", str(path)),
        ("classifier", f"{head['kind']}, {len(head['labels']):,} labels from {head['examples']:,} examples"),
        ("cross-validated", accuracy or "not possible with one example a label"),
    ]
    if head["precision"] is None:
        return [*rows, ("abstains", "never: give two examples of a label or more, or --abstain when it runs")]
    rows.append(("abstains below", f"{head['threshold']:.3f}"))
    strange = f", if {head['unknown']:.0%} of the items fit no label" if head["unknown"] else ""
    rows.append(("then", f"{head['coverage']:.1%} are answered, {head['precision']:.1%} of the answers right{strange}"))
    if head["precision"] < head["target_precision"]:
        rows.append(("", f"the {head['target_precision']:.0%} asked for are out of reach: give more examples"))
    return rows
