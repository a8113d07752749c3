"""What is known of the items as numbers, and the same for items that come later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.learn.data.item_content import ContentForm, embedded, facts_of, tokens_of
from nearfar.recipe.events import ItemContent
from nearfar.sources.item_table import ItemRow

NO_VECTORS = np.zeros((2, 0), np.float32)


def lamp(name: str, title: str, price: float = 1.0, *kinds: str) -> ItemRow:
    return ItemRow(name, title, categories={"kind": kinds}, numbers={"price": price})


def test_words_are_told_from_categories_of_the_same_name() -> None:
    row = ItemRow("1", "Läufer, 2nd ed.", texts={"about": "the_LÄUFER"}, categories={"word": ("2nd",)})
    assert tokens_of(row) == ["word=läufer", "word=2nd", "word=ed", "word=the", "word=läufer", "word=2nd"]


def test_what_one_item_alone_has_is_no_token() -> None:
    rows = [lamp("1", "red red lamp", 1.0, "x"), lamp("2", "blue lamp", 3.0, "x")]
    assert ContentForm.of(rows).vocabulary == ["kind=x", "word=lamp"]


def test_later_items_are_told_in_the_form_of_the_first() -> None:
    rows = [lamp("1", "red lamp", 1.0), lamp("2", "blue lamp", 3.0)]
    content = ContentForm.of(rows).content_of(rows, NO_VECTORS)
    later = ContentForm.like(content).content_of([lamp("3", "lamp of iron", 5.0), ItemRow("4")], NO_VECTORS)
    assert later.vocabulary == content.vocabulary == ["word=lamp"]
    assert (later.offsets.tolist(), later.tokens.tolist()) == ([0, 1, 1], [0])
    assert later.numbers.tolist() == [[3, 0], [0, 1]]
    assert content.numbers.tolist() == [[-1, 0], [1, 0]]


def test_numbers_that_do_not_differ_or_are_not_there_stay_finite() -> None:
    rows = [lamp("1", "", 4.0), lamp("2", "", 4.0)]
    assert ContentForm.of(rows).content_of(rows, NO_VECTORS).numbers.tolist() == [[0, 0], [0, 0]]
    rows = [lamp("1", "", float("nan")), lamp("2", "", float("nan"))]
    assert ContentForm.of(rows).content_of(rows, NO_VECTORS).numbers.tolist() == [[0, 1], [0, 1]]


def test_facts_are_what_is_there() -> None:
    row = ItemRow(
        "1", "Lamp", categories={"kind": ("x",), "colour": ()}, numbers={"price": float("nan")}, facts={"year": 1999}
    )
    assert facts_of(row) == {"title": "Lamp", "kind": ["x"], "year": 1999}


def test_a_fact_that_is_a_number_of_the_item_is_a_number_though_csv_has_text() -> None:
    row = ItemRow("1", numbers={"price": 3.5}, facts={"price": "3.50", "shelf": "07"})
    assert facts_of(row) == {"price": 3.5, "shelf": "07"}


def test_vectors_of_bundles_become_unit_rows_side_by_side() -> None:
    rows = [lamp("1", "a"), lamp("2", "b")]
    known = {
        "image": np.array([[3.0, 4.0], [0.0, 0.0]], np.float32),
        "text": np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]], np.float32),
    }
    items = ItemContent(path=Path("items.csv"), image_bundle=Path("i"), text_bundle=Path("t"))
    vectors = embedded(items, rows, lambda kind, some: known[kind])
    assert vectors == pytest.approx(np.array([[0.6, 0.8, 0, 0, 1], [0, 0, 1, 0, 0]]))
    assert embedded(ItemContent(path=Path("items.csv")), rows, None).shape == (2, 0)
    with pytest.raises(DataError, match="image_bundle"):
        embedded(items, rows, None)
