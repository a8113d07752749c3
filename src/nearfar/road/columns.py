"""How the columns of a table would be read, to look at before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.errors import RecipeError
from nearfar.progress import Stages, silent
from nearfar.recipe import load_recipe
from nearfar.recipe.table import RowsSource, TableFrontendSettings

if TYPE_CHECKING:
    from nearfar.frontend.table_columns import ColumnSummary
    from nearfar.sources.document import ReadReport


def read_columns(
    place: Path, overrides: Sequence[str] = (), *, stages: Stages = silent
) -> tuple[list[ColumnSummary], ReadReport]:
    """Look at every row of a table and say what each column is taken for.

    Args:
        place: a table or a folder of such; or a recipe for one, whose `columns` then count.
        overrides: `key.path=value`, as `--set` on the command line; only with a recipe.
        stages: told how far it is.

    Returns:
        A summary of each column, and what was passed over.

    Raises:
        DataError: where the table cannot be read, or nothing in it can be learned from.
        RecipeError: where the recipe is not for tables.
    """
    source, frontend = RowsSource(kind="rows", path=place), TableFrontendSettings(kind="table")
    if place.suffix.lower() in (".yaml", ".yml"):
        recipe = load_recipe(place, overrides)
        if recipe.modality != "table":
            raise RecipeError(f"recipe {recipe.name} is not for tables: it has no columns to look at")
        source, frontend = recipe.of_table.source, recipe.of_table.frontend
    elif overrides:
        raise RecipeError("--set changes a recipe: give one (.yaml) in place of the table")
    from nearfar.learn.data.table_rows import look_at, open_rows, settings_of

    rows = open_rows(source)
    look, _ = look_at(rows, frontend, stages("reading"))
    return look.summaries(settings_of(look, source.columns, frontend)), rows.report
