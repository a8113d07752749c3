"""A query encoder and its teacher as a user types it: train, index, index again, search."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from made_teacher import texts_of, write_notes, write_teacher
from tiny_bundle import write_tiny_bundle
from tiny_image_bundle import write_tiny_image_bundle
from tiny_reranker import write_tiny_reranker

from nearfar.bundle import Bundle

pytestmark = pytest.mark.recipe

Command = Callable[..., tuple[int, str, str]]
RECIPE = """\
name: notes
data:
  source: {kind: folder, path: notes}
  pairings: [{kind: spans, min_tokens: 2, max_tokens: 6}]
  split: {validation: 0.1, test: 0.1}
teacher: {model: TEACHER}
frontend: {tokenizer: {kind: teacher}}
encoder: {kind: static, dim: 32, start: teacher}
method: {kind: distil}
train: {epochs: 2, batch_size: 16, early_stop: null, accelerator: cpu}
evaluate: {bootstrap: 20}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notes, a teacher who knows them, and a recipe."""
    folder = tmp_path_factory.mktemp("cli")
    texts = texts_of(write_notes(folder / "notes.jsonl", 60))
    (folder / "notes").mkdir()
    for number, text in enumerate(texts):
        (folder / "notes" / f"{number}.txt").write_text(text, "utf-8")
    teacher = write_teacher(folder / "teacher", texts)
    (folder / "recipe.yaml").write_text(RECIPE.replace("TEACHER", str(teacher.path)), "utf-8")
    return folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    from nearfar import road

    road.train(folder / "recipe.yaml", folder / "run").export()
    return folder / "run" / "bundle"


def test_train_says_how_an_index_gets_its_vectors(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    code, out, err = nearfar("train", folder / "recipe.yaml", "-o", tmp_path / "run")
    assert code == 0, err
    assert "query by bundle, text by teacher" in out
    assert "--teacher" in out
    assert Bundle.open(tmp_path / "run" / "bundle").manifest.teacher is not None


def test_index_with_the_teacher_then_on_the_device_without(
    nearfar: Command, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    index = tmp_path / "notes.index"
    code, out, err = nearfar("index", bundle, folder / "notes", "--teacher", folder / "teacher", "-o", index)
    assert code == 0, err
    assert "60 documents (60 added" in out
    text = (folder / "notes" / "7.txt").read_text("utf-8")
    code, out, err = nearfar("search", index, " ".join(text.split()[2:9]), "-k", 3)
    assert code == 0, err
    assert text[:20] in " ".join(out.split()) or "7.txt" in out
    for options in ((), ("--teacher", folder / "teacher")):
        code, out, err = nearfar("index", bundle, folder / "notes", "-o", index, *options)
        assert code == 0, err
        assert "0 added, 0 updated, 60 unchanged" in out


def test_watching_on_the_device_adds_and_removes_by_the_bundle(
    nearfar: Command, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    from nearfar.edge import SearchIndex

    notes, index = Path(shutil.copytree(folder / "notes", tmp_path / "notes")), tmp_path / "i"
    assert nearfar("index", bundle, notes, "--teacher", folder / "teacher", "-o", index)[0] == 0
    watching = subprocess.Popen(
        [sys.executable, "-m", "nearfar.cli", "watch", str(index), str(notes)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert watching.stdout is not None
        while "watching" not in watching.stdout.readline():
            assert watching.poll() is None
        (notes / "0.txt").unlink()
        (notes / "new.txt").write_text("badoki lumeno added here", "utf-8")
        deadline = time.monotonic() + 60
        with SearchIndex.open(index) as opened:
            while not any("added here" in hit.text for hit in opened.search("badoki lumeno added here", 3)):
                assert time.monotonic() < deadline, "nothing was added"
                time.sleep(0.1)
    finally:
        watching.send_signal(signal.SIGINT)
        watching.wait(30)
    with SearchIndex.open(index) as opened:
        assert len(opened) == 60


def test_a_teacher_that_does_not_fit_is_one_line(nearfar: Command, folder: Path, bundle: Path, tmp_path: Path) -> None:
    stranger = write_tiny_bundle(tmp_path / "stranger").path
    pictures = write_tiny_image_bundle(tmp_path / "pictures").path
    pairs = write_tiny_reranker(tmp_path / "pairs").path
    for wrong, message in (
        (stranger, "was trained for the vectors of teacher"),
        (pictures, "was trained for the vectors of teacher"),
        (pairs, "pairs"),
        (tmp_path / "nobody", "nobody"),
        (folder / "notes", "notes"),
    ):
        code, out, err = nearfar("index", bundle, folder / "notes", "--teacher", wrong, "-o", tmp_path / "i")
        assert code != 0, out
        assert message in " ".join(err.split())
        assert not (tmp_path / "i").exists()


def test_an_index_without_a_teacher_needs_a_rebuild(
    nearfar: Command, folder: Path, bundle: Path, tmp_path: Path
) -> None:
    index, teacher = tmp_path / "i", ("--teacher", folder / "teacher")
    assert nearfar("index", bundle, folder / "notes", "-o", index)[0] == 0
    code, _, err = nearfar("index", bundle, folder / "notes", "-o", index, *teacher)
    assert code != 0
    assert "(--rebuild)" in " ".join(err.split())
    code, out, err = nearfar("index", bundle, folder / "notes", "-o", index, *teacher, "--rebuild")
    assert code == 0, err
    assert "60 added" in out
    code, _, err = nearfar("index", bundle, folder / "notes", "-o", tmp_path / "j", *teacher, "--dim", 8)
    assert code != 0


def test_fewer_dimensions_are_refused_by_export(nearfar: Command, bundle: Path, tmp_path: Path) -> None:
    code, _, err = nearfar("export", bundle.parent, "-o", tmp_path / "b", "--dim", 8)
    assert code != 0
    assert "compared with the teacher's own vectors of 32 components" in " ".join(err.split())


def test_check_says_what_would_be_done(nearfar: Command, folder: Path) -> None:
    code, out, _ = nearfar("recipe", "check", folder / "recipe.yaml")
    assert code == 0
    assert "starting from the teacher" in out
    assert f"distil from {folder / 'teacher'}" in out.replace("\n", "")
    code, _, err = nearfar("recipe", "check", folder / "recipe.yaml", "--set", "teacher=null")
    assert code != 0
    assert "needs a teacher: set teacher.model" in " ".join(err.split())
