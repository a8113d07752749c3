"""Rows of a tower: kept once, what their columns are, embedded alike in torch and in the graph."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_towers import agreement, built, kept, tower_of

from nearfar.errors import DataError, RunError
from nearfar.frontend.table import TableFrontend
from nearfar.frontend.table_columns import TableLook
from nearfar.learn.towers.originals import row_text
from nearfar.learn.towers.table import RowItems
from nearfar.learn.towers.tower import RefusedItem

MLP = "{kind: table, encoder: {kind: mlp, width: 16, layers: 2, dim: 16}}"
TOKENS = "{kind: table, encoder: {kind: feature_tokens, layers: 1, heads: 2, dim: 16}}"


def rows(count: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    colours = ["red", "green", "blue"]
    return [
        {
            "size": f"{rng.normal():.4f}",
            "colour": colours[number % 3],
            "made": dt.date(2024, 1, 1) + dt.timedelta(days=int(rng.integers(300))),
            "price": None if number % 7 == 0 else decimal.Decimal(int(rng.integers(1000))) / 100,
        }
        for number in range(count)
    ]


def row_items(tmp_path: Path, block: str = MLP) -> RowItems:
    items = kept(tower_of(block), rows(), tmp_path / "items")
    assert isinstance(items, RowItems)
    return items


def test_equal_rows_have_one_number_in_whatever_order_their_columns_are(tmp_path: Path) -> None:
    writer = tower_of(MLP).writer(tmp_path / "items", seed=0)
    found = [writer.add(row, "a:1") for row in ({"a": 1, "b": "x"}, {"b": "x", "a": 1}, {"a": 2, "b": "x"})]
    assert found == [0, 0, 1]


@pytest.mark.parametrize("content", [{}, {"a": "", "b": None, "c": "NA", "d": float("nan")}, None, "a", [("a", 1)]])
def test_what_is_no_row_is_refused(tmp_path: Path, content: object) -> None:
    writer = tower_of(MLP).writer(tmp_path / "items", seed=0)
    with pytest.raises(RefusedItem):
        writer.add(content, "a:1")


def test_scales_and_categories_are_those_of_training_rows(tmp_path: Path) -> None:
    values = [{"size": number, "kind": "known" if number % 2 else "other"} for number in (3, 1, 2, 5, 4, 8, 6)]
    values += [{"size": 1000, "kind": "new"}]
    items = kept(tower_of(MLP), values, tmp_path / "items", train=0.8)
    found = {column.name: column for column in items.frontend.columns}  # type: ignore[union-attr]
    assert found["size"].knots[-1] == 8  # type: ignore[union-attr]
    assert set(found["kind"].values) == {"known", "other"}  # type: ignore[union-attr]
    assert items.counts == {"rows": 8, "columns": 2}


def test_nothing_to_learn_from_names_the_tower(tmp_path: Path) -> None:
    writer = tower_of(MLP, "log").writer(tmp_path / "items", seed=0)
    for number in range(5):
        writer.add({"same": "always", "other": [number]}, "a:1")
    with pytest.raises(DataError, match="tower log: no column"):
        writer.finish(np.arange(1))


def test_a_writer_that_was_killed_starts_again(tmp_path: Path) -> None:
    broken = tower_of(MLP).writer(tmp_path / "items", seed=0)
    for row in rows(80)[::-1]:
        broken.add(row, "a:1")
    del broken
    again, afresh = row_items(tmp_path), kept(tower_of(MLP), rows(), tmp_path / "afresh")
    assert isinstance(afresh, RowItems)
    np.testing.assert_array_equal(again.keys, afresh.keys)
    np.testing.assert_array_equal(again.values, afresh.values)
    assert again.frontend == afresh.frontend


@pytest.mark.parametrize("block", [MLP, TOKENS])
def test_the_device_makes_the_same_vectors(tmp_path: Path, block: str) -> None:
    items, tower = row_items(tmp_path, block), tower_of(block)
    encoder = built(tower, items)
    assert agreement(tower, encoder, items) > 0.9999
    assert agreement(tower, encoder, items, quantise="int8") > 0.98


def test_training_sees_what_the_device_sees(tmp_path: Path) -> None:
    items = row_items(tmp_path)
    numbers = np.array([4, 0, 4])
    inputs = items.inputs(numbers, np.random.default_rng(0))
    _, seen = next(items.seen(numbers, 3))
    torch.testing.assert_close(inputs, seen)
    made = TableFrontend(items.frontend).encode([rows()[number] for number in numbers])
    np.testing.assert_array_equal(inputs[0].numpy(), made.values)
    np.testing.assert_array_equal(inputs[1].numpy(), made.codes)


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
    st.decimals(allow_nan=True).filter(lambda cell: not cell.is_snan()),
    st.dates(dt.date(1900, 1, 1), dt.date(2200, 1, 1)),
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC) | st.none()),
    st.integers(0, 200).map(np.uint8),
    st.lists(st.integers(), max_size=2),
    st.binary(max_size=4),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.fixed_dictionaries({"a": CELLS, "b": CELLS}), min_size=2, max_size=8))
def test_a_row_on_disk_has_the_features_of_the_row(found: list[dict[str, Any]]) -> None:
    """Whatever its cells are: numbers, dates, decimals, whole numbers of NumPy."""
    look = TableLook()
    for row in found:
        look.add(row)
    try:
        made = look.settings()
    except DataError:
        return
    again = TableLook()
    for row in found:
        again.add(json.loads(row_text(row)))
    assert again.settings().columns == made.columns
    frontend = TableFrontend(made)
    for mine, theirs in zip(
        frontend.encode(found), frontend.encode([json.loads(row_text(r)) for r in found]), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_start_brings_its_columns(tmp_path: Path) -> None:
    """Those of a run over the same kind of rows, whose weights know no others."""
    items = row_items(tmp_path)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "data").mkdir()
    (run / "data" / "columns.json").write_text(items.frontend.model_dump_json(), "utf-8")
    encoder = built(tower_of(MLP), items, seed=4)
    state = {f"method.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"state_dict": state}, run / "checkpoints" / "best.ckpt")
    tower = tower_of(MLP.replace("{kind: table,", f"{{kind: table, start: '{run}',"))
    tower.check()
    few = kept(tower, rows(10), tmp_path / "few")
    assert few.frontend == items.frontend
    torch.testing.assert_close(built(tower, few).state_dict(), encoder.state_dict())
    (run / "data" / "columns.json").unlink()
    with pytest.raises(RunError, match="does not say what its columns were"):
        tower.check()
