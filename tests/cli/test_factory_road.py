"""The factory from one end to the other, by the command line: other machines' logs are found by photo and by vibration."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nearfar.cli import app

RECIPE = Path(__file__).parents[2] / "recipes" / "factory.yaml"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    run("simulate", "factory", "-o", folder / "factory", "--records", 240)
    changes = {
        "data.source.files.0.path": folder / "factory" / "inspections.csv",
        "train.epochs": 14,
        "train.threads": 1,
        "evaluate.bootstrap": 0,
    }
    overrides = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    run("train", RECIPE, "-o", folder / "run", *overrides)
    return folder / "run" / "bundle"


@pytest.fixture(scope="module")
def other(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another factory, of which nothing was learned, and an index of what was written and photographed there."""
    folder = tmp_path_factory.mktemp("searched")
    run("simulate", "factory", "-o", folder / "other", "--records", 160, "--seed", 1)
    table = folder / "other" / "inspections.csv"
    told = run("index", bundle, table, "-o", folder / "index", "--item", "log=log", "--item", "photo=photo")
    assert "skipped" in told  # inspections without a photo or an entry
    return folder


def inspections(folder: Path) -> list[dict[str, str]]:
    with (folder / "other" / "inspections.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def precision(folder: Path, option: str, column: str, tell: Any) -> float:
    """Share of the first five entries that say of the part, or the case, what is there; own inspections are not counted."""
    rows = inspections(folder)
    right = found = 0
    for row in rows[::8]:
        if not row[column]:
            continue
        query = folder / "other" / row[column]
        hits = json.loads(run("search", folder / "index", option, query, "--among", "log", "-k", 8, "--json"))
        others = [one for hit in hits if (one := rows[int(hit["metadata"]["row"].rpartition("#")[2]) - 2]) is not row]
        right += sum(tell(one) == tell(row) for one in others[:5])
        found += len(others[:5])
    return right / found


@pytest.mark.recipe
def test_a_vibration_finds_what_was_written_of_such_machines(other: Path) -> None:
    # Nine cases, so that chance is about 0.11.
    assert precision(other, "--series", "vibration", lambda row: row["label"]) >= 0.6


@pytest.mark.recipe
def test_a_photo_finds_what_was_written_of_such_parts(other: Path) -> None:
    assert precision(other, "--image", "photo", lambda row: row["label"].partition(",")[0]) >= 0.6
    assert precision(other, "--image", "photo", lambda row: row["label"]) >= 0.25


@pytest.mark.recipe
def test_words_find_photos_and_the_page_shows_them(other: Path) -> None:
    rows = inspections(other)
    page = other / "found.html"
    hits = json.loads(
        run("search", other / "index", "ball bearing", "--among", "photo", "-k", 5, "--json", "--page", page)
    )
    parts = [rows[int(hit["metadata"]["row"].rpartition("#")[2]) - 2]["label"].partition(",")[0] for hit in hits]
    assert parts.count("bearing") >= 4
    assert page.read_text(encoding="utf-8").count("data:image/") >= 5
