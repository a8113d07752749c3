"""The recipes that come with nearfar."""

from __future__ import annotations

from pathlib import Path

from nearfar.errors import RecipeError

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_recipe(name: str) -> Path:
    """The file of a recipe that comes with nearfar: in a checkout `recipes/`, else the copy in the installed package.

    Args:
        name: without `.yaml`, for example `docs-search`.

    Raises:
        RecipeError: where there is none of that name.
    """
    for folder in (_PACKAGE.parents[1] / "recipes", _PACKAGE / "recipes"):
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    raise RecipeError(
        f"no recipe {name!r} comes with this installation: install nearfar again, or give the path of your own"
    )
