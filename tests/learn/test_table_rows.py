"""The rows of a run on disk, and the views that are made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_people import MLP, RECIPE, made_people, write_people

from nearfar.errors import DataError
from nearfar.frontend import TableFrontend
from nearfar.learn.data.batches import Share
from nearfar.learn.data.split import TEST, TRAIN, VALIDATION
from nearfar.learn.data.table_batches import RowBatch, TrainingRows, views_of
from nearfar.learn.data.table_rows import RowCorpus, prepare_rows
from nearfar.recipe import parse_recipe
from nearfar.recipe.table import Scarf


def recipe_of(path: Path, *overrides: str):
    return parse_recipe(RECIPE.format(path=path, encoder=MLP), name="r.yaml", base=path.parent, overrides=overrides)


def prepared(path: Path, folder: Path, *overrides: str) -> RowCorpus:
    recipe = recipe_of(path, *overrides)
    return prepare_rows(recipe.data, recipe.of_table.frontend, folder, recipe.seed)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> RowCorpus:
    folder = tmp_path_factory.mktemp("people")
    return prepared(write_people(folder / "people.csv"), folder / "data")


def test_columns_are_found_out_and_told(corpus):
    types = {column.name: column.type for column in corpus.settings.columns}
    assert types == {"age": "number", "income": "number", "town": "category", "member": "category", "since": "date"}
    ignored = {one.name: one.why for one in corpus.settings.ignored}
    assert ignored["number"] == "the id"
    assert ignored["kind"] == "the label"
    assert "free text or an id" in ignored["note"]
    assert [one.name for one in corpus.counts.columns] == [*types, "note", "kind", "number"]


def test_features_are_those_of_the_device(corpus):
    rows = {row["number"]: row for row in made_people(240)}
    some = [corpus.ids[number] for number in (0, 7, 200)]
    values, codes = TableFrontend(corpus.settings).encode([rows[name] for name in some])
    np.testing.assert_array_equal(values, corpus.values[[0, 7, 200]])
    np.testing.assert_array_equal(codes, corpus.codes[[0, 7, 200]])


def test_nothing_is_learned_from_held_out_rows(tmp_path, corpus):
    sides = [int((corpus.side == side).sum()) for side in (TRAIN, VALIDATION, TEST)]
    assert sides == [corpus.counts.train, corpus.counts.validation, corpus.counts.test]
    assert all(sides)
    ages = np.array([float(row["age"]) for row in made_people(240)])
    age = corpus.settings.columns[0]
    assert (age.knots[0], age.knots[-1]) == (ages[corpus.side == TRAIN].min(), ages[corpus.side == TRAIN].max())


def test_a_split_of_the_table_is_kept_and_completed(tmp_path):
    lines = [f"{n % 17},{n % 5},{'test' if n % 4 == 0 else 'train'}" for n in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,part", *lines]))
    corpus = prepared(tmp_path / "t.csv", tmp_path / "data", "data.source.columns={split: part}")
    assert (np.flatnonzero(corpus.side == TEST) == np.arange(0, 200, 4)).all()
    assert corpus.counts.validation


def test_equal_rows_are_on_one_side(tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(["a,b", *(f"{n % 40},{n % 8}" for n in range(400))]))
    corpus = prepared(tmp_path / "t.csv", tmp_path / "data", "data.source.columns={}")
    assert all(len(set(corpus.side[n::40].tolist())) == 1 for n in range(40))


def test_groups_stay_together(tmp_path):
    (tmp_path / "t.csv").write_text(
        "\n".join(["a,shop", *(f"{n},{n % 20}" for n in (7 * m % 401 for m in range(400)))])
    )
    columns = "data.source.columns={group: shop, numbers: [a]}"
    corpus = prepared(tmp_path / "t.csv", tmp_path / "data", columns, "data.split.by=group")
    shops = np.array([(7 * m % 401) % 20 for m in range(400)])
    assert all(len(set(corpus.side[shops == shop].tolist())) == 1 for shop in range(20))
    with pytest.raises(DataError, match="no row has a group"):
        prepared(tmp_path / "t.csv", tmp_path / "other", "data.source.columns={}", "data.split.by=group")


def test_bad_rows_are_counted_or_refused(tmp_path):
    write_people(tmp_path / "people.csv", 40)
    with (tmp_path / "people.csv").open("a") as file:
        file.write("one,field,too\n")
    assert sum(prepared(tmp_path / "people.csv", tmp_path / "data").counts.skipped.values()) == 1
    with pytest.raises(DataError, match=r"1 rows could not be read, first: .*people\.csv:42"):
        prepared(tmp_path / "people.csv", tmp_path / "other", "data.bad_rows=refuse")


def views(corpus, **settings):
    frontend = TableFrontend(corpus.settings)
    numbers = corpus.numbers_of(TRAIN)
    columns = np.array(frontend.column_of_feature)
    drawn = views_of(corpus, numbers, numbers, columns, Scarf(kind="scarf", **settings), np.random.default_rng(0))
    own = np.stack([corpus.codes[numbers]] * 2, axis=1), np.stack([corpus.values[numbers]] * 2, axis=1)
    changed = (drawn.codes != own[0]) | (drawn.values != own[1])
    return drawn, changed, columns


def test_the_anchor_of_the_paper_is_the_row_itself(corpus):
    _, changed, columns = views(corpus, corruption=0.6)
    assert not changed[:, 0].any()
    # Three of five columns are drawn anew; some draws are what was there.
    assert changed[:, 1][:, columns == 0].mean() == pytest.approx(0.6, abs=0.1)
    assert max(len(set(columns[row].tolist())) for row in changed[:, 1]) == 3


def test_the_rest_is_what_the_other_view_has_lost(corpus):
    _, changed, _ = views(corpus, corruption=0.4, anchor="rest")
    assert not (changed[:, 0] & changed[:, 1]).any()
    assert changed[:, 0].any(axis=1).mean() > 0.9


def test_both_views_may_lose_columns_of_their_own(corpus):
    _, changed, _ = views(corpus, corruption=0.4, anchor="corrupted")
    assert changed[:, 0].any()
    assert (changed[:, 0] & changed[:, 1]).any()


def test_draws_are_those_of_the_column_and_a_missing_cell_is_one_of_them(corpus):
    drawn, changed, columns = views(corpus, corruption=0.6)
    income = columns == 1
    lost = changed[:, 1][:, income].ravel()
    share = (corpus.codes[corpus.numbers_of(TRAIN)][:, income] == 0).mean()
    assert share > 0
    assert (drawn.codes[:, 1][:, income].ravel()[lost] == 0).mean() == pytest.approx(share, abs=0.1)
    known = set(corpus.values[corpus.numbers_of(TRAIN)][:, income].ravel().tolist())
    assert set(drawn.values[:, 1][:, income].ravel().tolist()) <= known


def test_the_features_of_a_date_are_drawn_from_one_row(corpus):
    drawn, _, columns = views(corpus, corruption=0.6)
    date = columns == 4
    assert date.sum() > 1
    known = {tuple(row) for row in corpus.values[corpus.numbers_of(TRAIN)][:, date].tolist()}
    assert {tuple(row) for row in drawn.values[:, 1][:, date].tolist()} <= known


def test_ranks_share_what_one_would_have(corpus):
    columns = TableFrontend(corpus.settings).column_of_feature
    rows = TrainingRows.of(corpus, Scarf(kind="scarf"), columns, seed=3)
    places = np.arange(10)
    whole = rows[Share(5, places)]
    parts = [rows[Share(5, places, rank, 2)] for rank in (0, 1)]
    np.testing.assert_array_equal(whole.codes[0::2], parts[0].codes)
    np.testing.assert_array_equal(whole.values[1::2], parts[1].values)
    halves = whole.split(5)
    assert isinstance(halves[0], RowBatch)
    np.testing.assert_array_equal(np.concatenate([half.codes for half in halves]), whole.codes)


def test_one_column_is_too_few(tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(["a", *map(str, (7 * n % 31 for n in range(60)))]))
    corpus = prepared(tmp_path / "t.csv", tmp_path / "data", "data.source.columns={}")
    with pytest.raises(DataError, match="only one column can be learned from"):
        TrainingRows.of(corpus, Scarf(kind="scarf"), TableFrontend(corpus.settings).column_of_feature, seed=0)
