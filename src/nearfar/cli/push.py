"""`nearfar push`: an index on a server, for when one machine is not enough."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli.options import AsJson


def push(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="qdrant://host:6333/collection, qdrant+https://..., or pgvector://user@host:5432/database?table=name. "
            "Secrets come from QDRANT_API_KEY, PGPASSWORD or ~/.pgpass.",
        ),
    ],
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Delete what was pushed there before, whatever bundle made it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put an index on a server, or bring the copy there up to date; again after a stop it goes on where it was."""
    from nearfar.cli.console import out, progress_lines
    from nearfar.connect import push
    from nearfar.progress import cumulative

    with progress_lines() as stages:
        progress = cumulative(
            stages, {"passages": "sending", "gone": "deleting what is gone", "index": "indexing there"}
        )
        report = push(index, address, rebuild=rebuild, progress=progress)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(report) | {"passages": report.passages}, indent=1))
        return
    out.print(
        f"{address}: {report.passages:,} passages ({report.added:,} added, {report.updated:,} updated, "
        f"{report.unchanged:,} unchanged, {report.removed:,} removed)",
        markup=False,
        soft_wrap=True,
    )
