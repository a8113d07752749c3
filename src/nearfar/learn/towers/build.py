"""The towers of a recipe."""

from __future__ import annotations

from collections.abc import Mapping

from nearfar.learn.towers.tower import Tower
from nearfar.recipe.joint import AnyTower


def build_tower(name: str, settings: AnyTower) -> Tower:
    """The tower that a recipe describes.

    Args:
        name: of the tower.
        settings: its block.
    """
    raise NotImplementedError


def build_towers(settings: Mapping[str, AnyTower]) -> dict[str, Tower]:
    """All towers of a recipe, by name, in its order."""
    return {name: build_tower(name, block) for name, block in settings.items()}
