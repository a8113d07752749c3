"""Which columns of a table hold what; options of the commands that read one."""

from __future__ import annotations

from typing import Annotated

import typer

Text = Annotated[str, typer.Option("--text", help="Of a table: the column with the text.")]
TextIfAny = Annotated[
    str | None,
    typer.Option("--text", help="Of a table: the column with the text; by default text.", show_default=False),
]
"""The same where a table may hold something else than texts."""
Items = Annotated[
    list[str] | None,
    typer.Option(
        "--item",
        metavar="TOWER=COLUMN",
        help="Of a table, with a bundle of several modalities: put each filled cell of this column in as an item of this tower; a row "
        "of numbers has its columns with commas between. Once for each tower.",
    ),
]
Title = Annotated[str | None, typer.Option("--title", help="Of a table: the column with the title.")]
Id = Annotated[str | None, typer.Option("--id", help="Of a table: the column with a unique id.")]
Location = Annotated[str | None, typer.Option("--location", help="Of a table: the column that says where the item is.")]
MetadataColumns = Annotated[
    str | None,
    typer.Option(
        "--metadata",
        help="Of a table: columns that searches can be narrowed by, with commas between, or the word all.",
    ),
]
