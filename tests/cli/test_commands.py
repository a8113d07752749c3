"""The commands as a user types them, in one process so that torch is imported once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nearfar import __version__

Command = Callable[..., tuple[int, str, str]]


NOTES = {
    "taps.md": "# Plumbing\n\n## Repairing a dripping faucet\n\nTurn the water off, take the handle apart and change the washer.\n\n"
    "## Thawing a frozen pipe\n\nWarm the pipe with a hair dryer, from the open end to the ice.\n",
    "garden.md": "# Garden\n\n## Pruning roses\n\nCut above an outward bud in early spring, with clean shears.\n\n"
    "## Feeding tomatoes\n\nGive potash once the first fruit has set, and water in the morning.\n",
    "bread.rst": "Bread\n=====\n\nSour dough\n----------\n\nFlour, water and patience; feed the starter every day.\n\n"
    "Rye loaf\n--------\n\nMix rye and wheat flour, let it rise overnight, bake it hot.\n",
    "bike.txt": "Mending a flat tyre\n\nFind the hole under water, dry it, roughen it, glue the patch and wait.\n",
    "cat.html": "<html><head><title>Cats</title></head><body><h1>Brushing a cat</h1><p>Brush along the fur, a little every day.</p>"
    "<h1>Cutting claws</h1><p>Cut only the clear tip, with a claw cutter.</p></body></html>",
}
HIT = {"id", "title", "text", "location", "score", "rank", "passage", "heading", "page", "metadata"}
RECIPE = """\
name: notes
data:
  source: {kind: folder, path: notes}
  pairings: [{kind: heading_section}, {kind: spans, measure: false}]
  split: {validation: 0.1, test: 0.2}
frontend: {tokenizer: {kind: train, vocab_size: 300}}
encoder: {kind: static, dim: 16}
train: {epochs: 3, batch_size: 64, early_stop: null}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    (folder / "notes").mkdir()
    for name, text in NOTES.items():
        (folder / "notes" / name).write_text(text, "utf-8")
    # What folders hold beside text: an empty file, a picture, text in an old encoding.
    (folder / "notes" / "empty.md").touch()
    (folder / "notes" / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 50)
    (folder / "notes" / "old.md").write_bytes("# Käse\n\nKäse reift im Keller.\n".encode("latin-1"))
    (folder / "recipe.yaml").write_text(RECIPE, "utf-8")
    return folder


def test_version_and_help(nearfar: Command) -> None:
    assert nearfar("--version") == (0, f"nearfar {__version__}\n", "")
    code, out, _ = nearfar("--help")
    assert code == 0
    for command in ("demo", "train", "export", "evaluate", "inspect", "index", "search", "recipe"):
        assert command in out


@pytest.mark.recipe
def test_from_notes_to_answers(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    run, index = tmp_path / "run", tmp_path / "my.index"
    code, out, err = nearfar(
        "train", folder / "recipe.yaml", "-o", run, "--set", "train.epochs=30", "--set", "encoder.dim=32"
    )
    assert code == 0
    assert "old.md" in err, "what was passed over is named"
    assert str(run / "bundle") in out
    assert "encoder:" in (run / "recipe.yaml").read_text("utf-8")

    code, out, _ = nearfar("inspect", run / "bundle")
    assert code == 0
    assert "notes" in out
    assert "made with" in out
    code, out, _ = nearfar("inspect", run / "bundle", "--json")
    assert json.loads(out)["provenance"]["recipe"]["encoder"]["dim"] == 32

    code, out, err = nearfar("index", run / "bundle", folder / "notes", "-o", index)
    assert code == 0
    assert "3 skipped" in out
    for reason in ("old.md", "picture.txt", "empty.md"):
        assert reason in err
    assert nearfar("index", run / "bundle", folder / "notes", "-o", index)[1].count("0 added, 0 updated") == 1

    code, out, _ = nearfar("search", index, "mending a dripping faucet", "-k", "2")
    assert code == 0
    assert "Repairing a dripping faucet" in out
    assert "taps.md:" in out
    for query in ("🚰 fix the tap", "חתול", "faucet " * 15_000, '"unclosed AND (NOT'):
        code, out, _ = nearfar("search", index, query, "--json", "-k", "3")
        assert code == 0
        hits = json.loads(out)
        assert all(set(hit) == HIT for hit in hits)
        assert {hit["id"] for hit in hits} <= set(NOTES), "a file is a document"
        assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))
    code, out, _ = nearfar("search", index, "water", "--json", "-k", "9", "--mode", "keyword", "--distinct", "document")
    assert {hit["id"] for hit in json.loads(out)} == {"taps.md", "garden.md", "bread.rst", "bike.txt"}
    (tap,) = [hit for hit in json.loads(out) if hit["id"] == "taps.md"]
    assert (tap["title"], tap["heading"]) == ("Plumbing", "Repairing a dripping faucet")
    assert "taps.md:" in tap["location"]
    code, _, err = nearfar("search", index, "water", "--where", "year = 2020")
    assert code == 2
    assert "year" in err
    code, _, err = nearfar("search", index, "  ")
    assert code == 2
    assert "the query is empty" in err

    sealed, key = tmp_path / "sealed.index", tmp_path / "key"
    assert nearfar("index", run / "bundle", folder / "notes", "-o", sealed, "--encrypt", f"file:{key}")[0] == 0
    assert b"faucet" not in b"".join(file.read_bytes() for file in sealed.glob("*.*") if file.is_file())
    code, out, _ = nearfar("search", sealed, "faucet", "--mode", "keyword", "--json")
    assert [hit["id"] for hit in json.loads(out)] == ["taps.md"]
    key.unlink()
    code, _, err = nearfar("search", sealed, "faucet")
    assert code == 2
    assert str(key) in err

    code, out, _ = nearfar("export", run, "-o", tmp_path / "other", "--dim", "16")
    assert code == 0
    code, _, err = nearfar("index", tmp_path / "other", folder / "notes", "-o", index)
    assert code == 2
    assert "--rebuild" in err
    assert nearfar("index", tmp_path / "other", folder / "notes", "-o", index, "--rebuild")[0] == 0
    assert nearfar("export", run, "--dim", "64")[0] == 2


@pytest.mark.recipe
def test_evaluate_measures_a_bundle_on_a_table(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    assert nearfar("train", folder / "recipe.yaml", "-o", tmp_path / "run")[0] == 0
    table, figures = tmp_path / "pairs.csv", tmp_path / "figures.json"
    table.write_text("query,positive\nfaucet,Repair the faucet\nroses,Prune the roses\n", "utf-8")
    code, out, _ = nearfar("evaluate", tmp_path / "run" / "bundle", table, "--json", figures)
    assert code == 0
    assert "BM25" in out
    assert json.loads(figures.read_text("utf-8"))["bm25_recall_at_1"]["value"] == 1.0


def test_mistakes_are_one_message(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text(RECIPE.replace("epochs", "epoch").replace("notes}", f"{folder / 'notes'}}}"), "utf-8")
    code, _, err = nearfar("train", misspelt)
    assert code == 2
    assert "misspelt.yaml:8: train.epoch: unknown key" in err
    assert '"epochs"' in err

    (tmp_path / "nothing").mkdir()
    cases = {
        ("train",): "give a recipe",
        ("train", folder / "recipe.yaml", "--resume", tmp_path): "not both",
        ("train", "--resume", tmp_path): "is not a run",
        (
            "train",
            folder / "recipe.yaml",
            "--set",
            f"data.source.path={tmp_path / 'nothing'}",
            "-o",
            tmp_path / "a",
        ): "nothing",
        ("export", tmp_path): "is not a run",
        ("inspect", tmp_path / "nothing"): "is missing",
        ("inspect", tmp_path / "missing"): "missing",
        ("index", tmp_path / "missing", folder / "notes", "-o", tmp_path / "i"): "missing",
        ("search", tmp_path / "missing", "question"): "missing",
        ("search", folder / "notes", "question"): "index",
    }
    for arguments, part in cases.items():
        code, _, err = nearfar(*arguments)
        assert code == 2, arguments
        assert "error: " in err, arguments
        assert part in err, arguments
    assert not (tmp_path / "a").exists(), "a run that found no data leaves nothing in the way of the next try"


@pytest.mark.recipe
def test_ctrl_c_saves_and_resume_goes_on(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "nearfar", "train", str(folder / "recipe.yaml"), "-o", str(run), "--no-export"]
    many = ["--set", "train.epochs=100000", "--set", "train.checkpoint_every=5", "--set", "data.split.validation=0"]
    process = subprocess.Popen([*command, *many], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while process.poll() is None and not (run / "checkpoints" / "last.ckpt").exists():
        pass
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert f"nearfar train --resume {run}" in err
    assert "Traceback" not in err


def test_importing_nearfar_is_light() -> None:
    code = "import sys, nearfar; print(*[m for m in ('numpy', 'torch', 'onnxruntime', 'pydantic', 'faiss') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_device_side_works_without_torch(tmp_path: Path) -> None:
    """Everything that `pip install nearfar` gives is importable, and training says what to install."""
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'lightning', 'transformers', 'onnx', 'pyarrow', 'bm25s'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name.split('.')[0])
sys.meta_path.insert(0, Refuse())
import nearfar, nearfar.cli
from nearfar.edge import Encoder, SearchIndex
from nearfar.recipe import parse_recipe
sys.argv = ['nearfar', 'train', sys.argv[1]]
nearfar.cli.main()
"""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE, "utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", code, str(recipe)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ended.returncode == 2
    assert 'pip install "nearfar[train]"' in ended.stderr
