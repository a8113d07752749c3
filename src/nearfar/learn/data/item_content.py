"""What is known of the items, as numbers: words and categories as tokens, numbers scaled, pictures and texts as vectors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.learn.data.actions import Content
from nearfar.recipe.events import ItemContent
from nearfar.sources.item_table import ItemRow, ItemTable

Embed = Callable[[str, Sequence[ItemRow]], npt.NDArray[np.float32]]
"""Vectors (n, d) of the items by a bundle: what is embedded, `image` or `text`, and the items; rows of zeros where one has nothing."""

_WORD = re.compile(r"[^\W_]+")
_LEAST = 2  # items that a word or category must have: what one item alone has says nothing of others


@dataclass(frozen=True)
class ContentForm:
    """What content is written in, so that that of further items can be told alike.

    Attributes:
        vocabulary: of the tokens.
        scales: column of numbers -> mean, and standard deviation above 0.
    """

    vocabulary: list[str]
    scales: dict[str, tuple[float, float]]

    @classmethod
    def like(cls, content: Content) -> ContentForm:
        """The form of a corpus, for items that come later."""
        return cls(content.vocabulary, content.scales)

    @classmethod
    def of(cls, rows: Sequence[ItemRow]) -> ContentForm:
        """All words and categories that several of the items have, commonest first, and the scales of their numbers."""
        counts = Counter(token for row in rows for token in set(tokens_of(row)))
        order = sorted((-count, token) for token, count in counts.items() if count >= _LEAST)
        columns = list(rows[0].numbers) if rows else []
        scales = {name: _scale(np.array([row.numbers[name] for row in rows])) for name in columns}
        return cls([token for _, token in order], scales)

    def content_of(self, rows: Sequence[ItemRow], vectors: npt.NDArray[np.float32]) -> Content:
        """Items in this form.

        Args:
            rows: n items.
            vectors: float32 (n, q), by bundles; q is 0 without.
        """
        place = {token: number for number, token in enumerate(self.vocabulary)}
        found = [[place[token] for token in dict.fromkeys(tokens_of(row)) if token in place] for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(tokens) for tokens in found])]).astype(np.int64)
        tokens = np.array([token for some in found for token in some], np.int64)
        return Content(offsets, tokens, self.vocabulary, self._numbers(rows), vectors, self.scales)

    def _numbers(self, rows: Sequence[ItemRow]) -> npt.NDArray[np.float32]:
        columns = []
        for name, (centre, spread) in self.scales.items():
            values = np.array([row.numbers.get(name, np.nan) for row in rows], np.float64)
            missing = ~np.isfinite(values)
            columns.append(np.where(missing, 0.0, (values - centre) / spread))
            columns.append(missing.astype(np.float64))
        return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((len(rows), 0), np.float32)


def _scale(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known.mean()), float(known.std()) or 1.0) if len(known) else (0.0, 1.0)


def tokens_of(row: ItemRow) -> list[str]:
    """The words of title and texts, and the categories, of one item: `word=night`, `genre=Drama`."""
    words = (word for text in (row.title, *row.texts.values()) for word in _WORD.findall(text.lower()))
    own = [f"{column}={name}" for column, names in row.categories.items() for name in names]
    return [f"word={word}" for word in words] + own


def facts_of(row: ItemRow) -> dict[str, object]:
    """What a person may be told of an item: title, categories, numbers and further columns, without what is missing."""
    facts: dict[str, object] = {"title": row.title} if row.title else {}
    facts |= {name: cell for name, cell in row.facts.items() if isinstance(cell, str | int | float | bool)}
    # Above the cells as they are: in CSV these are text, which no number can be compared with.
    facts |= {name: list(some) for name, some in row.categories.items() if some}
    finite = ((name, float(value)) for name, value in row.numbers.items() if np.isfinite(value))
    return facts | {name: int(value) if value.is_integer() else value for name, value in finite}


def open_items(items: ItemContent, facts: Sequence[str] = ()) -> ItemTable:
    """What reads the table of items of a recipe."""
    columns = items.columns
    return ItemTable(
        items.path,
        item=columns.item,
        title=columns.title,
        texts=columns.texts,
        categories=columns.categories,
        numbers=columns.numbers,
        facts=facts,
        image=columns.image,
        separator=items.separator,
    )


def embedded(items: ItemContent, rows: Sequence[ItemRow], embed: Embed | None) -> npt.NDArray[np.float32]:
    """Vectors (n, q) of the items by the bundles of a recipe, unit rows side by side; q is 0 where it names none.

    Raises:
        DataError: bundles are named, but nobody is there who can run them.
    """
    kinds = [
        kind for kind, bundle in (("image", items.image_bundle), ("text", items.text_bundle)) if bundle is not None
    ]
    if not kinds:
        return np.zeros((len(rows), 0), np.float32)
    if embed is None:
        raise DataError(f"data.source.items.{kinds[0]}_bundle needs an encoder, and none was given: leave it out")
    return np.concatenate([_unit(embed(kind, rows)) for kind in kinds], axis=1)


def _unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return unit
