"""What to do: a run described in one YAML file, read with precise errors. No torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfar.recipe.json_schema import recipe_json_schema
    from nearfar.recipe.load import load_recipe, parse_recipe
    from nearfar.recipe.reference import recipe_reference
    from nearfar.recipe.schema import Recipe
    from nearfar.recipe.summary import summarise
    from nearfar.recipe.yaml_text import dump_recipe

__all__ = [
    "Recipe",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_json_schema",
    "recipe_reference",
    "summarise",
]

_HOME = {
    "Recipe": "schema",
    "dump_recipe": "yaml_text",
    "load_recipe": "load",
    "parse_recipe": "load",
    "recipe_json_schema": "json_schema",
    "recipe_reference": "reference",
    "summarise": "summary",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that importing one file of this room does not load the others."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
