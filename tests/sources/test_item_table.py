"""Tables of items: each item once, cells as what the recipe says they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.sources.item_table import ItemTable


def test_cells_become_what_their_column_is_for(tmp_path: Path) -> None:
    rows = [
        {
            "item": 1,
            "title": "Night",
            "genres": ["Drama", "Drama", None],
            "price": "2.5",
            "cover": "a.png",
            "year": 1999,
        },
        {"item": "2", "title": None, "genres": "Comedy|Crime", "price": None, "cover": None, "year": None},
    ]
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    table = ItemTable(
        path,
        title="title",
        categories=("genres",),
        numbers=("price",),
        facts=("year",),
        image="cover",
        texts=("title",),
    )
    first, second = table.rows()
    assert (first.name, first.title, first.categories) == ("1", "Night", {"genres": ("Drama",)})
    assert (first.numbers, first.facts, first.image) == ({"price": 2.5}, {"year": 1999}, tmp_path / "a.png")
    assert (second.name, second.title, second.categories) == ("2", "", {"genres": ("Comedy", "Crime")})
    assert np.isnan(second.numbers["price"])
    assert second.image is None


def test_of_two_rows_of_an_item_the_first_counts(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item,title,price\na,First,x\na,Second,1\n,Nobody,1\n", "utf-8")
    table = ItemTable(path, title="title", numbers=("price",))
    assert [row.title for row in table.rows()] == ["First"]
    assert table.report.skipped == {
        "no number in price, which counts as missing": 1,
        "an item for the second time": 1,
        "no item": 1,
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("items.txt", "item\na\n", "no table of items"),
        ("items.csv", "item\n", "no item in it"),
        ("items.csv", "name\na\n", 'no column "item"'),
    ],
)
def test_a_table_of_no_use_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(DataError, match=message):
        list(ItemTable(tmp_path / name).rows())
