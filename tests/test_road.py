"""The whole road on made data: train, export, index, search, evaluate. Run like any user would, from Python."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_corpus import made_recipe, write_pairs

import nearfar
from nearfar import road
from nearfar.bundle import Bundle
from nearfar.edge import Encoder, SearchIndex
from nearfar.errors import BundleError, DataError, NearfarError, RecipeError, RunError
from nearfar.progress import Tick
from nearfar.recipe import dump_recipe
from nearfar.recipe.provenance import in_words, policy_of
from nearfar.sources import Document

pytestmark = pytest.mark.recipe

FIGURES = {"ndcg_at_10", "recall_at_1", "recall_at_10", "recall_at_100", "mrr_at_10"}
SCHEDULE = ("train.epochs=30", "evaluate.bootstrap=200")


class Heard:
    """Stages that remember what they were told."""

    def __init__(self) -> None:
        self.stages: dict[str, int] = {}
        self.totals: dict[str, int | None] = {}
        self.notes: list[str] = []

    def __call__(self, name: str, total: int | None = None) -> Tick:
        self.stages.setdefault(name, 0)
        self.totals[name] = total

        def tick(count: int, note: str = "") -> None:
            self.stages[name] += count
            self.notes.append(note)

        return tick


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs.jsonl", 600, topics=100)


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def run(data: Path, heard: Heard, tmp_path_factory: pytest.TempPathFactory) -> road.Run:
    return nearfar.train(made_recipe(data, *SCHEDULE), tmp_path_factory.mktemp("runs") / "made", stages=heard)


@pytest.fixture(scope="module")
def bundle(run: road.Run, heard: Heard) -> Bundle:
    return run.export(stages=heard)


def ndcg(bundle: Bundle) -> dict[str, float]:
    return {row: figures["ndcg_at_10"].value for row, figures in bundle.manifest.metrics.items()}


def test_what_ships_has_learned_something(bundle: Bundle) -> None:
    """Query and document of a topic have no word in common, so BM25 finds next to nothing; a few word pieces they have.

    Six documents are of the topic of a query and only one of them is its own, so 0.55 is the best nDCG@10 there is.
    """
    assert set(bundle.manifest.metrics) == {"bm25", "untrained", "model", "bundle", "hybrid"}
    assert all(set(figures) == FIGURES for figures in bundle.manifest.metrics.values())
    found = ndcg(bundle)
    assert found["bundle"] > found["untrained"] + 0.2
    assert found["bundle"] > found["bm25"] + 0.35
    assert abs(found["bundle"] - found["model"]) < 0.02  # int8 costs next to nothing
    assert found["hybrid"] > found["bundle"] - 0.05
    recall = {row: figures["recall_at_10"].value for row, figures in bundle.manifest.metrics.items()}
    assert recall["bundle"] > 0.95
    assert recall["bundle"] > recall["untrained"] + 0.4
    assert recall["bundle"] > recall["bm25"] + 0.8
    for figures in bundle.manifest.metrics.values():
        for metric in figures.values():
            assert metric.low is not None
            assert metric.high is not None
            assert metric.low <= metric.value <= metric.high


def test_progress_is_told_from_end_to_end(bundle: Bundle, heard: Heard) -> None:
    assert list(heard.stages)[:5] == [
        "reading",
        "learning the vocabulary",
        "tokenising queries",
        "tokenising documents",
        "training",
    ]
    assert heard.stages["reading"] == 600
    for name, total in heard.totals.items():
        assert total is None or heard.stages[name] <= total, name
    assert heard.stages["tokenising queries"] == heard.totals["tokenising queries"]
    assert any(note.startswith("loss ") and " val " in note for note in heard.notes)


def test_the_manifest_says_where_the_bundle_comes_from(run: road.Run, bundle: Bundle) -> None:
    manifest, recipe = bundle.manifest, run.recipe
    assert (manifest.dim, manifest.dims) == (32, (16,))
    assert manifest.provenance.recipe == recipe.model_dump(mode="json")
    counts = manifest.provenance.data_counts
    assert counts["training_pairs"] + counts["validation_pairs"] + counts["test_pairs"] == counts["queries"] <= 600
    assert min(counts["validation_pairs"], counts["test_pairs"]) > 0
    assert {"python", "torch", "onnxruntime"} <= set(manifest.provenance.versions)
    assert manifest.provenance.negative_policy == policy_of(recipe)
    assert (manifest.provenance.negatives, manifest.provenance.mining) == in_words(policy_of(recipe))
    assert manifest.fusion is not None
    assert manifest.fusion.queries > 0
    card = bundle.read("card.md").decode()
    assert f"{ndcg(bundle)['bundle']:.4g}" in card


def test_a_search_with_the_bundle_finds_what_belongs_together(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    documents = [Document(id=str(i), text=row["positive"], location=f"row {i}") for i, row in enumerate(rows)]
    right = 0
    with SearchIndex.build(bundle, documents, tmp_path / "index") as index:
        for row, question in enumerate(rows[:100]):
            hits = index.search(question["query"], k=5)
            assert len(hits) == 5
            right += any(int(hit.id) % 100 == row % 100 for hit in hits)
    assert right > 80


def test_a_run_is_found_again(run: road.Run, data: Path) -> None:
    again = road.Run.open(run.directory)
    assert dump_recipe(again.recipe) == dump_recipe(made_recipe(data, *SCHEDULE))
    texts = ["some words", "and others", ""]
    np.testing.assert_array_equal(again.embedder().embed(texts), run.embedder().embed(texts))
    assert run.embedder(dim=16).embed(texts).shape == (3, 16)


def test_an_export_is_the_same_twice_apart_from_its_time(
    run: road.Run, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    first, second = run.export(tmp_path / "first"), run.export(tmp_path / "second")
    assert first.digest == second.digest
    later = bundle.manifest.model_dump(exclude={"created"})
    assert first.manifest.model_dump(exclude={"created"}) == later
    for name in ("encoder.onnx", "tokenizer.json"):
        assert first.read(name) == bundle.read(name)


def test_export_options(run: road.Run, bundle: Bundle, tmp_path: Path) -> None:
    short = run.export(tmp_path / "short", dim=16, quantise="none", baselines=())
    assert (short.manifest.dim, short.manifest.dims) == (16, ())
    assert set(short.manifest.metrics) == {"model", "bundle", "hybrid"}
    assert ndcg(short)["bundle"] == pytest.approx(ndcg(short)["model"], abs=0.01)
    assert ndcg(short)["bundle"] > 0.4
    texts = ["bado kilu", "meno"]
    np.testing.assert_allclose(
        Encoder.open(short).embed(texts), run.embedder(dim=16).embed(texts), atol=1e-5
    )  # float weights: no more than rounding


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 33}, "dim is 33, but the encoder gives only 32"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": -4}, "dim is -4"),
        ({"quantise": "int4"}, "there is no 'int4'; choose from int8, none"),
        ({"baselines": ["bm52"]}, "there is no 'bm52'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    run: road.Run, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        run.export(tmp_path / "bundle", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_refused_before_anything_is_measured(run: road.Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"x")
    heard = Heard()
    with pytest.raises(BundleError, match="is not overwritten"):
        run.export(tmp_path / "photos", stages=heard)
    assert heard.stages == {}


def test_a_full_disk_at_export(run: road.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once where the bundle goes, once where temporary files go; the bundle that was there stays."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        with pytest.raises(BundleError, match="no space for the bundle"):
            run.export(disk / "bundle")
        assert list(disk.iterdir()) == []
        kept = run.export(tmp_path / "bundle")
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        with pytest.raises(NearfarError, match=r"space|full"):
            run.export(tmp_path / "bundle", quantise="none")
        assert Bundle.open(tmp_path / "bundle").digest == kept.digest
        assert list(disk.iterdir()) == []
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "disk"]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_evaluate_on_pairs_of_a_table(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()][:200]
    table = [{"q": row["query"], "a": [row["positive"]]} for row in rows]
    table += [{"q": rows[0]["query"], "a": ["and this one too"]}, {"q": "", "a": ["no question"]}]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, table)), "utf-8")
    heard = Heard()
    scores = road.evaluate(bundle.path, tmp_path / "pairs.jsonl", query="q", positive="a", stages=heard)
    assert set(scores) == {"bm25", "bundle", "hybrid"}
    assert len(scores["bundle"].per_query["ndcg_at_10"]) == len({row["query"] for row in rows})
    assert scores["bundle"].ndcg_at_10.value > scores["bm25"].ndcg_at_10.value + 0.3
    assert any("left out 1 rows" in note and "pairs.jsonl:202" in note for note in heard.notes)
    # By hand: how often the right document of a query with one answer stands first.
    encoder = Encoder.open(bundle)
    texts = list(dict.fromkeys([row["positive"] for row in rows] + ["and this one too"]))
    queries = list(dict.fromkeys(row["query"] for row in rows))
    first = (encoder.embed(queries, "query") @ encoder.embed(texts).T).argmax(axis=1)
    answers = {row["query"]: row["positive"] for row in reversed(rows)}
    hits = np.array([texts[int(place)] == answers[query] for query, place in zip(queries, first, strict=True)])
    measured = scores["bundle"].per_query["recall_at_1"]
    single = [i for i, query in enumerate(queries) if sum(row["q"] == query for row in table) == 1]
    np.testing.assert_array_equal(measured[single], hits[single])


def test_evaluate_on_what_is_no_table_or_no_bundle(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no table of pairs"):
        road.evaluate(bundle.path, tmp_path / "pairs.docx")
    with pytest.raises(BundleError):
        road.evaluate(tmp_path / "nothing", data)
    with pytest.raises(DataError, match="question"):
        road.evaluate(bundle.path, data, query="question")


def test_a_recipe_without_held_out_pairs_ships_without_figures(data: Path, tmp_path: Path) -> None:
    nothing_held_out = ("data.split.validation=0", "data.split.test=0", "train.early_stop=null", "train.epochs=1")
    run = road.train(made_recipe(data, *nothing_held_out), tmp_path / "run")
    bundle = run.export()
    assert bundle.path == tmp_path / "run" / "bundle"
    assert (bundle.manifest.metrics, bundle.manifest.fusion) == ({}, None)
    assert Encoder.open(bundle).embed(["words"]).shape == (1, 32)


def test_what_is_no_run_or_no_finished_one(data: Path, tmp_path: Path) -> None:
    for opening in (road.Run.open, road.resume):
        with pytest.raises(RunError, match=r"no recipe\.yaml"):
            opening(tmp_path)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(made_recipe(data, "train.epochs=1")), "utf-8")
    with pytest.raises(RunError, match=r"has not ended: .*--resume"):
        road.Run.open(tmp_path)
    assert road.resume(tmp_path).recipe.train.epochs == 1
    with pytest.raises(RecipeError, match="already been read"):
        road.train(made_recipe(data), tmp_path / "other", overrides=["seed=1"])


def test_a_recipe_file_with_overrides(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(dump_recipe(made_recipe(data)), "utf-8")
    monkeypatch.chdir(tmp_path)
    run = road.train("mine.yaml", overrides=["train.epochs=1", "seed=7"])
    assert run.directory.parent == Path("runs")
    assert run.directory.name.startswith("made-")
    assert (run.recipe.seed, run.recipe.train.epochs) == (7, 1)


@pytest.mark.parametrize("kind", ["spans", "heading_section+spans"])
def test_a_folder_without_labels(tmp_path: Path, kind: str) -> None:
    """Sections that talk about one of many topics: a span finds the rest of its section."""
    rng = np.random.default_rng(0)
    (tmp_path / "docs").mkdir()
    for number in range(60):
        sections = []
        for part in range(5):
            own = [f"t{5 * number + part}w{i}" for i in range(3)]
            words = rng.permutation([*(own * 4), *(f"common{i}" for i in rng.integers(0, 50, 25))])
            sections.append(f"## About {own[0]}\n\n{' '.join(words)}\n")
        (tmp_path / "docs" / f"{number:02}.md").write_text(f"# File {number}\n\n" + "\n".join(sections), "utf-8")
    rules = [{"kind": rule} for rule in kind.split("+")]
    overrides = (
        f"data.source={{kind: folder, path: {tmp_path / 'docs'}}}",
        f"data.pairings={json.dumps(rules)}",
        "data.split={validation: 0.1, test: 0.2}",
        "frontend.tokenizer.vocab_size=4000",
        "train.epochs=6",
    )
    bundle = road.train(made_recipe(tmp_path / "none.jsonl", *overrides), tmp_path / "run").export()
    found = ndcg(bundle)
    assert found["bundle"] > 0.4  # chance is 0.01
    counts = bundle.manifest.provenance.data_counts
    assert counts["span_documents"] > 150
    assert counts["test_pairs"] > 20
