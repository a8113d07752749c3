"""`nearfar recipe`: check a recipe, and print what one may contain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nearfar.errors import RecipeError

app = typer.Typer(name="recipe", help="Check a recipe, and see what one may contain.", no_args_is_help=True)

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of the terminal.")]


@app.callback()
def _recipe() -> None:
    """Check a recipe, and see what one may contain."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value; may be given many times.")
    ] = None,
) -> None:
    """Say what a run of the recipe would do, or what is wrong with it."""
    from nearfar.recipe import load_recipe, summarise

    try:
        rows = summarise(load_recipe(file, overrides or ()))
    except RecipeError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    width = max(len(what) for what, _ in rows)
    for what, how in rows:
        typer.echo(f"{what:<{width}}  {how}")


@app.command()
def schema(output: Output = None) -> None:
    """Print the JSON Schema of a recipe, for completion and checks in an editor."""
    from nearfar.recipe import recipe_json_schema

    _put(json.dumps(recipe_json_schema(), indent=2, ensure_ascii=False) + "\n", output)


@app.command()
def reference(output: Output = None) -> None:
    """Print the page that documents every key of a recipe (Markdown)."""
    from nearfar.recipe import recipe_reference

    _put(recipe_reference(), output)


def _put(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        typer.echo(f"{output}: cannot be written: {error.strerror}", err=True)
        raise typer.Exit(2) from None
