"""The whole road over partners of several modalities: train, export, measure, find. Run like any user would, from Python."""

from __future__ import annotations

import numpy as np
import pytest
from made_partners import partners_recipe, write_partners

import nearfar
from nearfar import road
from nearfar.bundle import Bundle
from nearfar.edge import Encoder
from nearfar.edge.zero_shot import ZeroShot
from nearfar.errors import RunError
from nearfar.learn.data.split import TEST
from nearfar.learn.run import open_run
from nearfar.recipe.load import load_recipe
from nearfar.road import export_joint
from nearfar.road.joint_tasks import Linked, paired_rows
from nearfar.road.measure_joint import held_out, tasks_of

pytestmark = pytest.mark.recipe

COLOURS = ("red circle", "green square", "blue circle", "yellow square", "violet circle", "orange square")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> road.Run:
    """Pictures and rows that each meet only texts."""
    folder = tmp_path_factory.mktemp("partners")
    table = write_partners(folder, 240, holes=11)
    recipe = partners_recipe(
        table,
        towers={"audio": None, "series": None},
        data={"pairings": [{"kind": "partners", "anchor": "text"}]},
        train={"epochs": 12, "batch_size": 32},
        evaluate={"bootstrap": 100},
    )
    return nearfar.train(recipe, folder / "run")


@pytest.fixture(scope="module")
def bundle(run: road.Run) -> Bundle:
    return run.export()


@pytest.fixture(scope="module")
def centred(run: road.Run) -> Bundle:
    return run.export(run.directory / "centred", overrides=["export.gap=centre"])


def value(bundle: Bundle, row: str, figure: str) -> float:
    return bundle.manifest.metrics[row][figure].value


def test_towers_that_learned_from_each_other_are_measured_both_ways(bundle):
    metrics = bundle.manifest.metrics
    assert list(metrics) == ["chance", "untrained", "model", "bundle"]
    for direction in ("text_to_image", "image_to_text", "text_to_table", "table_to_text"):
        for figure in ("recall_at_1", "recall_at_5", "recall_at_10", "mrr_at_10", "median_rank", "precision_at_10"):
            assert f"{direction}_{figure}" in metrics["bundle"]
        right = value(bundle, "bundle", f"{direction}_precision_at_10")
        assert right > value(bundle, "chance", f"{direction}_precision_at_10") + 0.25
        assert right > value(bundle, "untrained", f"{direction}_precision_at_10") + 0.15
        assert right == pytest.approx(value(bundle, "model", f"{direction}_precision_at_10"), abs=0.05)
        assert value(bundle, "bundle", f"{direction}_full_recall_at_10") > 0.8
        assert f"{direction}_full_recall_at_10" not in metrics["untrained"]


def test_towers_that_no_row_pairs_are_measured_by_label(bundle):
    assert "image_to_table_recall_at_10" not in bundle.manifest.metrics["bundle"]
    for direction in ("image_to_table", "table_to_image"):
        found = value(bundle, "bundle", f"{direction}_precision_at_10")
        assert found > value(bundle, "chance", f"{direction}_precision_at_10") + 0.15


def test_columns_of_texts_are_measured_apart(bundle):
    for column in ("caption", "caption_de"):
        assert value(bundle, "bundle", f"text_to_image_recall_at_10_{column}") > 0.8


def test_scales_put_all_modalities_into_one_ranking(bundle):
    plain, scaled = (value(bundle, "bundle", f"mixed_recall_at_10_{how}") for how in ("plain", "scaled"))
    assert scaled >= plain
    shares = [value(bundle, "bundle", f"mixed_share_{tower}_scaled") for tower in ("text", "image", "table")]
    assert sum(shares) == pytest.approx(1, abs=1e-6)


def test_the_manifest_says_how_towers_stand_to_each_other(bundle):
    record = bundle.manifest.joint
    assert record is not None
    assert set(record.trained) == {("text", "image"), ("text", "table")}
    assert [gap.towers for gap in record.gaps] == [("text", "image"), ("text", "table"), ("image", "table")]
    assert len(record.scales) == 9
    assert not record.centred
    assert all(one.cosine > 0.98 for one in record.graphs)
    assert [one.size for one in record.graphs] == [
        (bundle.path / f"{one.tower}.onnx").stat().st_size for one in record.graphs
    ]
    assert bundle.manifest.agreement is not None
    assert bundle.manifest.agreement.mean > 0.98


def test_the_manifest_says_what_the_data_were(bundle):
    counts = bundle.manifest.provenance.data_counts
    assert counts["rows"] == 240
    assert counts["image_sides_filled"] + counts["image_sides_missing"] == 240
    assert counts["image_sides_missing"] > 0
    assert bundle.manifest.provenance.pairing[0]["anchor"] == "text"
    assert bundle.manifest.provenance.negative_policy["ignored"]


def test_centred_towers_lie_around_one_centre(bundle, centred):
    assert centred.manifest.joint.centred
    before, after = (sum(gap.distance.value for gap in one.manifest.joint.gaps) for one in (bundle, centred))
    assert after < 0.6 * before
    assert value(centred, "bundle", "text_to_image_recall_at_10") > 0.8
    assert "Each tower's mean is taken" in (centred.path / "card.md").read_text(encoding="utf-8")


def test_the_device_embeds_what_the_model_embeds(run, bundle):
    trained = open_run(run.directory)
    for tower in ("text", "image", "table"):
        numbers = np.arange(20)
        encoder = Encoder.open(bundle, tower=tower)
        found = encoder.embed(trained.items[tower].raw(numbers))
        expected = run.embedder(tower=tower).embed(numbers)
        assert (found * expected).sum(axis=1).mean() > 0.98


def test_names_of_classes_label_pictures(run, bundle):
    """No tower was ever told which pictures are of one class: labels only said what is no negative."""
    trained = open_run(run.directory)
    corpus = trained.corpus
    items, rows = Linked.of(corpus).placed("image", corpus.side == TEST)
    found = ZeroShot.open(bundle, COLOURS, tower="image").classify(trained.items["image"].raw(items))
    right = [one.label == corpus.counts.labels[corpus.labels[row]] for one, row in zip(found, rows, strict=True)]
    assert np.mean(right) > 0.7


def test_a_float_bundle_is_the_model(run, tmp_path):
    bundle = run.export(tmp_path / "float", quantise="none", baselines=[])
    assert "untrained" not in bundle.manifest.metrics
    assert all(one.weights == "float32" and one.cosine > 0.9999 for one in bundle.manifest.joint.graphs)


def test_a_tower_that_int8_would_spoil_ships_in_float(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export_joint, "AGREEMENT", 2.0)
    said: list[str] = []

    def stages(name: str, total: int | None = None):
        return lambda count, note="": said.append(note)

    bundle = run.export(tmp_path / "spoilt", baselines=[], stages=stages)
    assert all(one.weights == "float32" and one.int8_cosine is not None for one in bundle.manifest.joint.graphs)
    assert "so it ships in float" in (bundle.path / "card.md").read_text(encoding="utf-8")
    assert any("image in float" in note for note in said)


def test_what_several_modalities_cannot_have_is_refused(run, tmp_path):
    with pytest.raises(RunError, match=r"encoder\.dim"):
        run.export(tmp_path / "cut", dim=8)
    with pytest.raises(RunError, match="one of text, image, table"):
        run.embedder()
    with pytest.raises(RunError, match="no tower 'smell'"):
        run.embedder(tower="smell")


def test_tasks_hold_what_belongs_together(run):
    """Of each direction the queries have a partner, and the gallery of all rows has those of the held-out ones in it."""
    corpus = open_run(run.directory).corpus
    tasks = tasks_of(corpus, load_recipe(run.directory / "recipe.yaml"))
    assert {one.name for one in tasks.held} == {"text_to_image", "image_to_text", "text_to_table", "table_to_text"}
    rows = held_out(corpus)
    assert set(np.unique(corpus.side[rows])) == {TEST}
    pairs = paired_rows(corpus)
    assert set(pairs) == {("text", "image"), ("text", "table")}
    for held, full in zip(tasks.held, tasks.full, strict=True):
        assert held.partners.counts().min() >= 1
        assert np.isin(held.gallery, full.gallery).all()
        np.testing.assert_array_equal(held.queries, full.queries)
        label = held.partners.of(0)
        keys = Linked.of(corpus).kept(held.right, rows, held.gallery)
        own = Linked.of(corpus).kept(held.left, rows, held.queries[:1]).keys
        assert set(label) == set(keys.places[np.isin(keys.keys, own)])
