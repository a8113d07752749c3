"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value, as train.epochs=3; may be given many times."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
