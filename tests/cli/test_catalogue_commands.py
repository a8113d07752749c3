"""Updates of a catalogue as publisher and user type them: from a trained run to a device that recommends something new."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from nearfar.cli import main

pytestmark = pytest.mark.recipe

Command = Callable[..., tuple[int, str, str]]

RECIPE = """
name: shop
seed: 0
data:
  source:
    kind: events
    path: {shop}/events.csv
    columns: {{user: user, item: item, timestamp: timestamp, action: action, dwell: dwell}}
    weights: {{actions: {{view: 1.0, buy: 3.0, shown: 0.0, dislike: -1.0}}}}
    items:
      path: {shop}/items.csv
      columns: {{item: item, title: title, categories: [category, colour], numbers: [price]}}
  split: {{by: last_actions}}
frontend: {{kind: events, length: 20}}
encoder: {{kind: decayed_average, dim: 16}}
method: {{kind: next_action}}
train: {{epochs: 1, batch_size: 64, learning_rate: 0.001}}
recommend: {{signed_by: "{signed_by}"}}
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made shop, a publisher's key, and the run of a recommender that names its publisher."""
    folder = tmp_path_factory.mktemp("publisher")
    _typed("simulate", "shop", "-o", folder / "shop", "--users", 60, "--items", 40)
    _typed("catalogue", "key", "-o", folder / "publisher.key")
    from nearfar.edge.recommend.signing import Publisher

    public_key = Publisher.open(folder / "publisher.key").public_key
    (folder / "recipe.yaml").write_text(RECIPE.format(shop=folder / "shop", signed_by=public_key), "utf-8")
    _typed("train", folder / "recipe.yaml", "-o", folder / "run")
    return folder


@pytest.fixture
def publisher(published: Path, tmp_path: Path) -> Path:
    """The same, for one test alone."""
    shutil.copytree(published, tmp_path / "publisher")
    return tmp_path / "publisher"


def _typed(*arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(sys, "argv", ["nearfar", *map(str, arguments)])
        main()


def table(
    publisher: Path, *, new: Mapping[str, Mapping[str, str]] | None = None, without: tuple[str, ...] = (), **titles: str
) -> Path:
    """The table of items of the shop with other rows."""
    with (publisher / "shop" / "items.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["item"] not in without]
    like = dict(rows[0])
    rows += [{**like, "item": name, **cells} for name, cells in (new or {}).items()]
    for row in rows:
        row["title"] = titles.get(row["item"].replace("-", "_"), row["title"])
    path = publisher / "items-now.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, like)
        writer.writeheader()
        writer.writerows(rows)
    return path


def names(publisher: Path) -> list[str]:
    with (publisher / "shop" / "items.csv").open(newline="", encoding="utf-8") as file:
        return [row["item"] for row in csv.DictReader(file)]


def test_a_key_is_made_once_and_shown_again(nearfar: Command, tmp_path: Path):
    code, first, told = nearfar("catalogue", "key", "-o", tmp_path / "publisher.key")
    assert code == 0
    assert first.startswith('recommend: {signed_by: "')
    assert "made; only you may read it" in told.replace("\n", " ")
    code, second, told = nearfar("catalogue", "key", "-o", tmp_path / "publisher.key")
    assert (code, second) == (0, first)
    assert "was there" in told
    code, out, _ = nearfar("catalogue", "key", "-o", tmp_path / "publisher.key", "--json")
    assert json.loads(out)["public_key"] in first
    assert not json.loads(out)["made"]


def test_a_new_item_reaches_a_device(nearfar: Command, publisher: Path, tmp_path: Path):
    seen, gone = names(publisher)[0], names(publisher)[5]
    device = tmp_path / "me"
    code, _, said = nearfar(
        *("record", device, seen, "--action", "view", "--dwell", 40),
        *("--bundle", publisher / "run" / "bundle", "--key", f"file:{tmp_path / 'me.key'}"),
    )
    assert code == 0, said
    items = table(publisher, new={"item-new": {"title": "brand new lamp"}}, without=(gone,))
    make = ("catalogue", "make", publisher / "run", items, "--key", publisher / "publisher.key", "--only-these")
    code, out, said = nearfar(*make, "-o", tmp_path / "update-1.nfd")
    assert code == 0, said
    assert "update 1: 1 added, 0 changed, 1 removed; 40 items then" in out
    code, out, said = nearfar("catalogue", "apply", device, tmp_path / "update-1.nfd", tmp_path / "update-1.nfd")
    assert code == 0, said
    assert "update 1 taken: 40 items before, 40 now" in out
    assert "was taken before" in out
    code, out, said = nearfar("recommend", device, "-k", 40, "--json")
    assert code == 0, said
    assert "item-new" in out
    assert "brand new lamp" in out
    assert f'"{gone}"' not in out


def test_updates_follow_each_other_and_say_what_changed(nearfar: Command, publisher: Path, tmp_path: Path):
    first, *_, last = names(publisher)
    make = ("catalogue", "make", publisher / "run", "--key", publisher / "publisher.key", "--json")
    items = table(publisher, **{first.replace("-", "_"): "another title"})
    code, out, said = nearfar(*make, items, "-o", tmp_path / "1.nfd")
    assert code == 0, said
    told = json.loads(out)
    assert (told["sequence"], told["added"], told["changed"], told["removed"]) == (1, 0, 1, 0)
    code, _, said = nearfar(*make, items, "-o", tmp_path / "2.nfd")
    assert code == 2
    assert "nothing differs from the catalogue that devices have" in said
    kept = table(publisher, without=(last,), **{first.replace("-", "_"): "another title"})
    code, out, said = nearfar(*make, kept, "--remove", last, "-o", tmp_path / "2.nfd")
    assert code == 0, said
    told = json.loads(out)
    assert (told["sequence"], told["added"], told["changed"], told["removed"]) == (2, 0, 0, 1)


def test_an_update_that_was_made_but_not_kept_is_made_again_alike(nearfar: Command, publisher: Path, tmp_path: Path):
    items = table(publisher, new={"item-new": {}})
    make = ("catalogue", "make", publisher / "run", items, "--key", publisher / "publisher.key")
    assert nearfar(*make, "-o", tmp_path / "one.nfd")[0] == 0
    shutil.rmtree(publisher / "run" / "catalogue")
    assert nearfar(*make, "-o", tmp_path / "two.nfd")[0] == 0
    assert (tmp_path / "one.nfd").read_bytes() == (tmp_path / "two.nfd").read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--remove", "no-such-item"), "not in the catalogue of 40 items: 'no-such-item'"),
        (("--remove", "item-new"), "'item-new' is to be removed, but the table has it"),
        (("--key", "{folder}/none.key"), "there is no such file"),
        (("--key", "{folder}/other.key"), "takes updates of the publisher"),
        (("-o", "{folder}/no/such/folder.nfd"), "cannot be written"),
    ],
)
def test_what_cannot_be_made_is_refused(nearfar: Command, publisher: Path, more: tuple[str, str], message: str):
    nearfar("catalogue", "key", "-o", publisher / "other.key")
    items = table(publisher, new={"item-new": {}})
    usual = {"--key": publisher / "publisher.key", "-o": publisher / "update.nfd"}
    given = {**usual, more[0]: more[1].format(folder=publisher)}
    code, _, said = nearfar(
        "catalogue", "make", publisher / "run", items, *(part for pair in given.items() for part in pair)
    )
    assert code == 2
    assert message in said.replace("\n", " ")
    assert not (publisher / "run" / "catalogue" / "catalogue.bin").exists()


def test_what_is_no_update_is_refused(nearfar: Command, publisher: Path, tmp_path: Path):
    device = tmp_path / "me"
    seen = names(publisher)[0]
    assert nearfar(
        *("record", device, seen, "--action", "view"),
        *("--bundle", publisher / "run" / "bundle", "--key", f"file:{tmp_path / 'me.key'}"),
    )[0] == 0  # fmt: skip
    code, _, said = nearfar("catalogue", "apply", device, publisher / "recipe.yaml")
    assert code == 2
    assert "recipe.yaml: not an update of a catalogue" in said
