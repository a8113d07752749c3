"""How the data of a monitor was read when it was trained, for whoever reads more of it."""

from __future__ import annotations

from typing import Any

from nearfar.bundle.bundle import Bundle


def recipe_source(bundle: Bundle) -> dict[str, Any]:
    """The `data.source` of the recipe of a bundle, as a mapping; empty where the recipe is not of series."""
    data = bundle.manifest.provenance.recipe.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    return source if isinstance(source, dict) and source.get("kind") == "series" else {}
