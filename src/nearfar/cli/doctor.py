"""`nearfar doctor`: is the index sound, and what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli.options import AsJson


def doctor(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended; no document is ever removed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read an index whole, say what is wrong with it, and mend it. Ends with 1 where something is left to do."""
    from nearfar.edge.doctor import doctor as examine

    found = examine(index, repair=repair)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps({"sound": found.sound, **asdict(found)}, ensure_ascii=False, indent=1))
    else:
        from nearfar.cli.console import out

        size = f"{found.documents:,} documents, {found.passages:,} passages, generation {found.generation:,}"
        out.print(f"{index}: {size}" if found.passages else f"{index}:", markup=False, soft_wrap=True)
        effects = {"answers": "wrong or missing answers", "speed": "slower answers", "room": "wasted room"}
        for finding in found.findings:
            mark, style = ("mended", "green") if finding.mended else (effects[finding.effect], "yellow")
            out.print(f"- {finding.what}", markup=False, soft_wrap=True)
            out.print(f"  {mark}: {finding.mend}", style=style, markup=False, soft_wrap=True)
        if not found.findings:
            out.print("sound", style="green")
    if not found.sound:
        raise typer.Exit(1)
