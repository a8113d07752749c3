"""`nearfar record`: what the user of this device did, into a sealed history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nearfar.cli.history_options import Directory, Place, moment, pairs

if TYPE_CHECKING:
    from nearfar.edge.recommend.answers import Event
    from nearfar.edge.recommend.recommender import Recommender


def record(
    directory: Directory,
    item: Annotated[str | None, typer.Argument(metavar="ITEM", help="The name of what was acted on.")] = None,
    action: Annotated[
        str,
        typer.Option(
            "--action",
            help="The kind of action, where the bundle tells kinds apart; with --import, of a file that does not say it.",
        ),
    ] = "",
    dwell: Annotated[float | None, typer.Option("--dwell", help="Seconds spent on it.")] = None,
    rating: Annotated[float | None, typer.Option("--rating", help="What the user gave it.")] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="When, as 2025-01-31T18:30; by default now. The same event given twice is one."),
    ] = None,
    import_file: Annotated[
        Path | None,
        typer.Option(
            "--import", metavar="FILE", help="In place of ITEM: what one user did elsewhere, as CSV, JSONL or Parquet."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="WHAT=NAME",
            help="With --import: which column holds item, time, user, action, dwell or rating; by default the one of that name.",
        ),
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="With --import: whose rows of several users.")] = None,
    timezone: Annotated[str, typer.Option("--timezone", help="With --import: of times that name none.")] = "UTC",
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FILE", help="In place of ITEM: write the history as CSV or JSONL, not sealed any more."
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="The first time: the recommender, which is copied into DIR. Later: a newer one."),
    ] = None,
    key: Place = None,
) -> None:
    """Record what you did with an item, into a sealed history that stays on this device.

    The first time it makes the directory: give the recommender (--bundle), and where the key is kept (--key, by default a passphrase).
    """
    from nearfar.cli.console import show_skipped
    from nearfar.edge.recommend.answers import Event
    from nearfar.errors import DataError

    if sum(given is not None for given in (item, import_file, export)) != 1:
        raise DataError("record: say what was acted on (ITEM), or which file to read (--import) or to write (--export)")
    columns = pairs(column, "--column")
    if import_file is None and (columns or user is not None):
        raise DataError("--column and --user say how to read a file: give it with --import")
    if item is None and (at is not None or dwell is not None or rating is not None or (export is not None and action)):
        raise DataError("--action, --at, --dwell and --rating are of one event: give its ITEM")
    if import_file is not None and not import_file.exists():
        raise DataError(f"{import_file}: there is no such file: check the path")
    time = None if at is None else moment(at, "--at")  # before a directory and its key are made
    event = None if item is None else Event(item, action, time, dwell, rating)
    with _open_or_make(directory, bundle, key, event) as recommender:
        if export is not None:
            count = recommender.export(export)
            typer.echo(f"{export}: {_events(count)}; whoever reads the file reads them")
            return
        if import_file is not None:
            done = recommender.import_history(import_file, columns, user=user, action=action, timezone=timezone)
            show_skipped(done.skipped, done.examples)
            known = done.read - done.new
            again = f", {known:,} were there already" if known else ""
            typer.echo(
                f"{import_file}: {_events(done.new)} recorded{again}; {directory} has {_events(len(recommender))}"
            )
            return
        assert event is not None
        new = recommender.record(event)
        what = f"{event.item}: {'recorded' if new else 'was recorded before, and is one event'}"
        typer.echo(f"{what}{_note(recommender, event)}; {directory} has {_events(len(recommender))}")


def _open_or_make(directory: Path, bundle: Path | None, key: str | None, event: Event | None) -> Recommender:
    """Open a history; make it where there is none yet, unless the first event cannot be recorded in it."""
    from nearfar.bundle import Bundle
    from nearfar.edge.recommend.recommender import Recommender
    from nearfar.edge.sealed.new_folder import is_free
    from nearfar.errors import DataError
    from nearfar.frontend.events import EventsFrontend
    from nearfar.frontend.settings import EventsSettings

    if not is_free(directory):
        return Recommender.open(directory, bundle, key=key)
    if bundle is None:
        raise DataError(
            f"{directory}: there is no history yet; give the recommender to begin one with: --bundle BUNDLE"
        )
    opened = Bundle.open(bundle)
    if event is not None and isinstance(opened.manifest.frontend, EventsSettings):
        EventsFrontend(opened.manifest.frontend).weight_of(event.action, event.dwell, event.rating)
    return Recommender.create(directory, opened, key=key or "passphrase")


def _note(recommender: Recommender, event: Event) -> str:
    """What an event does, where one may not expect it."""
    from nearfar.frontend.events import EventsFrontend
    from nearfar.frontend.settings import EventsSettings

    settings = recommender.bundle.manifest.frontend
    assert isinstance(settings, EventsSettings)
    frontend = EventsFrontend(settings)
    weight = frontend.weight_of(event.action, event.dwell, event.rating)
    if recommender.catalogue.number_of(event.item) is None:
        return "; not in the catalogue, so it counts once an update brings it"
    if weight < 0:
        return " as disliked, and not recommended any more"
    if frontend.is_accident(weight, event.dwell):
        return f"; shorter than {settings.least_dwell:g} s, so it counts only as seen"
    return "" if weight else "; only shown, so it counts for nothing"


def _events(count: int) -> str:
    return f"{count:,} event{'' if count == 1 else 's'}"
