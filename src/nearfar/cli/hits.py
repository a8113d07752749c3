"""Found documents on the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from nearfar.cli.console import out

if TYPE_CHECKING:
    from nearfar.cli.queries import Asked
    from nearfar.edge import Hit


def print_hits(hits: Sequence[Hit]) -> None:
    """Print rank, score, title, snippet and place of every hit; a line where there is none."""
    if not hits:
        out.print("nothing found")
    for hit in hits:
        badge = f"[cyan]{escape(hit.modality)}[/]  " if hit.modality else ""
        out.print(
            f"[dim]{hit.rank:>3}  {hit.score:6.3f}[/]  {badge}[bold]{escape(hit.title or hit.id)}[/]", soft_wrap=True
        )
        if hit.text or not hit.modality:
            out.print(f"             {escape(hit.text)}", overflow="ellipsis", no_wrap=True)
        place = f"{hit.location}, page {hit.page}" if hit.page is not None else hit.location
        under = f"{hit.heading} · " if hit.heading else ""
        out.print(f"             [dim]{escape(under + place)}[/]", soft_wrap=True)


def print_json(found: Sequence[Any]) -> None:
    """Print hits, or the hits of several queries, as JSON; without thumbnails, and without a modality where there is but one."""

    def plain(item: Any) -> Any:
        if isinstance(item, Sequence):
            return [plain(part) for part in item]
        told = asdict(item)
        told.pop("thumbnail", None)
        if not told.get("modality", True):
            del told["modality"]
        return told

    typer.echo(json.dumps(plain(found), ensure_ascii=False, indent=1))


def write_page(path: Path, asked: Asked, found: Sequence[Sequence[Hit]]) -> None:
    """Write hits as one HTML file, and say where it is.

    Raises:
        DataError: the file cannot be written, or is not called .html.
    """
    from nearfar.cli.console import notes
    from nearfar.edge.items.page import hits_page
    from nearfar.errors import DataError

    if path.suffix.lower() not in (".html", ".htm"):
        raise DataError(f"{path}: the page is HTML: give --page a name that ends in .html")
    try:
        page = hits_page(list(zip(asked.names, asked.pictures, found, strict=True)))
        # Names of files need not be UTF-8.
        path.write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise DataError(f"{path}: the page cannot be written there: {error.strerror or error}") from error
    notes.print(f"page: {path}", markup=False, soft_wrap=True)
