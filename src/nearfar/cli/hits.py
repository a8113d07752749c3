"""Found documents on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
        out.print(f"             [dim]{escape(hit.location)}[/]", soft_wrap=True)
