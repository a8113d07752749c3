from datetime import UTC, datetime

from nearfar.bundle import Manifest, Metric, Provenance, Tower, render_card
from nearfar.bundle.recommender_card import history_rows, recommender_rows
from nearfar.bundle.recommender_record import RecommenderRecord
from nearfar.frontend.settings import EventsSettings


def record(**changes: object) -> RecommenderRecord:
    given: dict[str, object] = {
        "items": 1200,
        "names": "names.txt.z",
        "vectors": "vectors.npy",
        "scales": "scales.npy",
        "popularity": "popularity.npy",
        "prior": "prior.npz",
        "encoder_weight": 1.0,
        "prior_weight": 0.7,
        "cold": 30,
    }
    return RecommenderRecord.model_validate(given | changes)


def manifest(by: str = "last_actions", metrics: dict[str, dict[str, Metric]] | None = None) -> Manifest:
    tower = Tower(graph="history.onnx")
    return Manifest(
        created=datetime(2025, 1, 2, tzinfo=UTC),
        name="films",
        kind="recommender",
        similarity="dot",
        towers={"query": tower, "document": tower},
        dim=16,
        frontend=EventsSettings(length=50, actions={"seen | half": 0.0, "view": 1.0, "buy": 3.0}, liked=3.0),
        recommender=record(),
        provenance=Provenance(
            recipe={"data": {"split": {"by": by}}},
            recipe_sha256="0" * 64,
            data_fingerprint="1" * 64,
            data_counts={"users": 40, "dropped: repeats": 7},
        ),
        metrics=metrics or {},
    )


def measured() -> dict[str, dict[str, Metric]]:
    rows = {
        row: {"ndcg_at_10": Metric(value=value, low=value - 0.01, high=value + 0.01), "coverage": Metric(value=0.5)}
        for row, value in {
            "bundle": 0.09,
            "model": 0.08,
            "transitions": 0.07,
            "untrained": 0.01,
            "popularity": 0.02,
        }.items()
    }
    rows["bundle"]["ratio_to_best"] = Metric(value=1.3, low=1.1, high=1.5)
    return rows | {"privacy": {"membership_auc": Metric(value=0.8, low=0.7, high=0.9)}}


def test_the_card_says_what_how_and_how_well() -> None:
    text = render_card(manifest(metrics=measured()))
    assert "it ranks 1,200 items, 30 of them known by their content alone" in text
    assert "1 encoder + 0.7 prior" in text
    assert 'Event("an item", action="view")' in text
    assert "The last action of each user was held out" in text
    assert "that the user had not acted on before" in text
    assert "no candidates are drawn" in text
    assert "Ties count half" in text
    assert "dropped: repeats: 7" in text
    assert "`ratio_to_best`" in text
    assert "1.3 [1.1, 1.5]" in text


def test_rows_stand_in_the_order_from_trivial_to_what_ships() -> None:
    lines = render_card(manifest(metrics=measured())).splitlines()
    (head,) = [place for place, line in enumerate(lines) if line.startswith("| | ndcg_at_10")]
    values = [line.split("|")[2].split()[0] for line in lines[head + 2 : head + 7]]
    assert values == ["0.02", "0.07", "0.01", "0.08", "0.09"]


def test_privacy_is_a_section_of_its_own() -> None:
    text = render_card(manifest(metrics=measured()))
    section = text.split("## What stays private")[1].split("\n## ")[0]
    assert "`membership_auc` | 0.8 [0.7, 0.9]" in section
    assert "membership" not in text.split("## How well it works")[1].split("\n## ")[0]
    without = render_card(manifest())
    assert "sealed with its key" in without
    assert "Nothing was measured. Measure on your own logs" in without


def test_a_split_by_time_is_told_as_such() -> None:
    assert "Every action after one moment was held out" in render_card(manifest("time", measured()))


def test_nothing_of_a_user_is_in_the_card() -> None:
    assert "nothing of a single user" in render_card(manifest())


def test_rows_of_inspect() -> None:
    rows = dict(recommender_rows(record(popularity_weight=0.25, signed_by="ab" * 32)))
    assert rows["items"] == "1,200 (30 by content alone)"
    assert rows["score"] == "1 encoder + 0.7 prior + 0.25 popularity"
    assert rows["catalogue updates"].endswith("ab" * 32)
    alone = dict(recommender_rows(record(prior=None, prior_weight=0.0, cold=0)))
    assert alone["score"] == "1 encoder"
    assert alone["items"] == "1,200"
    assert alone["catalogue updates"].startswith("none")
    of_history = dict(history_rows(manifest().frontend))  # type: ignore[arg-type]
    assert of_history["history"] == "the latest 50 actions"
    assert of_history["weights"] == "seen | half 0, view 1, buy 3; others refused"
    assert of_history["dislike"] == "ratings below 3"
