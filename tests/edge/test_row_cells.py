"""Rows as items of a collection: what they have in common, what tells clusters apart, what is near."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nearfar.edge.collections.collection import Collection, collect_rows
from nearfar.edge.collections.near_threshold import threshold_for_rows
from nearfar.edge.collections.row_cells import alike, cells_of, check_cells, row_text, top_cells
from nearfar.edge.collections.similar_rows import row_called, similar_to_cells, similar_to_row
from nearfar.errors import DataError
from nearfar.evaluate.columns import ColumnEmbedder
from nearfar.frontend import TableFrontend, TableSettings
from nearfar.frontend.settings import CategoryColumn, NumberColumn
from nearfar.sources.row_table import RowTable

SETTINGS = TableSettings(
    columns=(
        NumberColumn(name="age", knots=(0, 100), levels=(-1, 1)),
        CategoryColumn(name="town", values=("Ulm", "Bonn", "Jena")),
        CategoryColumn(name="home\nowner", values=("true", "false")),
    ),
    missing=("", "?"),
)


@pytest.fixture
def embedder():
    frontend = TableFrontend(SETTINGS)
    return ColumnEmbedder(frontend.encode, frontend.widths)


def test_the_cells_of_a_row_come_back_from_its_text():
    text = row_text({"age": 41.0, "town": "a: b\nc", "home\nowner": "?", "more": 1}, SETTINGS)
    assert text == "age: 41\ntown: a: b c\nhome owner: -"
    assert cells_of(text, SETTINGS) == ["41", "a: b c", "-"]


def test_rows_are_alike_by_their_cells():
    texts = [row_text(row, SETTINGS) for row in ({"age": 1, "town": "Ulm"}, {"age": 1.0, "town": "Bonn"}, {"age": 2})]
    share = alike(texts)
    assert share(0, 0) == 1
    assert share(0, 1) == pytest.approx(2 / 3)
    assert share(0, 2) == pytest.approx(1 / 3)


def test_a_cluster_is_named_by_what_only_its_rows_have():
    rows = [{"age": 20 + n % 10, "town": "Ulm", "home\nowner": n % 2 == 0} for n in range(30)]
    rows += [{"age": 60 + n % 10, "town": "Bonn" if n % 3 else "Jena", "home\nowner": n % 2 == 0} for n in range(30)]
    first, second = top_cells([row_text(row, SETTINGS) for row in rows], [0] * 30 + [1] * 30, SETTINGS, count=2)
    assert first[0] == "town: Ulm"
    assert first[1].startswith("age <= ")
    assert set(second) == {"town: Bonn", next(name for name in second if name.startswith("age >= "))}


def test_clusters_of_rows_without_differences_have_no_names():
    texts = [row_text({"age": 5, "town": "Ulm"}, SETTINGS)] * 4
    assert top_cells(texts, [0, 0, 1, 1], SETTINGS) == [[], []]


@pytest.fixture
def table(tmp_path):
    draw = random.Random(0)
    lines = [
        f"n{n},{draw.randrange(30, 100)},{draw.choice(['Ulm', 'Bonn', 'Jena'])},{draw.choice(['true', 'false'])}"
        for n in range(50)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["key,age,town,other", *lines, "twin,7,Ulm,true", "twin2,7,Ulm,false"]))
    return RowTable(tmp_path / "t.csv", id="key")


def test_similar_rows_leave_out_the_row_itself(table, embedder):
    with collect_rows(table, SETTINGS, embedder) as collection:
        place = row_called((entry.id for entry in collection), "twin")
        first, second = similar_to_row(collection, place, 2)
        assert collection.entry(first.row).id == "twin2"
        assert first.cosine == pytest.approx(1, abs=1e-3)
        assert first.cosine >= second.cosine
        (like,) = similar_to_cells(collection, {"age": 7, "town": "Ulm"}, embedder, 1)
        assert collection.entry(like.row).id in ("twin", "twin2")
        # What the encoder does not look at makes no difference: these are exact copies.
        assert collection.digests[place] == collection.digests[row_called((entry.id for entry in collection), "twin2")]


def test_a_row_is_called_by_its_id_or_the_number_of_its_line(tmp_path, embedder):
    (tmp_path / "t.csv").write_text("age\n1\n2\n3\n")
    with collect_rows(RowTable(tmp_path / "t.csv"), SETTINGS, embedder) as collection:
        assert isinstance(collection, Collection)
        ids = [entry.id for entry in collection]
        assert row_called(ids, "t.csv#3") == row_called(ids, "3") == 1
        with pytest.raises(DataError, match=r"there is no row '9' among 3: give an id such as 't\.csv#2'"):
            row_called(ids, "9")


@pytest.mark.parametrize("cell", ["abc", "007", [1]])
def test_what_is_no_number_is_refused_by_the_name_of_its_column(cell):
    with pytest.raises(DataError, match=r'column "age" is of numbers, and .* is none'):
        check_cells({"age": cell, "town": "Ulm"}, SETTINGS)


@pytest.mark.parametrize("cell", [None, "", "?", 3, "4.5", True])
def test_cells_that_are_missing_or_numbers_pass(cell):
    check_cells({"age": cell, "town": 3, "unknown": object()}, SETTINGS)


def test_rows_without_a_known_column_are_reported(tmp_path, embedder):
    (tmp_path / "t.jsonl").write_text('{"age": 1}\n{"x": 2}\n')
    table = RowTable(tmp_path / "t.jsonl")
    with collect_rows(table, SETTINGS, embedder) as collection:
        assert len(collection) == 1
        assert collection.report.skipped == {"not a row that can be used": 1}


def test_the_threshold_finds_copies_with_one_other_cell(embedder):
    draw = random.Random(1)
    rows = [{"age": draw.randrange(100), "town": draw.choice(["Ulm", "Bonn"])} for _ in range(80)]
    found = threshold_for_rows(rows, embedder, embedder.embed(rows), SETTINGS, edits=0.05)
    assert found.found == pytest.approx(0.95, abs=0.04)
    assert 1 / 3 < found.overlap < 2 / 3  # one of three cells may differ
    with pytest.raises(DataError, match="edits is 0: give the share of cells"):
        threshold_for_rows(rows, embedder, embedder.embed(rows), SETTINGS, edits=0)


def test_columns_as_they_are_have_a_number_for_each_category(embedder):
    rows = [{"age": 50, "town": "Bonn"}, {"age": None, "town": "Paris"}]
    plain = embedder.plain(*TableFrontend(SETTINGS).encode(rows))
    assert plain.shape == (2, embedder.dim) == (2, 3 + 2 + 5 + 4)
    assert plain[0].nonzero()[0].tolist() == [4, 8, 10]
    assert plain[1].nonzero()[0].tolist() == [3, 6, 10]
    np.testing.assert_allclose(np.linalg.norm(embedder.embed(rows), axis=1), 1, rtol=1e-6)
