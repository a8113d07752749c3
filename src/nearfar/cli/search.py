"""`nearfar inspect`, `nearfar index`, `nearfar watch`, `nearfar search`: the device side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli.options import AsJson
from nearfar.cli.table_options import Id, Items, Location, MetadataColumns, TextIfAny, Title


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
        str,
        typer.Argument(
            help="A folder or a file (text, HTML, PDF, Word, source code; with a bundle that takes them pictures, recordings and samples of "
            "sensors), a table (.jsonl, .csv, .parquet), or the word docstrings."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The index; brought up to date where it exists.")],
    text: TextIfAny = None,
    title: Title = None,
    id_: Id = None,
    location: Location = None,
    metadata: MetadataColumns = None,
    items: Items = None,
    words: Annotated[
        int | None,
        typer.Option(
            help="Words of a passage, at most; longer documents are cut. 220, or as the last time.", show_default=False
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Words that neighbouring passages share, at most. 40, or as the last time.", show_default=False
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="What finds vectors: scan, hnsw, or auto, which goes by their number.")
    ] = None,
    encrypt: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Encrypt a new index; its key is kept in keystore:NAME, credential:NAME, passphrase or file:PATH.",
        ),
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", help="Keep only the first so many components, one of the bundle's dims.")
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="The teacher of the bundle, itself a bundle: embeds the documents in its place (docs/compress.md)."
        ),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Start anew, also where another bundle made the index.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and index again whenever files change; Ctrl-C ends it.")
    ] = False,
) -> None:
    """Put documents into a search index; again on the same source it takes only what changed."""
    from nearfar.cli.indexing import Indexing

    columns = {"text": text, "title": title, "id": id_, "location": location}
    task = Indexing(
        bundle,
        source,
        output,
        columns,
        metadata=metadata,
        words=words,
        overlap=overlap,
        engine=engine,
        dim=dim,
        teacher=teacher,
        items=items,
    )
    if watch:
        task.watch(rebuild=rebuild, encrypt=encrypt)
    else:
        task.once(rebuild=rebuild, encrypt=encrypt)


def watch(
    index_path: Annotated[Path, typer.Argument(metavar="INDEX", help="An index; made before with nearfar index.")],
    folder: Annotated[Path, typer.Argument(help="The folder that it is of.")],
) -> None:
    """Keep an index up to date with a folder until Ctrl-C."""
    from nearfar.cli.indexing import Indexing
    from nearfar.edge.store.reader import StoreReader
    from nearfar.edge.store.schema import BUNDLE_FOLDER

    StoreReader.check(index_path)
    Indexing(index_path / BUNDLE_FOLDER, str(folder), index_path, {}).watch()


def search(
    index_path: Annotated[
        str, typer.Argument(metavar="INDEX", help="An index, or the address of one on a server (see nearfar push).")
    ],
    query: Annotated[
        str | None,
        typer.Argument(help="What to look for, in your own words; without it, a query a line from standard input."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Look for what goes with this picture.", show_default=False)
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Look for what goes with this recording.", show_default=False)
    ] = None,
    series: Annotated[
        Path | None, typer.Option(help="Look for what goes with these samples (.csv, .parquet).", show_default=False)
    ] = None,
    row: Annotated[
        str | None, typer.Option(help="Look for what goes with this row, as JSON.", metavar="JSON", show_default=False)
    ] = None,
    tower: Annotated[
        str | None, typer.Option(help="The tower that the query is for, where several take such.", show_default=False)
    ] = None,
    among: Annotated[
        str | None,
        typer.Option(
            help="Find only items of these towers, with commas between.", metavar="TOWERS", show_default=False
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many to show.")] = 5,
    mode: Annotated[
        str | None, typer.Option(help="hybrid, dense or keyword; by default what the bundle was fitted for.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Only documents that satisfy a condition, such as: year >= 2020 and lang = 'en'")
    ] = None,
    min_score: Annotated[float | None, typer.Option("--min-score", help="Leave out what scores less.")] = None,
    diversity: Annotated[
        float | None, typer.Option(help="From 0 to 1: how much the answers should differ from each other.")
    ] = None,
    distinct: Annotated[
        str, typer.Option(help="text leaves out copies, document all but the best of each document, none nothing.")
    ] = "text",
    rerank: Annotated[
        Path | None, typer.Option(help="The bundle of a cross-encoder that reads the best answers again.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Of an index on a server: the bundle that embeds the query.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="Write the answers to this HTML file, with thumbnails; it needs nothing beside it.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the passages and items that answer a query."""
    from nearfar.cli.hits import print_hits, print_json, write_page
    from nearfar.cli.opened import open_named
    from nearfar.cli.queries import queries_of, settings_of

    asked = queries_of(query, {"image": image, "audio": audio, "series": series, "table": row})
    with open_named(index_path, bundle) as opened:
        found = opened.search_many(
            asked.items,
            k,
            mode,  # type: ignore[arg-type]
            where=where,
            min_score=min_score,
            diversity=diversity,
            distinct=distinct,  # type: ignore[arg-type]
            rerank=rerank,
            **settings_of(opened, asked, tower, among),
        )
    if page is not None:
        write_page(page, asked, found)
    if as_json:
        print_json(found if asked.several else found[0])
        return
    for name, hits in zip(asked.names, found, strict=True):
        if asked.several:
            typer.echo(f"\n{name}")
        print_hits(hits)
