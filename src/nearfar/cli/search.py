"""`nearfar inspect`, `nearfar index`, `nearfar search`: the device side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli.options import AsJson


def inspect(bundle: Annotated[Path, typer.Argument(help="A bundle.")], as_json: AsJson = False) -> None:
    """Check a bundle file by file, and show what it is, where it comes from and how well it works."""
    from nearfar.bundle import Bundle, describe
    from nearfar.cli.console import figures_table, out, pairs_table

    opened = Bundle.open(bundle)
    if as_json:
        typer.echo(opened.manifest.model_dump_json(indent=2))
        return
    out.print(pairs_table(describe(opened)))
    if opened.manifest.metrics:
        out.print()
        out.print(figures_table(opened.manifest.metrics))


def index(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    source: Annotated[
        str, typer.Argument(help="A folder, a text file, a table (.jsonl, .csv, .parquet), or the word docstrings.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The index; brought up to date where it exists.")],
    text: Annotated[str, typer.Option(help="Of a table: the column with the text.")] = "text",
    title: Annotated[str | None, typer.Option(help="Of a table: the column with the title.")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="Of a table: the column with a unique id.")] = None,
    location: Annotated[
        str | None, typer.Option(help="Of a table: the column that says where the document is.")
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", help="Keep only the first so many components, one of the bundle's dims.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Start anew, also where another bundle made the index.")
    ] = False,
) -> None:
    """Put documents into a search index; again on the same source it takes only what changed."""
    from nearfar.cli.console import out, progress_lines, show_skipped
    from nearfar.edge import SearchIndex
    from nearfar.progress import cumulative
    from nearfar.sources import open_documents

    documents = open_documents(source, text=text, title=title, id=id_, location=location)
    with progress_lines() as stages:
        progress = cumulative(stages, {"documents": "indexing", "graph": "linking neighbours"})
        with SearchIndex.build(
            bundle, documents.documents(), output, rebuild=rebuild, dim=dim, progress=progress
        ) as built:
            size = len(built)
    report = built.report
    assert report is not None
    show_skipped(documents.report.skipped, [*documents.report.examples, *report.examples])
    passed_over = documents.report.skipped_total + report.skipped
    out.print(
        f"{output}: {size:,} documents ({report.added:,} added, {report.updated:,} updated, {report.unchanged:,} unchanged, "
        f"{report.removed:,} removed, {passed_over:,} skipped)"
    )


def search(
    index_path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    query: Annotated[str, typer.Argument(help="What to look for, in your own words.")],
    k: Annotated[int, typer.Option("-k", help="How many to show.")] = 5,
    mode: Annotated[
        str | None, typer.Option(help="hybrid, dense or keyword; by default what the bundle was fitted for.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the documents that answer a query."""
    from nearfar.edge import SearchIndex

    with SearchIndex.open(index_path) as opened:
        hits = opened.search(query, k, mode)  # type: ignore[arg-type]
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(hit) for hit in hits], ensure_ascii=False, indent=1))
        return
    from nearfar.cli.hits import print_hits

    print_hits(hits)
