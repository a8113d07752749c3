"""The command line. Thin: each command parses, calls one function, prints; what it needs is imported when it runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from nearfar import __version__
from nearfar.cli import (
    calibrate,
    catalogue,
    classify,
    cluster,
    compress,
    convert,
    dedupe,
    demo,
    doctor,
    edit,
    evaluate,
    forget,
    import_encoder,
    keys,
    monitor,
    people,
    pictures,
    push,
    recipe,
    recommend,
    record,
    replay,
    reranker,
    retrieve,
    search,
    simulate,
    tables,
    train,
)
from nearfar.errors import InterruptedRunError, NearfarError

app = typer.Typer(
    name="nearfar",
    help="Contrastive learning on your own data, and private search with the result on your own device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(train.train)
app.command()(train.export)
app.command()(evaluate.evaluate)
app.command()(compress.compress)
app.command("import")(import_encoder.import_encoder)
app.command()(convert.convert)
app.command()(pictures.finetune)
app.command()(pictures.views)
app.command()(tables.columns)
app.command()(search.inspect)
app.command()(search.index)
app.command()(search.watch)
app.command()(edit.add)
app.command()(edit.remove)
app.command("search")(search.search)
app.command()(retrieve.retrieve)
app.command()(doctor.doctor)
app.command()(push.push)
app.command()(tables.similar)
app.command()(dedupe.dedupe)
app.command()(cluster.cluster)
app.add_typer(classify.app, name="classify")
app.command()(reranker.reranker)
app.command()(monitor.monitor)
app.command()(replay.replay)
app.command()(calibrate.calibrate)
app.command()(people.enroll)
app.command()(people.verify)
app.command()(people.identify)
app.command()(people.revoke)
app.command("people")(people.people)
app.command()(people.audit)
app.command()(record.record)
app.command()(recommend.recommend)
app.command()(forget.forget)
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(simulate.app, name="simulate")
app.add_typer(keys.app, name="key")
app.add_typer(recipe.app, name="recipe")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nearfar {__version__}")
        raise typer.Exit


@app.callback()
def _nearfar(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Contrastive learning on your own data, and private search with the result on your own device."""


def main() -> None:
    """Run the command line; an error that nearfar raises on purpose is one message, never a traceback."""
    try:
        app()
    except InterruptedRunError as error:
        typer.echo(str(error), err=True)
        sys.exit(130)
    except NearfarError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(130)
    except (BrokenPipeError, SystemExit) as error:
        # Typer and rich turn a broken pipe into the status 1 of a failure.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # The reader of our output (`| head`) has what it wanted. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
