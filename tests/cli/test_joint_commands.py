"""`nearfar index`, `add` and `search` with a bundle of several modalities, as a user types them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_joint import COLOURS, RATE, picture, row, samples, tone, write_colours, write_joint_bundle
from tiny_bundle import write_tiny_bundle
from tiny_image_bundle import write_tiny_image_bundle

from nearfar.simulate import write_wav
from nearfar.simulate.voices import Utterance

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, a folder of all kinds of files with a damaged picture among them, and a table of parts."""
    folder = tmp_path_factory.mktemp("mine")
    write_joint_bundle(folder / "b")
    files = folder / "files"
    write_colours(files / "[pictures]", 1)
    (files / "[pictures]" / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (files / "note.md").write_text("# Hot\n\nA red thing <b>.\n", "utf-8")
    for colour in COLOURS:
        write_wav([Utterance(colour, "one", colour, tone(colour))], files / "sounds", RATE)
        (files / f"{colour}.csv").write_text(samples(colour))
    lines = [
        ["part", "photo", "log", *COLOURS, "year"],
        ["p1", "files/[pictures]/red-0.png", "the red one is hot", 1, 0, 0, 2020],
        ["p2", "files/none.png", "the blue one", 0, 0, 1, 2021],
        ["p3", "files/[pictures]/broken.jpg", "", 0, 1, 0, 2022],
        ["p1", "", "again", 0, 1, 0, 2023],
    ]
    with (folder / "parts.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return folder


@pytest.fixture
def index(folder: Path, nearfar: Command, tmp_path: Path) -> Path:
    if not (folder / "i").exists():
        code, _, err = nearfar("index", folder / "b", folder / "files", "-o", folder / "i")
        assert code == 0, err
    return shutil.copytree(folder / "i", tmp_path / "i")


def found(out: str) -> list[str]:
    return [hit["id"] for hit in json.loads(out)]


def test_a_folder(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    index = tmp_path / "i"
    code, out, err = nearfar("index", folder / "b", folder / "files", "-o", index)
    assert code == 0
    assert "10 documents (10 added, 0 updated, 0 unchanged, 0 removed, 1 skipped)" in out
    assert "broken.jpg: no picture of a kind that is read" in err
    assert (
        "(0 added, 0 updated, 10 unchanged, 0 removed, 1 skipped)"
        in nearfar("index", folder / "b", folder / "files", "-o", index)[1]
    )
    code, out, _ = nearfar("search", index, "red", "-k", 4)
    assert code == 0
    assert all(badge in out for badge in ("text  Hot", "image  red-0.png", "series  red.csv", "audio  red-1.wav"))


def test_queries_of_every_kind(nearfar: Command, index: Path, tmp_path: Path) -> None:
    picture(COLOURS["blue"], 5).save(tmp_path / "q.png")
    (tmp_path / "q.csv").write_text(samples("blue"))
    (wav,) = write_wav([Utterance("q", "one", "1", tone("blue"))], tmp_path / "s", RATE)
    for query in (
        ("--image", tmp_path / "q.png"),
        ("--audio", wav),
        ("--series", tmp_path / "q.csv"),
        ("--row", json.dumps(row("blue"))),
        ("--row", json.dumps(row("blue")), "--tower", "table"),
    ):
        code, out, _ = nearfar("search", index, *query, "--among", "image, series", "-k", 2, "--json")
        assert code == 0
        assert set(found(out)) == {"[pictures]/blue-0.png", "blue.csv"}
        assert {hit["modality"] for hit in json.loads(out)} == {"image", "series"}
        assert "thumbnail" not in json.loads(out)[0]


def test_a_page(nearfar: Command, index: Path, tmp_path: Path) -> None:
    picture(COLOURS["red"], 5).save(tmp_path / "q.png")
    code, _, err = nearfar("search", index, "--image", tmp_path / "q.png", "-k", 4, "--page", tmp_path / "hits.html")
    assert code == 0
    assert f"page: {tmp_path / 'hits.html'}" in err
    text = (tmp_path / "hits.html").read_text("utf-8")
    assert text.count("data:image/") == 2  # what was looked for, and what was found
    assert "red.csv" in text
    assert "<b>." not in text
    code, _, err = nearfar("search", index, "red", "--page", tmp_path / "hits.pdf")
    assert (code, "ends in .html" in err) == (2, True)
    code, _, err = nearfar("search", index, "red", "--page", tmp_path / "no" / "hits.html")
    assert (code, "cannot be written there" in err) == (2, True)


def test_a_table(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    items = ("--item", "image=photo", "--item", "text=log", "--item", "table=red,green,blue")
    arguments = (
        "index",
        folder / "b",
        folder / "parts.csv",
        "-o",
        tmp_path / "i",
        *items,
        "--id",
        "part",
        "--metadata",
        "year",
    )
    code, out, err = nearfar(*arguments)
    assert code == 0
    assert "6 documents (6 added" in out
    assert "skipped 1: image: no such file" in err
    assert "skipped 1: text: nothing there" in err
    assert "skipped 1: an id that an earlier row has" in err
    assert "broken.jpg: no picture" in err
    assert "6 unchanged" in nearfar(*arguments)[1]
    code, out, _ = nearfar("search", tmp_path / "i", "red", "--json", "-k", 3, "--where", "year = 2020")
    assert set(found(out)) == {"p1#image", "p1#text", "p1#table"}
    assert {hit["metadata"]["row"] for hit in json.loads(out)} == {"p1"}
    image = next(hit for hit in json.loads(out) if hit["modality"] == "image")
    assert image["location"].endswith("files/[pictures]/red-0.png")
    code, out, _ = nearfar("doctor", tmp_path / "i")
    assert (code, "sound" in out) == (0, True)


def test_adding_and_removing(nearfar: Command, index: Path, folder: Path, tmp_path: Path) -> None:
    picture(COLOURS["green"], 9).save(tmp_path / "new.png")
    assert "1 added" in nearfar("add", index, tmp_path / "new.png")[1]
    assert "new.png" in found(nearfar("search", index, "green", "--among", "image", "-k", 2, "--json")[1])
    assert "2 added" in nearfar("add", index, folder / "parts.csv", "--item", "text=log", "--id", "part")[1]
    assert "1 removed" in nearfar("remove", index, "new.png")[1]
    assert "3 removed" in nearfar("remove", index, "--where", "modality = 'image'")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--image", "none.png"), "none.png does not exist: give --image the file to look for"),
        (("--image", "."), "is a folder"),
        (("red", "--row", "{}"), "has a text and --row: give one of them"),
        (("--row", "{size: 3}"), "--row is not JSON"),
        (("--row", "[3]"), "--row is no JSON object but list"),
        (("red", "--tower", "image"), "tower 'image' is of image, not of text"),
        (("red", "--tower", "video"), "there is no tower 'video'; it has text (text)"),
        (("red", "--among", "video"), "there is no tower 'video'"),
        (("--row", "{}", "--mode", "keyword"), "the query is no text"),
    ],
)
def test_mistakes_of_searching_are_one_line(
    nearfar: Command, index: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = nearfar("search", index, *arguments)
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say which column of this table is for which tower: --item text=COLUMN"),
        (("--item", "image"), "--item image: is not TOWER=COLUMN"),
        (("--item", "video=photo"), "there is no tower 'video'"),
        (("--item", "image=foto"), 'there is no column "foto"'),
    ],
)
def test_mistakes_of_indexing_are_one_line(
    nearfar: Command, folder: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = nearfar("index", folder / "b", folder / "parts.csv", "-o", tmp_path / "i", *arguments)
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert said in line


def test_measuring_on_a_table_of_partners(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    lines = [["photo", "log", "kind"]]
    for number in range(4):
        for colour in COLOURS:
            picture(COLOURS[colour], number).save(tmp_path / f"{colour}-{number}.png")
            lines.append([f"{colour}-{number}.png", f"a {colour} thing {number}", colour])
    lines += [["none.png", "a red thing", "red"], ["red-0.png", "", "red"]]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    arguments = ("evaluate", folder / "b", tmp_path / "t.csv", "--item", "image=photo", "--item", "text=log")
    code, out, err = nearfar(*arguments, "--label", "kind", "--json", tmp_path / "f.json")
    assert code == 0
    assert "skipped 1: no such file" in err
    assert "12 rows; 2 with fewer than two sides left out; different items: 12 of text, 12 of image" in out
    assert "text → image" in out
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["bundle"]["image_to_text_precision_at_10"]["value"] == 1.0  # colours are all that its towers see
    assert figures["bundle"]["text_to_image_recall_at_1"]["value"] == 1.0
    assert figures["chance"]["text_to_image_precision_at_10"]["value"] < 1.0
    code, out, _ = nearfar(*arguments)
    assert (code, "one among the first ten" in " ".join(out.split())) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say which column is for which, of --item text=COLUMN"),
        (("--item", "image=photo"), "partners are of two towers or more"),
        (("--item", "image=photo", "--item", "video=log"), "there is no tower 'video'"),
        (("--item", "image=foto", "--item", "text=log"), 'there is no column "foto"; did you mean "photo"?'),
        (("--item", "image=log", "--item", "text=log"), "nothing in it can look for a partner"),
        (("--item", "image=photo", "--item", "text=log", "--query", "log"), "--query: not of use"),
    ],
)
def test_mistakes_of_measuring_are_one_line(
    nearfar: Command, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = nearfar("evaluate", folder / "b", folder / "parts.csv", *arguments)
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert said in line


def test_duplicates_among_several_modalities(nearfar: Command, index: Path, folder: Path) -> None:
    code, _, err = nearfar("dedupe", index)
    assert (code, "give one (--threshold 0.98)" in err) == (2, True)
    code, out, _ = nearfar("dedupe", index, "--threshold", "0.9999")
    assert (code, "could go" in out) == (0, True)
    code, out, _ = nearfar("dedupe", folder / "b", folder / "files", "--tower", "image")
    assert (code, "3 items" in out) == (0, True)


def test_a_file_of_other_sensors_is_named(nearfar: Command, index: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("time,heat\n0,1\n1,2\n")
    code, _, err = nearfar("search", index, "--series", tmp_path / "other.csv")
    assert code == 2
    assert "other.csv: no value of a known channel (it has heat; known are red, green, blue)" in err


def test_rows_like_one_of_a_tower_of_rows(nearfar: Command, folder: Path) -> None:
    code, out, _ = nearfar(
        "similar", folder / "b", folder / "parts.csv", "--row", "3", "--tower", "table", "--id", "part"
    )
    assert code == 2  # ids of rows are those of the column
    code, out, _ = nearfar(
        "similar", folder / "b", folder / "parts.csv", "--row", "p2", "--tower", "table", "--id", "part"
    )
    assert (code, "p3" in out) == (0, True)
    code, _, err = nearfar("similar", folder / "b", folder / "parts.csv", "--row", "p2", "--tower", "image")
    assert (code, "this tower is of image, and has no rows to compare" in err) == (2, True)


def test_an_index_of_texts_takes_no_pictures(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "b")
    assert nearfar("index", tmp_path / "b", folder / "files" / "note.md", "-o", tmp_path / "i")[0] == 0
    code, out, _ = nearfar("search", tmp_path / "i", "red", "--json")
    assert (code, "modality" in json.loads(out)[0]) == (0, False)
    code, _, err = nearfar("search", tmp_path / "i", "--image", folder / "files" / "[pictures]" / "red-0.png")
    assert (code, "no tower takes items of kind image" in err) == (2, True)
    code, _, err = nearfar("index", tmp_path / "b", folder / "parts.csv", "-o", tmp_path / "i", "--item", "image=photo")
    assert (code, "of texts alone" in err) == (2, True)


def test_a_bundle_of_pictures_alone(nearfar: Command, folder: Path, tmp_path: Path) -> None:
    write_tiny_image_bundle(tmp_path / "b")
    code, out, _ = nearfar("index", tmp_path / "b", folder / "files", "-o", tmp_path / "i")
    assert (code, "3 documents (3 added" in out) == (0, True)
    query = folder / "files" / "[pictures]" / "green-0.png"
    assert found(nearfar("search", tmp_path / "i", "--image", query, "--json", "-k", 1)[1]) == [
        "[pictures]/green-0.png"
    ]
    code, _, err = nearfar("search", tmp_path / "i", "green")
    assert (code, "no tower takes items of kind text" in err) == (2, True)
