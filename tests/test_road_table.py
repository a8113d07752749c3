"""The whole road over rows of a table: train, export, embed. Run like any user would, from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_people import MLP, RECIPE, TOKENS, made_people, write_people

import nearfar
from nearfar import road
from nearfar.bundle import Bundle, describe
from nearfar.edge import Encoder
from nearfar.errors import DataError, RecipeError, RunError
from nearfar.learn.data.split import TEST
from nearfar.learn.run import open_run
from nearfar.recipe import parse_recipe
from nearfar.road.columns import read_columns

pytestmark = pytest.mark.recipe

FIGURES = {"knn_accuracy", "probe_accuracy", "few_label_accuracy", "nmi", "view_recall_at_1"}


def recipe_of(path: Path, *overrides: str, encoder: str = MLP):
    return parse_recipe(RECIPE.format(path=path, encoder=encoder), name="r.yaml", base=path.parent, overrides=overrides)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "people.csv", 400)


@pytest.fixture(scope="module")
def run(people: Path) -> road.Run:
    return nearfar.train(recipe_of(people, "train.epochs=20"), people.parent / "run")


@pytest.fixture(scope="module")
def bundle(run: road.Run) -> Bundle:
    return run.export()


def test_the_bundle_is_measured_beside_the_columns_and_the_untrained_encoder(bundle):
    metrics = bundle.manifest.metrics
    assert list(metrics) == ["columns", "untrained", "model", "bundle"]
    assert all(set(row) == FIGURES for row in metrics.values())
    assert metrics["bundle"]["knn_accuracy"].value > 0.8
    assert metrics["bundle"]["nmi"].value > 0.3


def test_a_table_of_a_few_rows_is_not_trained_on(tmp_path: Path):
    few = write_people(tmp_path / "few.csv", 60)
    with pytest.raises(DataError, match=r"3\d training rows are too few to learn from: at least 50 are needed"):
        nearfar.train(recipe_of(few), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_similar_rows_are_of_one_kind(bundle):
    rows = made_people(200, seed=9)
    vectors = Encoder.open(bundle).embed(rows)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    cosines = vectors @ vectors.T - 2 * np.eye(len(rows))
    kinds = np.array([row["kind"] for row in rows])
    nearest = cosines.argmax(axis=1)
    assert (kinds[nearest] == kinds).mean() > 0.8


def test_the_device_gives_what_the_model_gives(run, bundle):
    rows = made_people(50, seed=5)
    cosines = np.einsum("nd,nd->n", run.embedder().embed(rows), Encoder.open(bundle).embed(rows))
    assert cosines.min() > 0.98


def test_a_row_may_be_incomplete_or_new_in_every_cell(bundle):
    encoder = Encoder.open(bundle)
    vectors = encoder.embed([{"age": 33}, {"town": "Paris", "age": "unknown", "weight": 3}])
    assert np.isfinite(vectors).all()
    with pytest.raises(DataError, match="row 0 has none of the columns"):
        encoder.embed([{"weight": 3}])


def test_the_card_and_inspect_say_what_the_columns_were_taken_for(bundle):
    card = (bundle.path / "card.md").read_text("utf-8")
    assert "An encoder of table rows" in card
    assert "table.csv --row 2 " in card
    assert "| town | category | " in card
    assert "| kind | not looked at | the label |" in card
    assert "people.csv" not in card.split("## Recipe")[0]
    rows = dict(describe(bundle))
    assert rows["column age"].startswith("number: ")
    assert "and its place in the" in rows["column since"]
    assert rows["column note"].startswith("ignored: ")
    assert rows["kind"] == "table-encoder, format 1"


def test_labels_are_not_learned_from(people, run, tmp_path):
    swapped = people.read_text().replace(",late", ",LATE").replace(",early", ",late").replace(",LATE", ",early")
    (tmp_path / "people.csv").write_text(swapped)
    other = nearfar.train(recipe_of(tmp_path / "people.csv", "train.epochs=20"), tmp_path / "run")
    rows = made_people(20, seed=5)
    np.testing.assert_array_equal(other.embedder().embed(rows), run.embedder().embed(rows))


def test_a_run_without_labels_or_held_out_rows_ships_too(people, tmp_path):
    recipe = recipe_of(people, "data.source.columns={}", "data.split={validation: 0.0, test: 0.0}", encoder=TOKENS)
    bundle = nearfar.train(recipe, tmp_path / "run").export(quantise="none", dim=4)
    assert bundle.manifest.metrics == {}
    assert bundle.manifest.dim == 4
    assert Encoder.open(bundle).embed(made_people(4)).shape == (4, 4)


def test_a_run_goes_on_with_what_is_prepared(people, tmp_path):
    run = nearfar.train(recipe_of(people), tmp_path / "run")
    (tmp_path / "run" / "fit.json").unlink()
    again = road.resume(tmp_path / "run")
    rows = made_people(10, seed=5)
    np.testing.assert_array_equal(run.embedder().embed(rows), again.embedder().embed(rows))


def test_what_cannot_be_exported_is_said(run, people, tmp_path):
    with pytest.raises(RunError, match="dim is 99, but the encoder gives only 8"):
        run.export(tmp_path / "b", dim=99)
    with pytest.raises(RunError, match="there is no 'pixels'; choose from columns, untrained"):
        run.export(tmp_path / "b", baselines=["pixels"])
    trained = open_run(run.directory)
    assert (trained.corpus.side == TEST).any()
    moved = people.rename(people.with_name("moved.csv"))
    try:
        with pytest.raises(DataError, match=r"people\.csv does not exist"):
            run.export(tmp_path / "b")
    finally:
        moved.rename(people)


def test_columns_can_be_looked_at_before(people, tmp_path):
    found, report = read_columns(people)
    assert {one.name: one.type for one in found}["kind"] == "category"
    assert report.read == 400
    (tmp_path / "r.yaml").write_text(RECIPE.format(path=people, encoder=MLP))
    by_recipe, _ = read_columns(tmp_path / "r.yaml", ["data.source.columns.categories=[age]"])
    types = {one.name: (one.type, one.what) for one in by_recipe}
    assert types["age"][0] == "category"
    assert types["kind"] == ("ignored", "the label")
    with pytest.raises(RecipeError, match="--set changes a recipe"):
        read_columns(people, ["seed=1"])
