"""What a run keeps of its teacher: vectors, near-duplicates, axes, and a table to start with."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from made_teacher import (
    BOTH,
    COLUMNS,
    DIM,
    STUDENT,
    opens,
    prepared,
    taught_recipe,
    texts_of,
    write_notes,
    write_teacher,
)

from nearfar.bundle import Bundle
from nearfar.edge.encoder import Encoder
from nearfar.errors import DataError, RunError
from nearfar.learn.pairs import PreparedPairs
from nearfar.learn.run import train_run
from nearfar.learn.teaching import Taught, check_dimensions, is_taught
from nearfar.progress import Tick, silent

SYMMETRIC = "method={kind: distil, corpus: 0, embedding: 1}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_notes(tmp_path_factory.mktemp("notes") / "notes.jsonl")


@pytest.fixture(scope="module")
def teacher(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_teacher(tmp_path_factory.mktemp("teacher") / "b", texts_of(data))


def taught_by(found: PreparedPairs) -> Taught:
    assert found.taught is not None
    return found.taught


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_texts(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), "utf-8")
    return path


def test_every_document_has_the_teachers_vector(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    found = prepared(taught_recipe(data, teacher.path), tmp_path)
    taught = taught_by(found)
    documents = [found.corpus.document(number) for number in range(len(found.corpus.document_texts))]
    np.testing.assert_array_equal(taught.vectors, Encoder.open(teacher).embed(documents).astype(np.float16))
    assert (taught.name, taught.digest, taught.asymmetric) == ("teacher", teacher.digest, True)
    assert taught.axes is None
    assert is_taught(tmp_path / "data" / "taught")


def test_the_teacher_is_asked_once(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    recipe = taught_recipe(data, teacher.path)
    first = taught_by(prepared(recipe, tmp_path))
    again = PreparedPairs.prepare(recipe, tmp_path, silent, None)
    opened = PreparedPairs.open(tmp_path)
    for other in (taught_by(again), taught_by(opened)):
        np.testing.assert_array_equal(other.vectors, first.vectors)
        np.testing.assert_array_equal(other.start, first.start)
    for other_data in (again, opened):
        assert len(other_data.corpus.span_documents) == len(first.vectors)


def test_what_another_teacher_has_left_unfinished_is_not_gone_on_with(
    data: Path, teacher: Bundle, tmp_path: Path
) -> None:
    stranger = write_teacher(tmp_path / "stranger", texts_of(data), seed=5)
    taught = tmp_path / "run" / "data" / "taught"
    first = prepared(taught_recipe(data, stranger.path), tmp_path / "run")
    (taught / "teacher.json").unlink()  # killed just before the end, and the model at that path was replaced
    found = taught_by(prepared(taught_recipe(data, teacher.path), tmp_path / "run"))
    expected = taught_by(prepared(taught_recipe(data, teacher.path), tmp_path / "whole"))
    assert not np.array_equal(taught_by(first).vectors, expected.vectors)
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    np.testing.assert_array_equal(found.start, expected.start)


def test_without_a_teacher_to_ask_it_is_said_how_to_have_one(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    recipe = taught_recipe(data, teacher.path, "frontend={tokenizer: {kind: train, vocab_size: 600}}")
    with pytest.raises(
        RunError, match=r"has not been asked, and there is none to ask: train the recipe by road\.train"
    ):
        PreparedPairs.prepare(recipe, tmp_path, silent, None)


def test_the_start_is_near_the_teacher_before_the_first_step(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    """Also for texts that nobody has seen: halves of two documents."""
    run = train_run(taught_recipe(data, teacher.path, "train.epochs=1"), tmp_path / "run", teacher=opens(teacher.path))
    known = [text.split() for text in texts_of(data)]
    texts = texts_of(data)[:40] + [" ".join(one[:7] + other[7:]) for one, other in itertools.pairwise(known)]
    mine, theirs = run.untrained().embed(texts), Encoder.open(teacher).embed(texts)
    start = np.einsum("nd,nd->n", mine, theirs)
    assert start.mean() > 0.9
    random = taught_recipe(data, teacher.path, "train.epochs=1", "encoder.start=random")
    plain = train_run(random, tmp_path / "plain", teacher=opens(teacher.path)).untrained().embed(texts)
    assert abs(np.einsum("nd,nd->n", plain, theirs).mean()) < 0.5


def test_the_vocabulary_is_that_of_the_teacher_cut_down_to_the_data(tmp_path: Path) -> None:
    data = write_notes(tmp_path / "few.jsonl", 30)
    many = texts_of(write_notes(tmp_path / "many.jsonl", 200, seed=5)) + texts_of(data)
    teacher = write_teacher(tmp_path / "teacher", many)
    none_held_out = "data.split={validation: 0, test: 0}"
    found = prepared(taught_recipe(data, teacher.path, none_held_out), tmp_path / "cut").frontend
    every = "frontend.tokenizer.pieces=all"
    whole = prepared(taught_recipe(data, teacher.path, none_held_out, every), tmp_path / "all").frontend
    assert whole.pieces == Encoder.open(teacher).frontend.pieces  # type: ignore[attr-defined]
    assert set(found.pieces) < set(whole.pieces)
    for text in texts_of(data):
        ids = found.encode([text], "document")[0]
        assert [found.pieces[i] for i in ids] == [whole.pieces[i] for i in whole.encode([text], "document")[0]]


def test_pieces_are_said_to_the_teacher_without_the_marks_of_their_vocabulary(
    data: Path, teacher: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    embed = Encoder.embed

    def hear(self: Encoder, items: Sequence[str], side: str = "document") -> np.ndarray:
        said.extend(items)
        return embed(self, items, side)  # type: ignore[arg-type]

    monkeypatch.setattr(Encoder, "embed", hear)
    for kind, size in (("wordpiece", 400), ("bpe", 600)):
        vocabulary = f"frontend={{tokenizer: {{kind: train, model: {kind}, vocab_size: {size}}}}}"
        found = prepared(taught_recipe(data, teacher.path, vocabulary), tmp_path / kind)
        pieces = said[-len(found.frontend.pieces) :]
        assert not [piece for piece in pieces if piece.startswith(("##", "\u0120", "\u2581"))]
        assert any(piece.startswith(("##", "\u0120")) for piece in found.frontend.pieces)


# --- near-duplicates ---------------------------------------------------------------------------------------------------


def test_near_duplicates_are_those_that_the_teacher_says(tmp_path: Path, data: Path, teacher: Bundle) -> None:
    texts = texts_of(data)[:30]
    again = [f"{text} {text.split()[0]}" for text in texts[:5]]  # one word more
    found = prepared(
        taught_recipe(write_texts(tmp_path / "d.jsonl", texts + again), teacher.path, "method.same=0.9"), tmp_path
    )
    taught = taught_by(found)
    documents = [found.corpus.document(number) for number in range(len(taught.vectors))]
    known = set(found.corpus.training_documents().tolist())
    cosines = taught.vectors.astype(np.float64) @ taught.vectors.T.astype(np.float64)
    for number in range(len(documents)):
        expected = {n for n in known if cosines[number, n] >= 0.9 and n != number} if number in known else set()
        assert set(taught.duplicates[number].tolist()) - {-1} == expected, documents[number]
    place = {text: number for number, text in enumerate(documents)}
    assert place[again[0]] in taught.duplicates[place[texts[0]]]


def test_identical_documents_are_one_and_nothing_can_be_told_apart(teacher: Bundle, tmp_path: Path, data: Path) -> None:
    same = write_texts(tmp_path / "same.jsonl", [texts_of(data)[0]] * 20)
    recipe = taught_recipe(same, teacher.path, "data.split={validation: 0, test: 0}")
    with pytest.raises(DataError, match="contrastive training needs at least 2 different"):
        train_run(recipe, tmp_path / "run", teacher=opens(teacher.path))


def test_documents_that_are_all_nearly_the_same_train_without_a_negative(
    tmp_path: Path, data: Path, teacher: Bundle
) -> None:
    text = texts_of(data)[0]
    texts = [" ".join([text] * times) for times in range(1, 9)]
    recipe = taught_recipe(
        write_texts(tmp_path / "d.jsonl", texts),
        teacher.path,
        "data.split={validation: 0, test: 0}",
        "train.batch_size=4",
    )
    run = train_run(recipe, tmp_path / "run", teacher=opens(teacher.path))
    near = taught_by(run.prepared).duplicates  # type: ignore[union-attr]
    assert (near >= 0).sum(axis=1).tolist() == [7] * 8
    assert np.isfinite(run.embedder().embed(texts)).all()


def test_one_document_is_a_clear_error(tmp_path: Path, data: Path, teacher: Bundle) -> None:
    one = write_texts(tmp_path / "one.jsonl", texts_of(data)[:1])
    recipe = taught_recipe(one, teacher.path, "data.split={validation: 0, test: 0}")
    with pytest.raises(DataError, match="only 1 training pairs"):
        train_run(recipe, tmp_path / "run", teacher=opens(teacher.path))


def test_empty_and_odd_documents_are_no_trouble(tmp_path: Path, data: Path, teacher: Bundle) -> None:
    texts = [*texts_of(data)[:30], "\u200b", "  \u00a0 . ", "...", "\U0001f600 \u4f60\u597d", "x"]
    rows = [{"query": text[:9] or "q", "positive": text, "text": text} for text in texts]
    path = tmp_path / "odd.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    recipe = taught_recipe(path, teacher.path, BOTH, "data.bad_rows=skip")
    run = train_run(recipe, tmp_path / "run", teacher=opens(teacher.path))
    taught = taught_by(run.prepared)  # type: ignore[union-attr]
    assert np.isfinite(np.asarray(taught.vectors)).all()
    assert np.isfinite(taught.start).all()  # type: ignore[arg-type]
    assert np.isfinite(run.embedder().embed([*texts, ""])).all()


# --- dimensions --------------------------------------------------------------------------------------------------------


def test_a_narrower_student_learns_the_axes_that_say_most(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    recipe = taught_recipe(data, teacher.path, SYMMETRIC, "encoder.dim=8")
    run = train_run(recipe, tmp_path / "run", teacher=opens(teacher.path))
    taught = taught_by(run.prepared)  # type: ignore[union-attr]
    assert taught.axes is not None
    assert taught.start is not None
    assert (taught.axes.shape, taught.start.shape[1]) == ((DIM, 8), 8)
    np.testing.assert_allclose(taught.axes.T @ taught.axes, np.eye(8), atol=1e-5)
    texts = texts_of(data)
    targets = unit(Encoder.open(teacher).embed(texts) @ taught.axes)
    assert np.einsum("nd,nd->n", run.embedder().embed(texts), targets).mean() > 0.9


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("encoder.dim=16",), r"gives 16 dimensions, but the teacher 32, .* the teacher's own vectors: set encoder\.dim .* to 32; the step `rank`"),
        (("encoder.dim=64",), r"gives 64 dimensions, but the teacher 32, .* the teacher's own vectors"),
        (("encoder.dim=64", SYMMETRIC), r"it cannot learn more dimensions than the teacher has: set encoder\.dim .* to 32 or less"),
        (("encoder={kind: transformer, dim: 48}",), "gives 48 dimensions, but the teacher 32"),
    ],
)  # fmt: skip
def test_dimensions_that_do_not_fit(
    data: Path, teacher: Bundle, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        train_run(taught_recipe(data, teacher.path, *overrides), tmp_path / "run", teacher=opens(teacher.path))


def test_fitting_dimensions_pass() -> None:
    check_dimensions(32, 32, asymmetric=True)
    check_dimensions(32, 8, asymmetric=False)


def test_a_pretrained_student_is_checked_before_the_teacher_works(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    """Its width stands in its configuration only."""
    pytest.importorskip("transformers")
    from made_sentence_models import write_sentence_model

    narrow = write_teacher(tmp_path / "narrow", texts_of(data), dim=16)
    model = write_sentence_model(tmp_path / "model")  # 32 wide
    lengths = "frontend={tokenizer: {kind: model}, max_query_tokens: 16, max_document_tokens: 30}"
    hf = f"encoder={{kind: hf, model: {model}}}"
    with pytest.raises(RunError, match="gives 32 dimensions, but the teacher 16"):
        train_run(taught_recipe(data, narrow.path, lengths, hf), tmp_path / "run", teacher=opens(narrow.path))
    assert not (tmp_path / "run" / "data" / "taught" / "documents.f16").exists()
    wide = write_teacher(tmp_path / "wide", texts_of(data), dim=40)
    recipe = taught_recipe(data, wide.path, lengths, hf, SYMMETRIC, "train.max_steps=2", "train.epochs=1")
    run = train_run(recipe, tmp_path / "wider", teacher=opens(wide.path))
    axes = taught_by(run.prepared).axes  # type: ignore[union-attr]
    assert axes is not None
    assert axes.shape == (40, 32)


# --- killed and resumed ------------------------------------------------------------------------------------------------

CODE = """
import sys, time; sys.path[:0] = [sys.argv[1], sys.argv[1] + "/../edge"]
from pathlib import Path
from made_teacher import opens, taught_recipe
from nearfar.learn.run import train_run
data, teacher, run = map(Path, sys.argv[2:5])
slow = sys.argv[5] == "slow"
class Slow:
    def __init__(self, encoder): self.encoder = encoder
    def __getattr__(self, name): return getattr(self.encoder, name)
    def embed(self, items, side="document"):
        time.sleep(0.3)
        return self.encoder.embed(items, side)
def asked():
    return Slow(opens(teacher)()) if slow else opens(teacher)()
train_run(taught_recipe(data, teacher, *sys.argv[6:]), run, teacher=asked)
"""


def weights(directory: Path) -> str:
    checkpoint = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    digest = hashlib.sha256()
    for value in checkpoint["state_dict"].values():
        digest.update(value.numpy().tobytes())
    for state in checkpoint["optimizer_states"][0]["state"].values():
        for value in state.values():
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def wait_for(process: subprocess.Popen[bytes], there: Callable[[], bool]) -> None:
    while process.poll() is None and not there():
        time.sleep(0.002)


@pytest.mark.recipe
@pytest.mark.parametrize("moment", ["documents", "pieces", "training"])
def test_a_run_killed_while_the_teacher_works_or_while_it_learns_ends_with_the_same_bits(
    tmp_path: Path, moment: str
) -> None:
    data = write_notes(tmp_path / "notes.jsonl", 700)
    teacher = write_teacher(tmp_path / "teacher", texts_of(data)).path
    schedule = ("train.checkpoint_every=3", "train.validate_every=4", "train.epochs=8", "method.candidates=100")
    broken, taught = tmp_path / "broken", tmp_path / "broken" / "data" / "taught"
    speed = "fast" if moment == "training" else "slow"
    here = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", CODE, here, data, teacher, broken, speed, *schedule])
    parts = {"documents": taught / "documents.f16.part", "pieces": taught / "pieces.f16.part"}
    if moment == "training":
        wait_for(process, (broken / "checkpoints" / "last.ckpt").exists)
    else:
        wait_for(process, lambda: parts[moment].is_file() and parts[moment].stat().st_size > 0)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed: make it longer"
    if moment in parts:
        assert parts[moment].exists()
        with parts[moment].open("ab") as file:  # as if a write had been cut off
            file.truncate(parts[moment].stat().st_size - 11)
    recipe = taught_recipe(data, teacher, *schedule)
    whole = train_run(recipe, tmp_path / "whole", teacher=opens(teacher))
    resumed = train_run(recipe, broken, resume=True, teacher=opens(teacher))
    assert weights(broken) == weights(tmp_path / "whole")
    for name in ("documents.f16", "pieces.f16", "teacher.json"):
        assert (taught / name).read_bytes() == (tmp_path / "whole" / "data" / "taught" / name).read_bytes()
    np.testing.assert_array_equal(resumed.embedder().embed(["some text"]), whole.embedder().embed(["some text"]))


def test_the_columns_of_a_table_alone_will_do(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    """No spans are drawn then, not even of held-out documents."""
    run = train_run(taught_recipe(data, teacher.path, COLUMNS), tmp_path / "run", teacher=opens(teacher.path))
    assert not len(run.prepared.corpus.span_documents)  # type: ignore[union-attr]


def test_progress_says_what_the_teacher_does(data: Path, teacher: Bundle, tmp_path: Path) -> None:
    told: dict[str, list[int]] = {}
    totals: dict[str, int | None] = {}

    def stages(name: str, total: int | None = None) -> Tick:
        totals[name] = total
        return lambda count, note="": told.setdefault(name, []).append(count)

    (tmp_path / "data").mkdir()
    PreparedPairs.prepare(
        taught_recipe(data, teacher.path, STUDENT, "encoder.start=teacher"), tmp_path, stages, opens(teacher.path)
    )
    for name in ("the teacher embeds the documents", "the teacher embeds the vocabulary"):
        assert sum(told[name]) == totals[name]
