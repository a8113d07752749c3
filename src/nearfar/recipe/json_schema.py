"""The recipe's JSON Schema: for editors, and the map by which this room finds its way (messages, overrides, reference)."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any


def recipe_json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a recipe, with descriptions and defaults; the caller owns the copy."""
    return copy.deepcopy(_schema())


@cache
def _schema() -> dict[str, Any]:
    from nearfar.recipe.schema import Recipe

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema(mode="validation")}
