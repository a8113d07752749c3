"""Found documents on the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from nearfar.cli.console import out

if TYPE_CHECKING:
    from nearfar.edge import Hit


def print_hits(hits: Sequence[Hit]) -> None:
    """Print rank, score, title, snippet and place of every hit; a line where there is none."""
    if not hits:
        out.print("nothing found")
    for hit in hits:
        out.print(f"[dim]{hit.rank:>3}  {hit.score:6.3f}[/]  [bold]{escape(hit.title or hit.id)}[/]", soft_wrap=True)
        out.print(f"             {escape(hit.text)}", overflow="ellipsis", no_wrap=True)
        place = f"{hit.location}, page {hit.page}" if hit.page is not None else hit.location
        under = f"{hit.heading} · " if hit.heading else ""
        out.print(f"             [dim]{escape(under + place)}[/]", soft_wrap=True)


def print_json(found: Sequence[Any]) -> None:
    """Print hits, or the hits of several queries, as JSON."""

    def plain(item: Any) -> Any:
        return [plain(part) for part in item] if isinstance(item, Sequence) else asdict(item)

    typer.echo(json.dumps(plain(found), ensure_ascii=False, indent=1))
