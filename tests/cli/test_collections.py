"""`nearfar dedupe`, `cluster` and `classify` as a user types them."""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nearfar.edge import SearchIndex
from nearfar.sources import open_documents

sys.path.insert(0, str(Path(__file__).parents[1] / "edge"))
from made_documents import WORDS
from tiny_bundle import write_tiny_bundle
from tiny_image_bundle import write_tiny_image_bundle

Command = Callable[..., tuple[int, str, str]]
TOPICS = {name: WORDS[30 * n : 30 * n + 30] for n, name in enumerate(("bread", "taps", "trains"))}


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    rng = random.Random(seed)
    return [
        {
            "key": f"{name}-{n}",
            "text": " ".join(rng.choices(TOPICS[name], k=18) + rng.choices(WORDS, k=4)),
            "label": name,
        }
        for n in range(count)
        for name in TOPICS
    ]


def write_table(path: Path, table: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in table), "utf-8")
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "tiny"
    write_tiny_bundle(path, dim=64, texts=[row["text"] for row in rows(60)])
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 texts; one is there twice, and one again with a word changed."""
    made = rows(20)
    made.append({**made[3], "key": "copy"})
    words = made[7]["text"].split()
    made.append({**made[7], "key": "altered", "text": " ".join([*words[:9], WORDS[-1], *words[10:]])})
    return write_table(tmp_path_factory.mktemp("table") / "texts.jsonl", made)


def test_dedupe_finds_the_copy_and_the_altered_one(nearfar: Command, bundle: Path, table: Path, tmp_path: Path) -> None:
    code, out, _ = nearfar("dedupe", bundle, table, "--id", "key", "-o", tmp_path / "groups.csv")
    assert code == 0
    assert "62 items: 2 could go (1 exact copies, 1 nearly the same), 60 stay" in out
    assert "nearly the same: a cosine of at least 0." in out
    with (tmp_path / "groups.csv").open(encoding="utf-8") as file:
        found = [(row["group"], row["id"], row["kept"], row["exact"]) for row in csv.DictReader(file)]
    # made[3] and made[7]: rows come topic by topic.
    assert found == [
        ("1", "bread-1", "true", "true"),
        ("1", "copy", "false", "true"),
        ("2", "taps-2", "true", "true"),
        ("2", "altered", "false", "false"),
    ]


def test_dedupe_as_json_by_a_given_threshold_and_keeping_the_longest(
    nearfar: Command, bundle: Path, table: Path
) -> None:
    code, out, _ = nearfar(
        "dedupe", bundle, table, "--id", "key", "--threshold", 0.99999, "--keep", "longest", "--json"
    )
    found = json.loads(out)
    assert (code, found["items"], found["duplicates"]) == (0, 62, 1)
    assert found["groups"][0]["kept"]["id"] == "bread-1"
    assert found["groups"][0]["duplicates"][0]["exact"] is True
    assert found["threshold"]["overlap"] == 0


def test_an_index_gives_what_its_source_gives(nearfar: Command, bundle: Path, table: Path, tmp_path: Path) -> None:
    source = open_documents(table, id="key", whole=True)
    with SearchIndex.build(bundle, source.documents(), tmp_path / "index"):
        pass
    _, out, _ = nearfar("dedupe", tmp_path / "index", "--json")
    found = json.loads(out)
    pairs = {(group["kept"]["id"], one["id"]) for group in found["groups"] for one in group["duplicates"]}
    assert pairs == {("bread-1", "copy"), ("taps-2", "altered")}
    _, out, _ = nearfar("cluster", tmp_path / "index", "-k", 3, "--json")
    assert sorted(one["size"] for one in json.loads(out)["clusters"]) == [20, 21, 21]
    code, _, err = nearfar("dedupe", tmp_path / "index", table)
    assert (code, "is an index, which has its own items" in err) == (2, True)
    # A bundle that was made from the encoder of the index classifies its documents.
    assert nearfar("classify", "fit", bundle, table, "-o", tmp_path / "headed")[0] == 0
    _, out, _ = nearfar("classify", "run", tmp_path / "headed", tmp_path / "index", "--abstain", 0, "--json")
    labelled = json.loads(out)
    assert len(labelled) == 62
    assert np.mean([row["id"].startswith(row["label"]) for row in labelled[:60]]) > 0.95
    other = write_tiny_bundle(tmp_path / "other", dim=64, seed=1)
    assert nearfar("classify", "fit", other.path, table, "-o", tmp_path / "other-headed")[0] == 0
    code, _, err = nearfar("classify", "run", tmp_path / "other-headed", tmp_path / "index")
    assert (code, "was made by another bundle" in err) == (2, True)


def test_cluster_names_the_topics(nearfar: Command, bundle: Path, table: Path, tmp_path: Path) -> None:
    code, out, _ = nearfar("cluster", bundle, table, "--id", "key", "-o", tmp_path / "clusters.jsonl")
    assert code == 0
    assert "62 items in 3 clusters" in out
    assert "held-out silhouette by number of clusters: 2: 0." in out
    written = [json.loads(line) for line in (tmp_path / "clusters.jsonl").read_text("utf-8").splitlines()]
    assert len(written) == 62
    for name, words in TOPICS.items():
        own = [row for row in written if row["id"].startswith(name)]
        assert len({row["cluster"] for row in own}) == 1
        assert set(own[0]["terms"].split()) <= set(words)
    assert sum(row["medoid"] for row in written) == 3
    _, out, _ = nearfar("cluster", bundle, table, "--id", "key", "--json", "-k", 2, "--terms", 3)
    found = json.loads(out)
    assert [len(one["terms"]) for one in found["clusters"]] == [3, 3]
    assert sum(len(one["items"]) for one in found["clusters"]) == found["items"] == 62


def test_classify_learns_and_labels(nearfar: Command, bundle: Path, tmp_path: Path) -> None:
    labelled = write_table(tmp_path / "few.jsonl", [*rows(8), {"key": "x", "text": "no label", "label": ""}])
    code, out, err = nearfar("classify", "fit", bundle, labelled, "-o", tmp_path / "headed")
    assert code == 0
    assert "3 labels from 24 examples" in out
    assert "skipped 1: no label" in err
    fresh = write_table(tmp_path / "fresh.jsonl", rows(10, seed=1))
    code, out, _ = nearfar(
        "classify", "run", tmp_path / "headed", fresh, "--id", "key", "--label", "label", "-o", tmp_path / "labels.csv"
    )
    assert code == 0
    assert "of 30 items with a true label:" in out
    with (tmp_path / "labels.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    answered = [row for row in found if row["label"]]
    assert len(found) == 30
    assert len(answered) > 20
    assert np.mean([row["id"].startswith(row["label"]) for row in answered]) > 0.9
    _, out, _ = nearfar("classify", "fit", bundle, labelled, "-o", tmp_path / "json", "--head", "prototypes", "--json")
    assert json.loads(out)["kind"] == "prototypes"


def test_a_folder_for_each_label(nearfar: Command, bundle: Path, tmp_path: Path) -> None:
    for row in rows(4):
        (tmp_path / "texts" / row["label"]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / row["label"] / f"{row['key']}.txt").write_text(row["text"])
    code, out, _ = nearfar("classify", "fit", bundle, tmp_path / "texts", "-o", tmp_path / "headed")
    assert (code, "3 labels from 12 examples" in out) == (0, True)


def test_pictures(nearfar: Command, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    for channel, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
            pixels[..., channel] = rng.integers(180, 255, (16, 16))
            image.fromarray(pixels).save(folder / name / f"{number}.png")
    (folder / "red" / "copy.png").write_bytes((folder / "red" / "0.png").read_bytes())
    (folder / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    bundle = write_tiny_image_bundle(tmp_path / "plain", dim=32).path

    code, out, err = nearfar("dedupe", bundle, folder, "--json", "--threshold", 0.99999)
    assert code == 0
    assert [group["kept"]["id"] for group in json.loads(out)["groups"]] == ["red/0.png"]
    assert "not a picture that can be read" in err
    code, out, _ = nearfar("dedupe", bundle, folder)
    assert (code, "a cosine of at least 0." in out) == (0, True)
    _, out, _ = nearfar("cluster", bundle, folder, "-k", 3, "--json")
    for one in json.loads(out)["clusters"]:
        assert len({id.partition("/")[0] for id in one["items"]}) == 1
        assert one["terms"] == []
    assert nearfar("classify", "fit", bundle, folder, "-o", tmp_path / "headed")[0] == 0
    code, out, _ = nearfar("classify", "run", tmp_path / "headed", folder, "--abstain", 0, "--label", "folder")
    assert "of 25 items with a true label: 100.0% answered, 100.0% of the answers right" in out
    # A classifier that is part of the graph is used the same way.
    fine = write_tiny_image_bundle(tmp_path / "fine", classes=("red", "green", "blue")).path
    code, out, err = nearfar("classify", "run", fine, folder, "--json")
    found = json.loads(out)
    assert len(found) == 25
    assert all(row["id"].startswith(row["label"]) for row in found)
    assert "not a picture that can be read" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dedupe", "{bundle}"), "is a bundle: name after it what to look at"),
        (("dedupe", "{bundle}", "nowhere"), "nowhere does not exist"),
        (("dedupe", "{bundle}", "{table}", "--threshold", "2"), "threshold is 2.0"),
        (("dedupe", "{bundle}", "{table}", "--edits", "0"), "edits is 0.0"),
        (("dedupe", "{bundle}", "{table}", "--keep", "best"), "there is no way to keep 'best'"),
        (("dedupe", "{bundle}", "{table}", "-o", "x.txt"), "written as .csv or .jsonl"),
        (("cluster", "{bundle}", "{table}", "-k", "99"), "62 items cannot be put into 99 clusters"),
        (("classify", "fit", "{bundle}", "{table}", "-o", "x", "--head", "tree"), "there is no head 'tree'"),
        (("classify", "fit", "{bundle}", "{table}", "-o", "x", "--label", "kind"), 'no column "kind"'),
        (
            ("classify", "fit", "{bundle}", "{table}", "-o", "x", "--label", "key", "--head", "logistic"),
            "single example",
        ),
        (("classify", "run", "{bundle}", "{table}"), "has no classifier"),
    ],
)
def test_mistakes_are_explained(
    nearfar: Command,
    bundle: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [one.format(bundle=bundle, table=table) for one in arguments]
    code, _, err = nearfar(*given)
    assert code == 2
    assert message in err
