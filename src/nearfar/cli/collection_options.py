"""Options of the commands that look at a whole collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Place = Annotated[Path, typer.Argument(metavar="BUNDLE|INDEX", help="A bundle, or an index alone.")]
Source = Annotated[
    str | None,
    typer.Argument(help="After a bundle: a folder or table (.jsonl, .csv, .parquet) of texts, pictures or rows."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Also write every row there (.csv or .jsonl).")]
Image = Annotated[str, typer.Option(help="Of a table: the column with the picture.")]
Passages = Annotated[bool, typer.Option("--passages", help="Look at the passages of documents, not at whole ones.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads for embedding.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of all that is drawn; the same gives the same result.")]
Tower = Annotated[
    str | None,
    typer.Option(help="Of a bundle of several modalities: the tower that takes the items.", show_default=False),
]
