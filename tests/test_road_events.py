"""The whole road over what users did: train, export, recommend. Run like any user would, from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nearfar
from nearfar import road
from nearfar.bundle import Bundle, describe
from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.ranker import DeviceRanker
from nearfar.edge.recommend.scorer import Scorer, Weights
from nearfar.errors import RunError
from nearfar.evaluate.ranking import measure_ranking
from nearfar.learn.data.action_cases import ranking_task
from nearfar.learn.data.split import TEST, VALIDATION
from nearfar.learn.run import open_run
from nearfar.recipe import parse_recipe
from nearfar.recipe.compress import Compress
from nearfar.road.blend import choose_blend
from nearfar.road.evaluate_ranking import evaluate_ranking

pytestmark = pytest.mark.recipe

USERS, ITEMS = 160, 80

RECIPE = """
name: films
seed: 0
data:
  source:
    kind: events
    path: {folder}/events.csv
    columns: {{user: who, item: what, timestamp: when}}
    filters: {{least_of_user: 3, least_of_item: 3, repeat: 30}}
    items:
      path: {folder}/items.csv
      columns: {{item: what, title: title, categories: [kind], numbers: [year]}}
  split: {{by: last_actions}}
frontend: {{kind: events, length: 10}}
encoder: {{kind: sequence_transformer, dim: 16, layers: 1, heads: 1, dropout: 0.0}}
method: {{kind: next_action}}
train: {{epochs: 15, batch_size: 32, learning_rate: 0.01, early_stop: null, threads: 1}}
evaluate: {{bootstrap: 50}}
recommend: {{facts: [year], half_life: 5}}
"""


def write_shop(folder: Path) -> Path:
    """Everybody goes through the films of one kind by number, with leaps; popular films come up more often."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    titles = [f"f{n},Film number {n},kind{n % 4},{1950 + n}" for n in range(ITEMS)]
    # Two that nobody has acted on yet.
    titles += ["new-a,A new film,kind0,2024", "new-b,Another new film,kind1,2025"]
    (folder / "items.csv").write_text("what,title,kind,year\n" + "\n".join(titles) + "\n", "utf-8")
    rows = ["who,what,when"]
    for user in range(USERS):
        item = int(ITEMS * rng.beta(0.7, 1.5))
        for step in range(int(rng.integers(6, 14))):
            when = 1_600_000_000 + 5000 * user + 600 * step
            rows.append(f"u{user},f{item},{when}")
            if step == 2:
                rows.append(f"u{user},f{item},{when + 5}")  # a double click
            leap = rng.random() < 0.2
            item = int(rng.integers(0, ITEMS)) if leap else (item + 4) % ITEMS
    rows.append("u0,f1,nobody knows when")
    (folder / "events.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def run(shop: Path) -> road.Run:
    recipe = parse_recipe(RECIPE.format(folder=shop), name="r.yaml", base=shop, overrides=["data.bad_rows=skip"])
    return nearfar.train(recipe, shop / "run")


@pytest.fixture(scope="module")
def bundle(run: road.Run) -> Bundle:
    return run.export()


def test_what_ships_is_measured_beside_what_counts_and_beats_popularity(bundle: Bundle) -> None:
    metrics = bundle.manifest.metrics
    assert list(metrics)[:5] == ["popularity", "item_knn", "transitions", "untrained", "model"]
    assert list(metrics)[-2:] == ["bundle", "privacy"]
    found = {row: of["ndcg_at_10"].value for row, of in metrics.items() if row != "privacy"}
    assert found["bundle"] > found["popularity"] + 0.2
    assert found["model"] > found["untrained"] + 0.2
    ratio = metrics["bundle"]["ratio_to_best"]
    best = max(found[row] for row in ("popularity", "item_knn", "transitions"))
    assert ratio.value == pytest.approx(found["bundle"] / best)
    assert ratio.low is not None
    assert ratio.low <= ratio.value


def test_the_figures_of_the_card_are_those_of_the_bundle_measured_by_hand(run: road.Run, bundle: Bundle) -> None:
    task = ranking_task(open_run(run.directory).corpus, TEST)
    scores = measure_ranking(task, DeviceRanker(Scorer(bundle, Catalogue.open(bundle))))
    of_card = bundle.manifest.metrics["bundle"]
    assert of_card["ndcg_at_10"].value == pytest.approx(scores.ndcg.mean())
    assert of_card["recall_at_10"].value == pytest.approx(scores.recall.mean())
    assert of_card["coverage"].value == pytest.approx(scores.coverage)
    assert f"{of_card['ndcg_at_10'].value:.4g}" in (bundle.path / "card.md").read_text("utf-8")


def test_the_blend_is_that_of_validation_alone(run: road.Run, bundle: Bundle) -> None:
    trained, record = open_run(run.directory), bundle.manifest.recommender
    assert record is not None
    weights = Weights.of(record)
    catalogue = Catalogue.open(bundle)
    if not weights.prior:
        pytest.skip("this bundle has no prior, so the search cannot be done again with it")
    again = choose_blend(
        [DeviceRanker(Scorer(bundle, catalogue))],
        ranking_task(trained.corpus, VALIDATION),
        popularity=trained.popularity_weight(),
    )
    assert tuple(again.chosen.weights) == pytest.approx(tuple(weights))
    assert record.counted is not None
    open_ones = {each.reach: each._asdict() for each in trained.recipe.of_events.recommend.prior.counted}
    assert record.counted.model_dump() == open_ones[record.counted.reach]
    assert record.counted.reach in (bundle.path / "card.md").read_text("utf-8")


def test_counts_say_what_was_left_out(bundle: Bundle) -> None:
    counts = bundle.manifest.provenance.data_counts
    assert counts["dropped: repeated within the seconds of repeat"] == USERS
    assert counts["skipped"] == 1
    assert counts["cold_items"] == 2
    assert counts["test_actions"] == counts["validation_actions"] == USERS
    assert "dropped: repeated within the seconds of repeat: 160" in (bundle.path / "card.md").read_text("utf-8")


def test_titles_categories_and_named_facts_go_along(bundle: Bundle) -> None:
    catalogue = Catalogue.open(bundle)
    number = catalogue.number_of("f5")
    assert number is not None
    facts = catalogue.facts_of(number)
    assert facts["title"] == "Film number 5"
    assert "kind" in facts
    assert repr(facts["year"]) == "1955"  # a whole number, not 1955.0


def test_a_history_vector_tells_of_the_history_and_noise_hides_it(bundle: Bundle) -> None:
    told = {name: metric.value for name, metric in bundle.manifest.metrics["privacy"].items()}
    assert told["membership_auc"] > 0.6
    assert told["membership_auc_noise_50"] < told["membership_auc_noise_10"] <= told["membership_auc"] + 0.02
    assert abs(told["membership_auc_popularity"] - 0.5) < 0.1


def test_a_second_export_is_the_same(run: road.Run, bundle: Bundle, tmp_path: Path) -> None:
    again = run.export(tmp_path / "again", baselines=["popularity"])
    assert again.manifest.recommender == bundle.manifest.recommender
    assert again.manifest.metrics["bundle"]["ndcg_at_10"] == bundle.manifest.metrics["bundle"]["ndcg_at_10"]
    same = [name for name in bundle.sums if name not in ("manifest.json", "card.md")]
    assert {name: again.sums[name] for name in same} == {name: bundle.sums[name] for name in same}


def test_a_device_recommends_what_the_card_promises(bundle: Bundle, tmp_path: Path) -> None:
    from nearfar.edge.recommend.recommender import Recommender

    with Recommender.create(tmp_path / "me", bundle, key=f"file:{tmp_path / 'key'}") as me:
        for step, item in enumerate(("f8", "f12", "f16")):
            me.record(nearfar.Event(item, time=1.6e9 + 600 * step))
        names = [found.item for found in me.recommend(k=5)]
    assert "f20" in names
    assert not {"f8", "f12", "f16"} & set(names)


def test_the_bundle_describes_itself(bundle: Bundle) -> None:
    rows = dict(describe(bundle))
    assert rows["items"] == "82 (2 by content alone)"
    assert rows["history"] == "the latest 10 actions"


def test_one_part_alone_ships_where_the_recipe_says_so(shop: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(
        RECIPE.format(folder=shop),
        name="r.yaml",
        base=shop,
        overrides=["data.bad_rows=skip", "train.epochs=1", "recommend.blend=encoder", "recommend.titles=false"],
    )
    bundle = nearfar.train(recipe, tmp_path / "run").export(baselines=[])
    record = bundle.manifest.recommender
    assert record is not None
    weights = Weights.of(record)
    assert weights[:2] == (1, 0)
    assert weights.popularity > 0  # as it was trained
    assert record.prior is None
    assert record.counted is None
    assert "encoder" not in bundle.manifest.metrics  # the same as the bundle
    assert "title" not in Catalogue.open(bundle).facts_of(0)


def test_a_split_by_time_counts_what_cannot_be_found(shop: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(
        RECIPE.format(folder=shop),
        name="r.yaml",
        base=shop,
        overrides=[
            "data.bad_rows=skip",
            "data.split.by=time",
            "data.split.validation=0.1",
            "train.epochs=2",
            "evaluate.max_queries=150",
        ],
    )
    bundle = nearfar.train(recipe, tmp_path / "run").export()
    assert (
        bundle.manifest.metrics["bundle"]["ndcg_at_10"].value
        > bundle.manifest.metrics["popularity"]["ndcg_at_10"].value
    )
    assert "Every action after one moment was held out" in (bundle.path / "card.md").read_text("utf-8")


def test_another_log_is_foreseen(bundle: Bundle, tmp_path: Path) -> None:
    rows = "".join(
        f"v{user},f{(7 * user + 4 * step) % ITEMS},{1_700_000_000 + 600 * step}\n"
        for user in range(30)
        for step in range(5)
    )
    (tmp_path / "log.csv").write_text("who,what,when\n" + rows, "utf-8")
    report = evaluate_ranking(bundle, tmp_path / "log.csv", resamples=20)
    assert report.cases == 120
    assert report.metrics["bundle"]["ndcg_at_10"].value > report.metrics["popularity"]["ndcg_at_10"].value + 0.2
    json.dumps({row: {name: of.model_dump() for name, of in found.items()} for row, found in report.metrics.items()})


def test_the_context_of_a_moment_counts_on_the_way_and_on_the_device(tmp_path: Path) -> None:
    """What is looked at next depends on the device alone, which no count of items can see."""
    rng = np.random.default_rng(0)
    rows = [
        f"u{user},f{20 * device + int(rng.integers(0, 20))},{1_600_000_000 + 5000 * user + 600 * step},d{device}\n"
        for user in range(120)
        for step in range(6)
        for device in [int(rng.integers(0, 3))]
    ]
    (tmp_path / "events.csv").write_text("who,what,when,device\n" + "".join(rows), "utf-8")
    recipe = parse_recipe(
        RECIPE.format(folder=tmp_path),
        name="r.yaml",
        base=tmp_path,
        overrides=[
            "data.source.columns={user: who, item: what, timestamp: when, context: [device]}",
            "data.source.items=null",
            "recommend.facts=[]",
            "train.epochs=20",
        ],
    )
    bundle = nearfar.train(recipe, tmp_path / "run").export(baselines=["transitions"])
    metrics = bundle.manifest.metrics
    assert metrics["bundle"]["ndcg_at_10"].value > metrics["transitions"]["ndcg_at_10"].value + 0.05
    again = evaluate_ranking(bundle, tmp_path / "events.csv", resamples=20)
    assert again.metrics["bundle"]["ndcg_at_10"].value > again.metrics["popularity"]["ndcg_at_10"].value + 0.05


def test_what_no_recommender_can_be_is_refused(run: road.Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"encoder\.dim"):
        run.export(tmp_path / "b", dim=8)
    with pytest.raises(RunError, match=r"prior\.mb"):
        run.export(tmp_path / "b", compress=Compress.model_validate({"steps": [{"kind": "weights"}]}))
    with pytest.raises(RunError, match="ranks items"):
        run.embedder()
    with pytest.raises(RunError, match="pixels"):
        run.export(tmp_path / "b", baselines=["pixels"])
    assert not (tmp_path / "b").exists()
