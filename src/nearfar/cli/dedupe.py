"""`nearfar dedupe`: items that are the same or nearly so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli.collection_options import Image, Output, Passages, Place, Seed, Source, Threads, Tower
from nearfar.cli.options import AsJson
from nearfar.cli.table_options import Id, Location, Text, Title

if TYPE_CHECKING:
    from pathlib import Path

    from nearfar.edge.collections.collection import Collection
    from nearfar.edge.collections.dedupe import Group
    from nearfar.edge.collections.near_threshold import Threshold

_SHOWN = 20


def dedupe(
    place: Place,
    source: Source = None,
    output: Output = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Least cosine of near-identical items; by default taken from edited copies."),
    ] = None,
    edits: Annotated[
        float,
        typer.Option(
            "--edits",
            help="Of texts and rows: the share of words or cells that may differ, from which the threshold comes.",
        ),
    ] = 0.05,
    keep: Annotated[str, typer.Option("--keep", help="Which of a group stays: first or longest.")] = "first",
    passages: Passages = False,
    text: Text = "text",
    image: Image = "image",
    title: Title = None,
    id_: Id = None,
    location: Location = None,
    tower: Tower = None,
    threads: Threads = 1,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Find items that are the same or nearly so; nothing is deleted."""
    from nearfar.cli.console import progress_lines, show_skipped
    from nearfar.cli.result_file import check_result_path, write_rows
    from nearfar.edge.collections.gather import Columns, gather
    from nearfar.edge.collections.near_duplicates import near_duplicates

    check_result_path(output)
    columns = Columns(text=text, image=image, title=title, id=id_, location=location)
    with (
        progress_lines() as stages,
        gather(place, source, columns, passages=passages, tower=tower, threads=threads, stages=stages) as gathered,
    ):
        found, groups = near_duplicates(gathered, threshold=threshold, edits=edits, keep=keep, seed=seed, stages=stages)
        stages.finish()
        collection = gathered.collection
        if output is not None:
            write_rows(output, ("group", "id", "kept", "cosine", "exact", "location"), _group_rows(collection, groups))
        show_skipped(collection.report.skipped, collection.report.examples)
        if as_json:
            _print_groups_as_json(collection, groups, found)
        else:
            _print_groups(collection, groups, found, output, cells=gathered.rows is not None)


def _group_rows(collection: Collection, groups: list[Group]) -> Iterator[dict[str, Any]]:
    for number, group in enumerate(groups, start=1):
        kept = collection.entry(group.kept)
        yield {"group": number, "id": kept.id, "kept": True, "cosine": 1.0, "exact": True, "location": kept.location}
        for row, cosine, same in group.duplicates:
            entry = collection.entry(row)
            values = (number, entry.id, False, round(cosine, 4), same, entry.location)
            yield dict(zip(("group", "id", "kept", "cosine", "exact", "location"), values, strict=True))


def _print_groups_as_json(collection: Collection, groups: list[Group], threshold: Threshold) -> None:
    def shown(row: int) -> dict[str, Any]:
        entry = collection.entry(row)
        return {"id": entry.id, "title": entry.title, "location": entry.location}

    found = [
        {
            "kept": shown(group.kept),
            "duplicates": [
                {**shown(one.row), "cosine": round(one.cosine, 4), "exact": one.exact} for one in group.duplicates
            ],
        }
        for group in groups
    ]
    summary = {
        "items": len(collection),
        "duplicates": sum(len(group.duplicates) for group in groups),
        "threshold": threshold._asdict(),
        "groups": found,
    }
    typer.echo(json.dumps(summary, ensure_ascii=False, indent=1))


def _print_groups(
    collection: Collection, groups: list[Group], threshold: Threshold, output: Path | None, *, cells: bool
) -> None:
    from rich.markup import escape

    from nearfar.cli.collection_tables import named
    from nearfar.cli.console import notes, out

    what = "cells" if cells else "word runs"
    words = f" and at least {threshold.overlap:.2f} of the {what} in common" if threshold.overlap else ""
    out.print(f"nearly the same: a cosine of at least {threshold.cosine:.3f}{words}", soft_wrap=True)
    found = (
        "" if threshold.found is None else f"{threshold.found:.0%} of lightly edited copies of these items are found, "
    )
    share = f"{threshold.chance:.2%} of random pairs have" if threshold.chance else "no random pair of 20,000 has"
    out.print(f"[dim]{found}{share} that cosine[/]", soft_wrap=True)
    if threshold.unsure(len(collection)):
        text = "so many items may be no duplicates: look at the least alike below, and give a higher --threshold"
        notes.print(f"many random pairs reach this cosine, {text}", style="yellow", soft_wrap=True)
    for group in groups[:_SHOWN]:
        out.print(f"\n[bold]{escape(named(collection.entry(group.kept)))}[/]", soft_wrap=True)
        for row, cosine, same in group.duplicates[:_SHOWN]:
            out.print(
                f"  {'exact' if same else f'{cosine:.3f}'}  {escape(named(collection.entry(row)))}", soft_wrap=True
            )
        if len(group.duplicates) > _SHOWN:
            out.print(f"  and {len(group.duplicates) - _SHOWN:,} more")
    if len(groups) > _SHOWN:
        out.print(f"\nand {len(groups) - _SHOWN:,} more groups (all of them with -o or --json)")
    near = sorted((one.cosine, group.kept, one.row) for group in groups for one in group.duplicates if not one.exact)
    if len(near) > 3:
        out.print("\nthe least alike that still count:")
        for cosine, kept, row in near[:3]:
            out.print(f"  {cosine:.3f}  {escape(named(collection.entry(kept)))}", soft_wrap=True)
            out.print(f"         {escape(named(collection.entry(row)))}", soft_wrap=True)
    extra = sum(len(group.duplicates) for group in groups)
    copies = sum(one.exact for group in groups for one in group.duplicates)
    written = f"; written to {output}" if output else ""
    out.print(
        f"\n{len(collection):,} items: {extra:,} could go ({copies:,} exact copies, {extra - copies:,} nearly the same), "
        f"{len(collection) - extra:,} stay{written}",
        soft_wrap=True,
    )
