"""`nearfar recommend`: what the user of this device may want next, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nearfar.cli.history_options import Directory, OtherBundle, Place, opened, pairs
from nearfar.cli.options import AsJson

if TYPE_CHECKING:
    from nearfar.edge.recommend.answers import Explanation, Recommendation

_TIME = "%Y-%m-%d %H:%M"


def recommend(
    directory: Directory,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Only items like these, as in \"year >= 1990 and genres = 'drama'\".")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="ITEM", help="Not this one; may be given many times.")
    ] = None,
    diversity: Annotated[
        float, typer.Option(help="From 0, only the score counts, to 1, only difference counts.")
    ] = 0.0,
    fresh: Annotated[
        int, typer.Option(min=0, help="So many of them, at least, are items that nobody had acted on yet.")
    ] = 0,
    context: Annotated[
        list[str] | None,
        typer.Option("--context", metavar="KEY=VALUE", help="What is known of the moment; may be given many times."),
    ] = None,
    seen: Annotated[bool, typer.Option("--seen", help="Also what was acted on before.")] = False,
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="ITEM", help="Say why this item has its score, in place of a list."),
    ] = None,
    rank: Annotated[
        Path | None,
        typer.Option(
            "--rank", metavar="FILE", help="Put the items of this file, one a line, into order, in place of choosing."
        ),
    ] = None,
    bundle: OtherBundle = None,
    key: Place = None,
    as_json: AsJson = False,
) -> None:
    """Show what you may want next, by what you did before; nothing of it leaves this device."""
    from nearfar.cli.console import notes, out
    from nearfar.errors import DataError

    moment = pairs(context, "--context") or None
    if explain is not None and rank is not None:
        raise DataError("--explain is about one item and --rank about a list; choose one of them")
    candidates = None if rank is None else _lines(rank)
    with opened(directory, bundle, key) as recommender:
        if explain is not None:
            told = recommender.explain(explain, context=moment)
            if as_json:
                typer.echo(json.dumps(asdict(told), ensure_ascii=False, indent=1, default=str))
            else:
                _show_reasons(told)
            return
        if candidates is not None:
            found = recommender.rank(candidates, context=moment)
        else:
            found = recommender.recommend(
                k,
                context=moment,
                exclude=exclude or (),
                where=where,
                diversity=diversity,
                fresh=fresh,
                seen=seen,
            )
        new = recommender.is_new
        strange = [name for name in exclude or () if recommender.catalogue.number_of(name) is None]
    for name in strange:
        notes.print(f"--exclude {name}: is not in the catalogue", style="yellow", markup=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=1, default=str))
        return
    if new:
        notes.print(f"{directory}: nothing is known of you yet, so this is what is popular", style="dim", markup=False)
    if not found:
        out.print("nothing is left to recommend" + ("; ask for less with --where" if where else ""))
        return
    _show(found)


def _show(found: Sequence[Recommendation]) -> None:
    from nearfar.cli.collection_tables import add_row, plain_table
    from nearfar.cli.console import out

    keys = list(dict.fromkeys(name for one in found for name in one.facts))
    titled = any(one.title for one in found)
    table = plain_table("", "item", *(["title"] if titled else []), "score", *keys)
    table.columns[2 + titled].justify = "right"
    for place, one in enumerate(found, start=1):
        facts = [_cell(one.facts.get(name)) for name in keys]
        add_row(table, str(place), one.item, *([one.title] if titled else []), f"{one.score:.3f}", *facts)
    out.print(table)


def _show_reasons(told: Explanation) -> None:
    from nearfar.cli.collection_tables import add_row, plain_table
    from nearfar.cli.console import out

    place = "is not recommended: seen or disliked" if told.rank is None else f"place {told.rank:,}"
    parts = "  ".join(f"{name} {value:+.3f}" for name, value in told.parts.items())
    out.print(f"{told.item}: score {told.score:.3f}, {place}", style="bold", markup=False, soft_wrap=True)
    out.print(f"  = {parts}", markup=False, soft_wrap=True)
    if not told.reasons:
        out.print("  no past action has to do with it", style="dim")
        return
    table = plain_table("without", "title", "when", "score would change by")
    table.columns[3].justify = "right"
    for reason in told.reasons:
        when = datetime.fromtimestamp(reason.time).strftime(_TIME)
        add_row(table, reason.item, reason.title, when, f"{-reason.score:+.3f}")
    out.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _lines(path: Path) -> list[str]:
    from nearfar.errors import DataError

    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as text ({error}): give a file with the name of an item in each line"
        ) from error
    return [line for line in lines if line]
