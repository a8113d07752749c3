"""The commands over rows of tables as a user types them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_people import MLP, RECIPE, made_people, write_people

from nearfar.cli import main

pytestmark = pytest.mark.recipe

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table and a recipe beside it; the name would be markup for rich."""
    folder = tmp_path_factory.mktemp("mine") / "[red]people [x]"
    folder.mkdir()
    write_people(folder / "people.csv")
    (folder / "recipe.yaml").write_text(RECIPE.format(path="people.csv", encoder=MLP), "utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[Path, str]:
    """A bundle, and what training it printed."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["nearfar", "train", str(folder / "recipe.yaml"), "-o", str(folder / "run")])
        with contextlib.suppress(SystemExit):
            main()
    assert "Traceback" not in err.getvalue()
    return folder / "run" / "bundle", out.getvalue()


def test_training_shows_columns_and_figures(trained):
    _, printed = trained
    assert "column town" in printed
    assert "columns as they are" in printed
    assert "Held-out rows" in printed
    assert "nearfar similar" in printed


def test_columns_are_shown_before_anything_is_trained(nearfar: Command, folder: Path):
    code, out, _ = nearfar("columns", folder / "recipe.yaml", "--json")
    assert code == 0
    found = {one["name"]: one["type"] for one in json.loads(out)}
    assert found["age"] == "number"
    assert found["note"] == found["kind"] == "ignored"
    code, out, _ = nearfar("columns", folder / "people.csv")
    assert code == 0
    assert "240 rows, 6 columns to learn from" in out


def test_similar_rows_to_one_of_the_table(nearfar: Command, folder: Path, trained):
    args = (trained[0], folder / "people.csv", "--id", "number", "--label", "kind", "-k", "3")
    code, out, _ = nearfar("similar", *args, "--row", "p0007", "--json")
    assert code == 0
    found = json.loads(out)
    assert len(found) == 3
    assert "p0007" not in {one["id"] for one in found}
    assert found[0]["cosine"] >= found[2]["cosine"]
    assert set(found[0]["cells"]) == {"age", "income", "town", "member", "since"}
    code, out, _ = nearfar("similar", *args, "--row", "p0007")
    assert code == 0
    assert "how it differs" in out


def test_similar_rows_to_one_that_is_given(nearfar: Command, folder: Path, trained):
    person = made_people(2)[1]
    like = json.dumps({name: person[name] for name in ("age", "income", "town", "member", "since")})
    code, out, _ = nearfar("similar", trained[0], folder / "people.csv", "--like", like, "-k", "1", "--json")
    assert code == 0
    (found,) = json.loads(out)
    assert found["id"] == "people.csv#3"
    assert found["cosine"] > 0.999


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "say what to look for the like of"),
        (("--row", "9999"), "there is no row '9999' among 240"),
        (("--like", '{"age": "abc"}'), "column \"age\" is of numbers, and 'abc' is none"),
        (("--like", '{"since": "May"}'), "column \"since\" is of dates, and 'May' is none"),
        (("--like", "{"), "--like is not valid JSON"),
        (("--like", "[1]"), "--like must be a JSON object"),
        (("--like", '{"x": 1}'), "row 0 has none of the columns"),
        (("--row", "1", "--id", "nr"), 'there is no column "nr"'),
    ],
)
def test_what_cannot_be_looked_for_is_one_line(nearfar: Command, folder: Path, trained, arguments, complaint):
    code, _, err = nearfar("similar", trained[0], folder / "people.csv", *arguments)
    assert code == 2
    assert complaint in err
    assert "embedding" not in err


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        (("search", "BUNDLE", "Ulm"), "nearfar similar"),
        (("replay", "BUNDLE", "TABLE", "-o", "x.html"), "frontend.kind series"),
        (("calibrate", "BUNDLE", "TABLE", "-o", "x"), "frontend.kind series"),
        (("evaluate", "BUNDLE", "TABLE"), "nearfar inspect"),
        (("monitor", "BUNDLE", "--from", "TABLE"), "frontend.kind series"),
        (("inspect", "RUN"), "run/bundle"),
        (("monitor", "RUN", "--from", "TABLE"), "run/bundle"),
    ],
)
def test_a_bundle_in_the_wrong_place_is_told_where_it_belongs(
    nearfar: Command, folder: Path, trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments, mend
):
    monkeypatch.chdir(tmp_path)
    places = {"BUNDLE": trained[0], "RUN": trained[0].parent, "TABLE": folder / "people.csv"}
    code, _, err = nearfar(*(places.get(argument, argument) for argument in arguments))
    assert code != 0
    assert mend in " ".join(err.split())


def test_duplicates_are_copies_and_rows_with_one_other_cell(nearfar: Command, folder: Path, trained, tmp_path: Path):
    rows = made_people(60, seed=4)
    exact, near = dict(rows[5]), {**rows[8], "income": "51234.00"}
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([*rows, {**exact, "number": "copy"}, {**near, "number": "like"}])
    code, out, _ = nearfar("dedupe", trained[0], tmp_path / "t.csv", "--id", "number", "--json", "--edits", "0.2")
    assert code == 0
    found = json.loads(out)
    pairs = {(g["kept"]["id"], one["id"], one["exact"]) for g in found["groups"] for one in g["duplicates"]}
    assert ("p0005", "copy", True) in pairs
    assert ("p0008", "like", False) in pairs
    assert found["duplicates"] < 6
    code, out, _ = nearfar("dedupe", trained[0], tmp_path / "t.csv", "--edits", "0.2")
    assert "of the cells in common" in out


def test_clusters_are_named_by_cells(nearfar: Command, folder: Path, trained):
    code, out, _ = nearfar("cluster", trained[0], folder / "people.csv", "-k", "2", "--json")
    assert code == 0
    found = json.loads(out)["clusters"]
    assert sum(one["size"] for one in found) == 240
    assert all(one["terms"] for one in found)


def test_labels_are_learned_from_a_few_rows(nearfar: Command, folder: Path, trained, tmp_path: Path):
    write_people(tmp_path / "few.csv", 40, seed=3)
    code, _, err = nearfar(
        "classify", "fit", trained[0], tmp_path / "few.csv", "--label", "kind", "-o", tmp_path / "new"
    )
    assert code == 0, err
    code, out, _ = nearfar(
        "classify", "run", tmp_path / "new", folder / "people.csv", "--label", "kind", "--abstain", "0", "--json"
    )
    assert code == 0
    named = {row["id"]: row["label"] for row in json.loads(out)}
    true = {f"people.csv#{n + 2}": row["kind"] for n, row in enumerate(made_people(240))}
    assert sum(named[name] == kind for name, kind in true.items()) > 0.75 * len(true)
