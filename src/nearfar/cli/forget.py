"""`nearfar forget`: what was recorded, removed for good."""

from __future__ import annotations

from typing import Annotated

import typer

from nearfar.cli.history_options import Directory, Place, moment, opened


def forget(
    directory: Directory,
    item: Annotated[str | None, typer.Option("--item", help="All that was done with this item.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="All that was done since, as 2025-01-31T18:30.")
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All.")] = False,
    key: Place = None,
) -> None:
    """Remove what was recorded; afterwards everything is as if this device had never seen it.

    Copies of the directory that were made before still hold it, sealed.
    """
    time = None if since is None else moment(since, "--since")
    with opened(directory, key=key) as recommender:
        gone = recommender.forget(item=item, since=time, everything=everything)
        left = len(recommender)
    if not gone:
        typer.echo(f"{directory}: nothing to forget there; it has {left:,} event{'' if left == 1 else 's'}")
        return
    typer.echo(f"{directory}: forgot {gone:,} event{'' if gone == 1 else 's'}, {left:,} left")
