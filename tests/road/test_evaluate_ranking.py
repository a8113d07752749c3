import json
from pathlib import Path

import numpy as np
import pytest
from tiny_recommender_bundle import write_tiny_recommender_bundle
from typer.testing import CliRunner

from nearfar.bundle import Bundle
from nearfar.cli import app
from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.ranker import DeviceRanker
from nearfar.edge.recommend.scorer import Scorer
from nearfar.errors import BundleError, DataError
from nearfar.evaluate.ranking import measure_ranking
from nearfar.frontend.events import EventsFrontend
from nearfar.road.evaluate_ranking import evaluate_ranking, log_cases
from nearfar.sources.event_log import EventLog, EventNames


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_recommender_bundle(tmp_path_factory.mktemp("bundle") / "b", settings={"repeat": 5.0})


def write_log(path: Path, rows: list[tuple[str, str, float]]) -> Path:
    path.write_text("user,item,timestamp\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows), "utf-8")
    return path


def walks(users: int = 40) -> list[tuple[str, str, float]]:
    """Everybody goes from film to film by number, as the bundle's prior expects it."""
    rng = np.random.default_rng(0)
    return [
        (f"u{user}", f"film-{(start + step) % 60:03}", 1.6e9 + 1000 * user + 3600 * step)
        for user, start in enumerate(rng.integers(0, 60, users))
        for step in range(5)
    ]


def test_cases_of_a_log_by_hand(bundle: Bundle, tmp_path: Path) -> None:
    rows = [
        ("b", "film-003", 1.6e9 + 30),
        ("a", "film-001", 1.6e9 + 10),
        ("a", "unknown", 1.6e9 + 20),  # a miss, in nobody's history
        ("a", "film-002", 1.6e9 + 40),
        ("a", "film-002", 1.6e9 + 43),  # a repeat
        ("a", "film-001", 1.6e9 + 60),  # acted on before: a miss too
        ("c", "unknown", 1.6e9 + 1),
        ("c", "film-009", 1.6e9 + 20),  # no history that the bundle knows
    ]
    table = EventLog(write_log(tmp_path / "log.csv", rows), EventNames()).read()
    task, dropped = log_cases(table, EventsFrontend(bundle.manifest.frontend), Catalogue.open(bundle), bundle)  # type: ignore[arg-type]
    histories = [task.items[b:e].tolist() for b, e in zip(task.begin, task.end, strict=True)]
    assert list(zip(histories, task.targets.tolist(), strict=True)) == [([1], -1), ([1], 2), ([1, 2], 1)]
    assert task.now.tolist() == [1.6e9 + 20, 1.6e9 + 40, 1.6e9 + 60]
    assert len(set(task.users.tolist())) == 1
    assert dropped == {"repeated": 1}
    for case in range(3):
        assert (task.times[task.begin[case] : task.end[case]] < task.now[case]).all()


def test_figures_are_those_of_the_device(bundle: Bundle, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", walks())
    report = evaluate_ranking(bundle, log, resamples=50)
    table = EventLog(log, EventNames()).read()
    catalogue = Catalogue.open(bundle)
    task, _ = log_cases(table, EventsFrontend(bundle.manifest.frontend), catalogue, bundle)  # type: ignore[arg-type]
    by_hand = measure_ranking(task, DeviceRanker(Scorer(bundle, catalogue)))
    assert report.metrics["bundle"]["ndcg_at_10"].value == pytest.approx(by_hand.ndcg.mean())
    assert list(report.metrics) == ["popularity", "encoder", "prior", "bundle"]
    assert report.metrics["prior"]["ndcg_at_10"].value > 0.9
    assert report.cases == 160
    assert report.users == 40
    some = evaluate_ranking(bundle, log, most=30, resamples=50)
    assert some.cases == 30
    assert some.drawn_from == 160


def test_the_command_tells_and_writes(bundle: Bundle, tmp_path: Path) -> None:
    rows = [*walks(), ("u1", "no film", 1.7e9)]
    log = write_log(tmp_path / "log.csv", rows)
    log.write_text(log.read_text("utf-8").replace("user,item", "who,what", 1) + "u2,film-001,never\n", "utf-8")
    written = tmp_path / "figures.json"
    options = ["--user", "who", "--item", "what", "--json", str(written)]
    result = CliRunner().invoke(app, ["evaluate", str(bundle.path), str(log), *options])
    assert result.exit_code == 0, result.output
    assert "161 actions of 40 users" in result.output
    assert "1 of them (0.6%) nobody can find" in result.output
    assert "skipped 1" in result.output
    figures = json.loads(written.read_text("utf-8"))
    assert figures["misses"] == 1
    assert figures["bundle"]["ndcg_at_10"]["low"] <= figures["bundle"]["ndcg_at_10"]["value"]


def test_a_log_of_other_items_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", [("a", "x", 1.6e9), ("a", "y", 1.6e9 + 100)])
    with pytest.raises(DataError, match="as the bundle calls them"):
        evaluate_ranking(bundle, log)


def test_another_kind_of_bundle_is_refused(tmp_path: Path) -> None:
    from tiny_bundle import write_tiny_bundle

    other = write_tiny_bundle(tmp_path / "texts")
    with pytest.raises(BundleError, match="recommends nothing"):
        evaluate_ranking(other, write_log(tmp_path / "log.csv", walks(2)))
