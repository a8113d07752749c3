"""`nearfar key`: how the key of an encrypted index or a vault is kept, and changing that."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli.options import AsJson

app = typer.Typer(
    name="key", help="See and change how the key of an encrypted index or a vault is kept.", no_args_is_help=True
)

Index = Annotated[Path, typer.Argument(metavar="INDEX|VAULT", help="An encrypted index, or a vault of templates.")]


@app.callback()
def _key() -> None:
    """See and change how the key of an encrypted index or a vault is kept."""


@app.command()
def status(index: Index, as_json: AsJson = False) -> None:
    """Say what unlocks the key, and whether it can be reached now."""
    from nearfar.edge.keys import key_status

    found = key_status(index)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(found), ensure_ascii=False, indent=1))
        return
    from nearfar.cli.console import out, pairs_table

    reached = {True: "yes", False: f"no: {found.problem}", None: "known to its user"}[found.available]
    out.print(pairs_table([("kept in", found.rung), ("a thief", found.protection), ("within reach", reached)]))


@app.command()
def passphrase(index: Index) -> None:
    """Change the passphrase; nothing else is encrypted anew.

    Asked at the terminal, or taken from NEARFAR_PASSPHRASE and NEARFAR_NEW_PASSPHRASE. Copies of key.json made before
    still open with the old passphrase.
    """
    from nearfar.edge.keys import change_passphrase

    change_passphrase(index)
    typer.echo(f"{index}: the passphrase is changed; replace older copies of key.json, the old one still opens them")


@app.command()
def move(
    index: Index,
    place: Annotated[
        str, typer.Argument(metavar="PLACE", help="keystore:NAME, credential:NAME, passphrase or file:PATH.")
    ],
) -> None:
    """Keep the key in another place from now on; nothing else is encrypted anew."""
    from nearfar.edge.keys import key_status, move_key

    before = key_status(index).rung
    move_key(index, place)
    typer.echo(f"{index}: the key is now unlocked by {key_status(index).rung}, no longer by {before}")
