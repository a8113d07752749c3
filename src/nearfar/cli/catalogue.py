"""`nearfar catalogue`: what a publisher sends to devices when items come and go, and what devices do with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nearfar.cli.options import AsJson

app = typer.Typer(name="catalogue", help="Signed updates of what a recommender recommends from.", no_args_is_help=True)


@app.callback()
def _catalogue() -> None:
    """Signed updates of what a recommender recommends from."""


@app.command()
def key(
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the key; what is there is not replaced.")],
    as_json: AsJson = False,
) -> None:
    """Make the key that updates are signed with, and print its public half for the recipe.

    Of a key that is there the public half is printed again. Whoever has the file can change the catalogue of every device.
    """
    from nearfar.edge.recommend.signing import Publisher

    made = not output.exists()
    public_key = Publisher.open(output, create=True).public_key
    if as_json:
        typer.echo(json.dumps({"path": str(output), "made": made, "public_key": public_key}))
        return
    from nearfar.cli.console import notes

    typer.echo(f'recommend: {{signed_by: "{public_key}"}}')
    what = (
        "made; only you may read it. Keep a copy in a safe place: no other key can update the same bundles"
        if made
        else "was there"
    )
    notes.print(
        f"{output}: {what}. The line above goes into the recipe, before the bundle is exported.", soft_wrap=True
    )


@app.command()
def make(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run that the bundle is of.")],
    items: Annotated[
        Path, typer.Argument(metavar="ITEMS", help="The table of items as it is now, with the columns of the recipe.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the update, such as update-1.nfd.")],
    key: Annotated[Path, typer.Option("--key", help="File of the key, as nearfar catalogue key made it.")],
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="ITEM", help="An item that shall be no more; may be given many times."),
    ] = None,
    only_these: Annotated[
        bool, typer.Option("--only-these", help="Remove every item that the table does not have.")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="The bundle that devices have, if not that of the run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what is new, changed and gone since the last update as a signed file.

    Items that nobody had acted on get vectors of their content; the others keep theirs. Send every update to every device: they are taken
    in their order only.
    """
    from nearfar.cli.console import out, progress_lines, show_skipped
    from nearfar.road.catalogue import make_catalogue_update

    with progress_lines() as stages:
        update = make_catalogue_update(
            run, items, output, key=key, remove=remove or (), only_these=only_these, bundle=bundle, stages=stages
        )
    show_skipped(update.skipped, update.examples)
    if as_json:
        typer.echo(json.dumps({**asdict(update), "path": str(update.path)}, ensure_ascii=False))
        return
    out.print(
        f"{update.path}: update {update.sequence}: {update.added:,} added, {update.changed:,} changed, {update.removed:,} removed; "
        f"{update.items:,} items then, {update.size_bytes / 1e3:,.1f} kB",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command("apply")
def apply_update(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What nearfar record made.")],
    updates: Annotated[list[Path], typer.Argument(metavar="UPDATE...", help="Updates, in their order.")],
    as_json: AsJson = False,
) -> None:
    """Take signed updates; the history stays, and items in it that come back are known again.

    The history is not opened, so its key is not needed: the publisher's signature decides.
    """
    from nearfar.cli.console import out
    from nearfar.edge.recommend.catalogue_store import CatalogueStore
    from nearfar.edge.sealed.kept_bundle import only_bundle

    bundle, store = only_bundle(directory, "history"), CatalogueStore(directory)
    before = store.load(bundle)
    for update in updates:
        after = store.apply(bundle, update)
        new = after.sequence > before.sequence
        if as_json:
            typer.echo(
                json.dumps({"update": str(update), "taken": new, "sequence": after.sequence, "items": len(after)})
            )
        else:
            what = (
                f"update {after.sequence} taken: {len(before):,} items before, {len(after):,} now"
                if new
                else "was taken before"
            )
            out.print(f"{update}: {what}", markup=False, highlight=False, soft_wrap=True)
        before = after
