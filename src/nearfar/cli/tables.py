"""`nearfar columns` and `nearfar similar`: commands for rows of tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli.collection_options import Threads, Tower
from nearfar.cli.options import AsJson, Overrides
from nearfar.cli.table_options import Id

if TYPE_CHECKING:
    from nearfar.edge.collections.collection import Collection
    from nearfar.edge.collections.similar_rows import Similar
    from nearfar.frontend.settings import TableSettings

_SHOWN = 6


def columns(
    table: Annotated[Path, typer.Argument(help="A table (.csv, .jsonl, .parquet), or a recipe for one (.yaml).")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show how the columns of a table would be read: what is a number, a category, a date, and what is ignored."""
    from nearfar.cli.collection_tables import add_row, plain_table
    from nearfar.cli.console import out, progress_lines, show_skipped
    from nearfar.road.columns import read_columns

    with progress_lines() as stages:
        found, report = read_columns(table, overrides or (), stages=stages)
    show_skipped(report.skipped, report.examples)
    if as_json:
        typer.echo(json.dumps([one._asdict() for one in found], ensure_ascii=False, indent=1))
        return
    lines = plain_table("column", "taken for", "missing", "what")
    for name, type_, missing, what in found:
        add_row(lines, name, type_, f"{missing:.1%}" if missing else "", what)
    out.print(lines)
    used = sum(one.type != "ignored" for one in found)
    out.print(
        f"\n{report.read:,} rows, {used} columns to learn from. If one is misread, say in the recipe what it is: "
        "data.source.columns has numbers, categories, dates, ignore, label and id.",
        soft_wrap=True,
    )


def similar(
    bundle: Annotated[Path, typer.Argument(help="A bundle of rows.")],
    table: Annotated[str, typer.Argument(help="The table to look in, or a folder of such.")],
    row: Annotated[
        str | None, typer.Option("--row", help="The row to look for the like of: its id, or the number of its line.")
    ] = None,
    like: Annotated[
        str | None, typer.Option("--like", metavar="JSON", help='A row in its place: \'{"age": 41, "sex": "Female"}\'.')
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="How many.")] = 10,
    label: Annotated[str | None, typer.Option("--label", help="A column to show beside them.")] = None,
    id_: Id = None,
    tower: Tower = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Find the rows of a table that are most like one of them."""
    from nearfar.cli.console import progress_lines, show_skipped
    from nearfar.edge.collections.gather import Columns, gather, settings_of
    from nearfar.edge.collections.row_cells import check_cells, row_text
    from nearfar.edge.collections.similar_rows import row_called, similar_to_cells, similar_to_row
    from nearfar.edge.encoder import Encoder
    from nearfar.errors import BundleError, DataError
    from nearfar.frontend.settings import TableSettings
    from nearfar.frontend.table import TableFrontend
    from nearfar.sources.row_table import RowTable

    if (row is None) == (like is None):
        raise DataError("say what to look for the like of: --row with the id of a row, or --like with its cells")
    encoder = Encoder.open(bundle, threads=threads, tower=tower)
    settings = settings_of(encoder.bundle, tower)
    if not isinstance(settings, TableSettings):
        what = (
            f"this tower is of {settings.kind}" if tower else f"this bundle is of kind {encoder.bundle.manifest.kind}"
        )
        raise BundleError(f"{bundle}: {what}, and has no rows to compare")
    cells = _cells(like) if like is not None else {}
    # What cannot be found is told before all rows are embedded.
    if like is not None:
        check_cells(cells, settings)
        TableFrontend(settings).encode([cells])
    else:
        assert row is not None
        row_called((one.id for one in RowTable(Path(table), label=label, id=id_).rows()), row)
    with (
        progress_lines() as stages,
        gather(bundle, table, Columns(id=id_, label=label), tower=tower, threads=threads, stages=stages) as gathered,
    ):
        collection = gathered.collection
        if row is not None:
            place = row_called((entry.id for entry in collection), row)
            asked, name = collection.entry(place).text, collection.entry(place).id
            found = similar_to_row(collection, place, top)
        else:
            asked, name = row_text(cells, settings), ""
            found = similar_to_cells(collection, cells, encoder, top)
        stages.finish()
        show_skipped(collection.report.skipped, collection.report.examples)
        if as_json:
            _print_as_json(collection, found, settings)
        else:
            _print(collection, found, settings, asked, name)


def _cells(text: str) -> dict[str, Any]:
    from nearfar.errors import DataError

    try:
        cells = json.loads(text)
    except ValueError as error:
        raise DataError(f"--like is not valid JSON ({error}): write it as '{{\"age\": 41}}'") from None
    if not isinstance(cells, dict):
        raise DataError(f"--like must be a JSON object of columns and cells, not {type(cells).__name__}")
    return cells


def _print_as_json(collection: Collection, found: list[Similar], settings: TableSettings) -> None:
    from nearfar.edge.collections.row_cells import cells_of

    names = [column.name for column in settings.columns]
    rows = []
    for row, cosine in found:
        entry = collection.entry(row)
        cells = dict(zip(names, cells_of(entry.text, settings), strict=True))
        said = {"label": entry.label} if entry.label else {}
        rows.append({"id": entry.id, "location": entry.location, "cosine": round(cosine, 4), **said, "cells": cells})
    typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))


def _print(collection: Collection, found: list[Similar], settings: TableSettings, asked: str, name: str) -> None:
    """The row that is asked about, and of each that was found how it differs."""
    from nearfar.cli.collection_tables import add_row, plain_table
    from nearfar.cli.console import out
    from nearfar.edge.collections.row_cells import cells_of

    names = [column.name for column in settings.columns]
    own = cells_of(asked, settings)
    described = ", ".join(f"{column} {cell}" for column, cell in zip(names, own, strict=True) if cell != "-")
    out.print(f"{name}  {described}\n".lstrip(), markup=False, soft_wrap=True)
    labelled = any(collection.entry(one.row).label for one in found)
    table = plain_table("cosine", "row", *(["label"] if labelled else []), "how it differs")
    for row, cosine in found:
        entry = collection.entry(row)
        others = [
            f"{column} {cell}"
            for column, cell, mine in zip(names, cells_of(entry.text, settings), own, strict=True)
            if cell != mine
        ]
        more = f", and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        differs = ", ".join(others[:_SHOWN]) + more if others else "(in nothing)"
        add_row(table, f"{cosine:.3f}", entry.id, *([entry.label] if labelled else []), differs)
    out.print(table)
