"""The commands over pictures as a user types them."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_pictures import noise, write_classes, write_picture
from PIL import Image

from nearfar.cli import main

Command = Callable[..., tuple[int, str, str]]

RECIPE = """\
name: photos
data:
  source: {kind: images, path: photos, labels: folder}
  pairings: [{kind: views}]
  split: {validation: 0.1, test: 0.3}
frontend: {kind: image, size: 8}
views: {jitter: null, greyscale: 0.0}
encoder: {kind: cnn, width: 8, dim: 16}
method: {kind: simclr}
train: {epochs: 4, batch_size: 16, learning_rate: 0.005, threads: 1, accelerator: cpu}
evaluate: {bootstrap: 20, neighbours: 3}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some pictures with a folder a class, one damaged, and a recipe beside them; the name would be markup for rich."""
    folder = tmp_path_factory.mktemp("mine") / "[red]photos [x]"
    write_classes(folder / "photos", 3, 20)
    (folder / "photos" / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (folder / "recipe.yaml").write_text(RECIPE, "utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[Path, str, str]:
    """A run with its bundle, and what training it printed."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["nearfar", "train", str(folder / "recipe.yaml"), "-o", str(folder / "run")])
        with contextlib.suppress(SystemExit):
            main()
    return folder / "run", out.getvalue(), err.getvalue()


def error_of(command: tuple[int, str, str]) -> str:
    """The one line that a mistake is told by; progress may stand above it."""
    code, _, err = command
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert err.rstrip().endswith(lines[0]), err
    return lines[0]


def test_help_names_the_commands(nearfar: Command) -> None:
    code, out, _ = nearfar("--help")
    assert code == 0
    assert "views" in out
    assert "finetune" in out


def test_views(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "[bold]views.png"
    code, out, _ = nearfar("views", folder / "recipe.yaml", "-o", target, "--count", 3, "--columns", 4)
    assert code == 0
    assert f"{target}  (492 x 296 pixels" in out
    assert Image.open(target).size == (492, 296)
    settings = ("--set", "method={kind: swav}", "--set", "views.local={count: 2, size: 4}")
    assert nearfar("views", folder / "recipe.yaml", "-o", target, "--count", 3, "--columns", 3, *settings)[0] == 0
    assert Image.open(target).size == (98 * 7 + 2, 296), "four of full size, two local ones"


@pytest.mark.recipe
def test_train_shows_figures_and_what_it_passed_over(trained: tuple[Path, str, str]) -> None:
    run, out, err = trained
    assert (run / "bundle" / "card.md").is_file()
    assert "Held-out pictures" in out
    for word in ("kNN", "linear probe", "10 a class", "NMI", "view R@1", "raw pixels", "encoder, untrained", "bundle"):
        assert word in out
    assert "dense" not in out, "there is nothing but one embedding"
    assert f"run     {run}" in out.replace("\n", ""), "a path is printed as it is"
    assert f"nearfar finetune {run}" in out.replace("\n", "")
    assert "nearfar index" not in out
    assert "skipped 1: " in err
    assert "broken.jpg" in err
    assert "reading" in err
    assert "measuring: pixels" in err
    assert " std " in err, "the health is on screen"


@pytest.mark.recipe
def test_inspect(nearfar: Command, trained: tuple[Path, str, str]) -> None:
    code, out, _ = nearfar("inspect", trained[0] / "bundle")
    assert code == 0
    assert "image-encoder, format 1" in out
    assert "8 x 8, 3 channels, central square" in out
    assert "view R@1" in out
    code, out, _ = nearfar("inspect", trained[0] / "bundle", "--json")
    manifest = json.loads(out)
    assert manifest["frontend"] == {"kind": "image", "size": 8, "channels": 3, "fit": "crop"}
    assert manifest["provenance"]["data_counts"]["skipped"] == 1
    assert manifest["provenance"]["negative_policy"]["sources"] == {"simclr": {"pictures": 16, "temperature": 0.2}}


@pytest.mark.recipe
def test_export_anew(nearfar: Command, trained: tuple[Path, str, str], tmp_path: Path) -> None:
    code, out, _ = nearfar("export", trained[0], "-o", tmp_path / "b", "--dim", "8", "--quantise", "none")
    assert code == 0
    assert "8 dimensions" in out
    assert "dim is 99" in error_of(nearfar("export", trained[0], "-o", tmp_path / "c", "--dim", "99"))


@pytest.mark.recipe
def test_finetune(nearfar: Command, trained: tuple[Path, str, str], folder: Path, tmp_path: Path) -> None:
    run = trained[0]
    code, out, _ = nearfar("finetune", run, "-o", tmp_path / "tuned", "--per-class", 5, "--set", "train.epochs=30")
    assert code == 0
    assert "accuracy" in out
    assert "next" not in out
    code, out, _ = nearfar("inspect", tmp_path / "tuned" / "bundle", "--json")
    manifest = json.loads(out)
    assert manifest["classes"] == ["a", "b", "c"]
    assert manifest["provenance"]["recipe"]["data"]["labels_per_class"] == 5
    assert manifest["metrics"]["bundle"]["accuracy"]["value"] > 0.6  # three colours
    settings = ("--frozen", "--no-export", "--set", "train.epochs=1")
    assert nearfar("finetune", run, folder / "photos", "-o", tmp_path / "frozen", *settings)[0] == 0
    assert "frozen: true" in (tmp_path / "frozen" / "recipe.yaml").read_text("utf-8")
    assert not (tmp_path / "frozen" / "bundle").exists()


@pytest.mark.recipe
def test_a_bundle_for_pictures_where_one_for_texts_is_needed(
    nearfar: Command, trained: tuple[Path, str, str], folder: Path, tmp_path: Path
) -> None:
    bundle = trained[0] / "bundle"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("# One\n\ntext\n", "utf-8")
    found = error_of(nearfar("index", bundle, tmp_path / "notes", "-o", tmp_path / "index"))
    assert "holds no file to read: looked for .jpg" in found
    (tmp_path / "pairs.csv").write_text("query,positive\na,b\nc,d\n", "utf-8")
    found = error_of(nearfar("evaluate", bundle, tmp_path / "pairs.csv"))
    assert "this bundle is of kind image-encoder" in found
    assert "nearfar inspect" in found


def test_mistakes_are_one_line(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    recipe = folder / "recipe.yaml"
    (tmp_path / "text.yaml").write_text(
        "name: t\ndata: {source: {kind: folder, path: x}, pairings: [{kind: spans}]}\nencoder: {kind: static}\n",
        "utf-8",
    )
    write_picture(tmp_path / "flat" / "one.png", noise(0))
    (tmp_path / "empty").mkdir()
    (tmp_path / "words" / "a").mkdir(parents=True)
    (tmp_path / "words" / "a" / "no.png").write_text("words", "utf-8")

    def of(source: Path) -> tuple[str, str]:
        return ("--set", f"data.source.path={source}")

    run = tmp_path / "run"
    cases: dict[tuple[object, ...], str] = {
        ("views", tmp_path / "text.yaml"): "is for text: only pictures have views",
        ("views", recipe, "-o", tmp_path / "no" / "v.png"): "cannot be written",
        ("views", recipe, *of(tmp_path / "nowhere")): "does not exist",
        ("views", recipe, "--set", "views.flip=2"): "views.flip: expected a number from 0 to 1, got 2",
        ("train", recipe, "-o", run, *of(tmp_path / "empty")): "holds no pictures",
        ("train", recipe, "-o", run, *of(tmp_path / "words")): "no pictures",
        ("train", recipe, "-o", run, *of(tmp_path / "flat")): "not in a folder of a class",
        ("train", recipe, "-o", run, *of(tmp_path / "flat"), "--set", "data.source.labels=none"): "needs at least 2",
        ("train", recipe, "-o", run, "--set", "data.bad_rows=refuse"): "1 items of the images source could not be read",
        ("train", recipe, "-o", run, "--set", "encoder.start=nowhere"): "encoder.start is",
        ("train", recipe, "-o", run, "--set", "encoder={kind: vit, patch: 5}"): "is not a multiple of encoder.patch",
        ("train", recipe, "-o", run, "--set", "method.kind=mocco"): "unknown value 'mocco'",
        ("finetune", tmp_path): "is not a run",
        ("finetune", tmp_path / "nothing"): "is not a run",
    }
    for arguments, part in cases.items():
        assert part in error_of(nearfar(*arguments)), arguments
    assert not run.exists(), "nothing is in the way of the next try"


@pytest.mark.recipe
def test_a_text_run_is_not_fine_tuned(nearfar: Command, tmp_path: Path) -> None:
    from made_corpus import made_recipe, write_pairs

    from nearfar import road

    data = write_pairs(tmp_path / "pairs.jsonl", 60)
    road.train(made_recipe(data, "train.max_steps=1", "train.early_stop=null"), tmp_path / "text")
    assert "did not learn from pictures" in error_of(nearfar("finetune", tmp_path / "text"))
