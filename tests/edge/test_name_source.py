"""Sources of items named by a bundle of several modalities, and heads that one tower learned and another uses."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from made_joint import COLOURS, tone, write_colours, write_joint_bundle
from typer.testing import CliRunner

from nearfar.cli import app
from nearfar.edge.collections.classify import Classifier
from nearfar.edge.collections.name_source import name_items
from nearfar.errors import DataError

NAMES = tuple(COLOURS)
OPTIONS = [part for name in NAMES for part in ("--name", name)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_joint_bundle(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.fixture
def folder(tmp_path):
    write_colours(tmp_path / "pictures", 2)
    (tmp_path / "pictures" / "damaged.png").write_bytes(b"no picture")
    (tmp_path / "pictures" / "note.txt").write_text("a red thing", encoding="utf-8")
    return tmp_path / "pictures"


def test_pictures_of_a_folder_are_named_and_others_passed_over(bundle, folder):
    found, report = name_items(bundle, folder, NAMES, tower="image")
    assert {one.id: one.named.label for one in found} == {f"{name}-{n}.png": name for name in NAMES for n in (0, 1)}
    assert report.skipped_total == 1
    assert "damaged.png" in report.examples[0]


def test_texts_and_cells_of_a_table_are_named(bundle, folder):
    found, _ = name_items(bundle, folder, NAMES, tower="text")
    assert [(one.id, one.named.label) for one in found] == [("note.txt", "red")]
    table = folder.parent / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([("part", "photo"), *((name, f"pictures/{name}-0.png") for name in NAMES), ("none", "")])
    found, _ = name_items(bundle, table, NAMES, tower="image", columns=["photo"], id="part")
    assert [(one.id.partition("#")[0], one.named.label) for one in found] == [(name, name) for name in NAMES]


def test_a_source_without_such_items_is_refused(bundle, folder):
    with pytest.raises(DataError, match=r"nothing that tower audio \(audio\) takes"):
        name_items(bundle, folder, NAMES, tower="audio")


def test_the_command_prints_and_writes(bundle, folder, tmp_path):
    arguments = ["classify", "names", str(bundle.path), str(folder), "--tower", "image", *OPTIONS]
    shown = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out.csv")])
    assert shown.exit_code == 0, shown.output
    assert "6 items, 0 without a name" in shown.output
    with (tmp_path / "out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [row["id"].partition("-")[0] for row in rows]
    parsed = CliRunner().invoke(app, [*arguments, "--json", "--abstain", "1000"])
    assert {row["label"] for row in json.loads(parsed.stdout)} == {None}


def test_a_head_learned_from_pictures_is_of_the_space(bundle, folder, tmp_path):
    """Labels of pictures, by folder; then pictures again, and recordings."""
    labelled = tmp_path / "labelled"
    for path in folder.glob("*-*.png"):
        (labelled / path.stem.partition("-")[0]).mkdir(parents=True, exist_ok=True)
        (labelled / path.stem.partition("-")[0] / path.name).write_bytes(path.read_bytes())
    target = tmp_path / "with-head"
    fitted = CliRunner().invoke(
        app, ["classify", "fit", str(bundle.path), str(labelled), "-o", str(target), "--tower", "image"]
    )
    assert fitted.exit_code == 0, fitted.output
    ran = CliRunner().invoke(
        app, ["classify", "run", str(target), str(labelled), "--tower", "image", "--abstain", "0", "--json"]
    )
    assert ran.exit_code == 0, ran.output
    assert all(row["label"] == row["id"].partition("/")[0] for row in json.loads(ran.stdout))
    heard = Classifier.open(target, tower="audio", abstain=0.0).classify([tone(name) for name in NAMES])
    assert [one.label for one in heard] == list(NAMES)
    without = CliRunner().invoke(app, ["classify", "run", str(target), str(labelled)])
    assert without.exit_code != 0
    assert "image (image)" in without.output or "image (image)" in str(without.exception)


def test_scores_are_the_same_for_one_and_for_many(bundle, folder):
    found, _ = name_items(bundle, folder, NAMES, tower="image")
    alone, _ = name_items(bundle, folder / "red-0.png", NAMES, tower="image")
    same = next(one for one in found if one.id == "red-0.png")
    np.testing.assert_allclose(alone[0].named.score, same.named.score, atol=1e-5)
