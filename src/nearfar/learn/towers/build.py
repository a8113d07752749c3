"""The towers of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from nearfar.learn.towers.audio import AudioSide
from nearfar.learn.towers.bundle import BundleSide
from nearfar.learn.towers.frozen import FrozenSide, varies
from nearfar.learn.towers.image import ImageSide
from nearfar.learn.towers.series import SeriesSide
from nearfar.learn.towers.table import TableSide
from nearfar.learn.towers.text import TextSide
from nearfar.learn.towers.tower import Tower
from nearfar.recipe.joint import AnyTower, AudioTower, BundleEncoder, ImageTower, SeriesTower, TableTower, TextTower


def build_tower(name: str, settings: AnyTower) -> Tower:
    """The tower that a recipe describes.

    Args:
        name: of the tower.
        settings: its block.
    """
    if isinstance(settings.encoder, BundleEncoder):
        return BundleSide(name, settings)
    tower = _learning(name, settings)
    return FrozenSide(tower, stored=not varies(settings)) if settings.frozen else tower


def _learning(name: str, settings: AnyTower) -> Tower:
    """The tower with an encoder of its own, which learns."""
    match settings:
        case TextTower():
            return TextSide(name, settings)
        case ImageTower():
            return ImageSide(name, settings)
        case AudioTower():
            return AudioSide(name, settings)
        case SeriesTower():
            return SeriesSide(name, settings)
        case TableTower():
            return TableSide(name, settings)
        case _:
            assert_never(settings)


def build_towers(settings: Mapping[str, AnyTower]) -> dict[str, Tower]:
    """All towers of a recipe, by name, in its order."""
    return {name: build_tower(name, block) for name, block in settings.items()}
