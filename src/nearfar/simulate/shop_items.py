"""What a made shop sells: items with a kind, a colour, a price, and others that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STYLES: Final = 4
"""Numbers that say what an item is like, and what somebody likes."""
COLOURS: Final = ("black", "white", "red", "blue", "green", "yellow", "grey", "brown")
CATEGORIES: Final = {
    "lamps": ("lamp", "lantern", "candle", "spotlight"),
    "chairs": ("chair", "stool", "armchair", "bench"),
    "tables": ("table", "desk", "sideboard", "shelf"),
    "kitchen": ("pan", "kettle", "knife", "bowl"),
    "garden": ("spade", "hose", "pot", "rake"),
    "sports": ("ball", "racket", "bicycle", "helmet"),
    "books": ("novel", "atlas", "cookbook", "guide"),
    "music": ("guitar", "drum", "flute", "record"),
    "toys": ("puzzle", "kite", "robot", "doll"),
    "clothes": ("coat", "scarf", "shirt", "hat"),
}
"""Kind of item -> what such items are."""
_WORDS: Final = ("small", "large", "light", "sturdy", "round", "folding", "classic", "plain", "fine", "quiet")

_COMPANIONS = 4
_NEW, _COMING = 0.1, 0.05  # share of the items that come late, and that nobody could act on yet
_PARTNERS = 2  # kinds of item that those of one kind go with


@dataclass(frozen=True)
class ShopItems:
    """The items of a shop, by number.

    Attributes:
        names: what the log calls them.
        titles: what people call them.
        categories: int64 (n,), places in `CATEGORIES`.
        colours: int64 (n,), places in `COLOURS`.
        prices: float64 (n,).
        styles: float64 (n, STYLES): colour and kind say most of it, the rest nobody wrote down.
        appeal: float64 (n,), what everybody sees in it.
        born: float64 (n,), from when on it is there, as a share of the time; 1 for those that come when all is over.
        companions: int64 (n, 4), what goes with it, the best first.
    """

    names: list[str]
    titles: list[str]
    categories: Ints
    colours: Ints
    prices: Floats
    styles: Floats
    appeal: Floats
    born: Floats
    companions: Ints

    @classmethod
    def draw(cls, count: int, rng: np.random.Generator) -> ShopItems:
        """Make so many items."""
        kinds = list(CATEGORIES)
        categories = rng.integers(len(kinds), size=count)
        colours = rng.integers(len(COLOURS), size=count)
        of_kind = rng.normal(0, 0.6, (len(kinds), STYLES))
        of_colour = rng.normal(0, 0.8, (len(COLOURS), STYLES))
        styles = of_kind[categories] + of_colour[colours] + rng.normal(0, 0.4, (count, STYLES))
        level = rng.normal(3.2, 0.8, len(kinds))
        prices = np.exp(level[categories] + rng.normal(0, 0.6, count)).round(2)
        born = np.where(rng.random(count) < _NEW, rng.uniform(0.6, 0.9, count), 0.0)
        born[count - max(1, round(_COMING * count)) :] = 1.0
        order = rng.permutation(len(kinds))
        partners = np.stack([np.roll(order, -step - 1)[np.argsort(order)] for step in range(_PARTNERS)], axis=1)
        digits = len(str(count))
        titles = [
            " ".join(
                (
                    str(rng.choice(_WORDS)),
                    COLOURS[colour],
                    str(rng.choice(CATEGORIES[kinds[category]])),
                )
            )
            for category, colour in zip(categories.tolist(), colours.tolist(), strict=True)
        ]
        return cls(
            names=[f"item-{number + 1:0{digits}}" for number in range(count)],
            titles=titles,
            categories=categories,
            colours=colours,
            prices=prices,
            styles=styles,
            appeal=rng.normal(0, 0.8, count),
            born=born,
            companions=_companions(categories, partners, styles, rng),
        )

    def __len__(self) -> int:
        return len(self.names)


def _companions(categories: Ints, partners: Ints, styles: Floats, rng: np.random.Generator) -> Ints:
    """For each item four of the kinds that go with its own, of a like style but for some luck."""
    nearness = -np.linalg.norm(styles[:, None, :] - styles[None, :, :], axis=2) + rng.gumbel(
        0, 0.3, (len(styles), len(styles))
    )
    fitting = (partners[categories][:, :, None] == categories[None, None, :]).any(axis=1)
    nearness[~fitting] -= 100.0
    np.fill_diagonal(nearness, -1e9)
    return np.argsort(-nearness, axis=1, kind="stable")[:, :_COMPANIONS]
