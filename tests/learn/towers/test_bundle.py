"""The encoder of a finished bundle as a tower: every kind of items, its vectors kept, its graph shipped as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_models import made_texts
from made_partners import write_partners
from made_pictures import noise
from made_towers import agreement, built, device_vectors, kept, seen_vectors, ship, tower_of

from nearfar.errors import RunError
from nearfar.frontend.settings import TextSettings
from nearfar.learn.towers.bundle import BundleItems, BundleSide
from nearfar.learn.towers.tower import RefusedItem

Contents = Callable[[Path], list[Any]]


def texts(folder: Path) -> list[Any]:
    return list(dict.fromkeys(made_texts(40)))


def pictures(folder: Path) -> list[Any]:
    write_partners(folder, 12)
    return [*sorted((folder / "pictures").iterdir()), *(noise(seed, 24, 24) for seed in range(4))]


def sounds(folder: Path) -> list[Any]:
    write_partners(folder, 12)
    return sorted((folder / "sounds").rglob("*.wav"))


def series(folder: Path) -> list[Any]:
    write_partners(folder, 12)
    return sorted((folder / "series").iterdir())


def rows(folder: Path) -> list[Any]:
    return [{"size": 0.5 * number, "colour": "red" if number % 2 else "blue"} for number in range(0, 30, 2)] + [
        {"size": 3.25 * number, "colour": None} for number in range(1, 6)
    ]


KINDS: dict[str, tuple[str, Contents, Any]] = {
    "text": ("encoder: {kind: static, dim: 16}", texts, ""),
    "image": ("frontend: {kind: image, size: 16}, encoder: {kind: cnn, width: 8, dim: 16}", pictures, b"none"),
    "audio": (
        "frontend: {kind: audio, rate: 8000, bands: 16}, encoder: {kind: mel_cnn, width: 8, dim: 16}",
        sounds,
        b"none",
    ),
    "series": (
        "frontend: {kind: series, window: 16}, encoder: {kind: dilated_cnn, dim: 16, width: 8, layers: 2}",
        series,
        "/nowhere.csv",
    ),
    "table": ("encoder: {kind: mlp, width: 16, layers: 2, dim: 16}", rows, {"size": "", "colour": None}),
}


def learned(kind: str, folder: Path) -> tuple[Any, Any, Any, list[Any]]:
    """A tower with an encoder of its own, that encoder, its items, and what they were made of."""
    block, contents, _ = KINDS[kind]
    tower, found = tower_of(f"{{kind: {kind}, {block}}}"), contents(folder)
    items = kept(tower, found, folder / "own")
    return tower, built(tower, items), items, found


def of_bundle(kind: str, path: Path, name: str = "tower") -> BundleSide:
    tower = tower_of(f"{{kind: {kind}, encoder: {{kind: bundle, path: '{path}'}}}}", name)
    assert isinstance(tower, BundleSide)
    return tower


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_of_every_kind_is_a_tower(tmp_path: Path, kind: str) -> None:
    own, encoder, theirs, contents = learned(kind, tmp_path)
    bundle = ship(own, encoder, theirs, tmp_path / "bundle")
    tower = of_bundle(kind, bundle.path, "eye")
    tower.check()
    items = kept(tower, contents, tmp_path / "items")
    assert isinstance(items, BundleItems)
    shutil.rmtree(bundle.path)  # the run has all that it needs
    items = tower.open(tmp_path / "items")
    assert len(items) == len(set(items.keys.tolist())) == len(theirs)
    passed_on = built(tower, items)
    assert passed_on.dim == items.dim == 16
    assert not list(passed_on.parameters())
    graph = tower.graph(passed_on, items, quantise="int8", calibration=np.arange(3))
    np.testing.assert_allclose(seen_vectors(passed_on, items), device_vectors(graph, items), atol=2e-3)
    np.testing.assert_allclose(seen_vectors(passed_on, items), seen_vectors(encoder, theirs), atol=0.05)
    assert agreement(tower, passed_on, items) > 0.9999
    (vectors,) = items.inputs(np.array([2, 2, 0]), np.random.default_rng(0))
    torch.testing.assert_close(passed_on((vectors,)), vectors, rtol=0, atol=0)
    torch.testing.assert_close(vectors[0], vectors[1], rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_items_have_one_number_and_bad_ones_are_refused(tmp_path: Path, kind: str) -> None:
    own, encoder, theirs, contents = learned(kind, tmp_path)
    ship(own, encoder, theirs, tmp_path / "bundle")
    writer = of_bundle(kind, tmp_path / "bundle").writer(tmp_path / "items", seed=0)
    assert [writer.add(contents[place], "a:1") for place in (3, 0, 3)] == [0, 1, 0]
    bad = KINDS[kind][2]
    for _ in range(2):
        with pytest.raises(RefusedItem):
            writer.add(bad, "a:2")
    if isinstance(contents[0], Path):
        again = shutil.copy(contents[3], tmp_path / f"copy{contents[3].suffix}")
        assert writer.add(again, "a:3") == 0


def test_the_vocabulary_is_named_after_the_tower(tmp_path: Path) -> None:
    """So that two towers of texts can share a bundle; a text is prepared as a document, whichever side it is on."""
    own, encoder, theirs, contents = learned("text", tmp_path)
    ship(own, encoder, theirs, tmp_path / "bundle")
    items = kept(of_bundle("text", tmp_path / "bundle", "words"), contents, tmp_path / "items")
    assert isinstance(items.frontend, TextSettings)
    assert items.frontend.tokenizer == "words-tokenizer.json"
    assert items.frontend.max_query_tokens == items.frontend.max_document_tokens == 256
    assert items.files == {"words-tokenizer.json": next(iter(theirs.files.values()))}


def test_a_writer_that_was_killed_starts_again(tmp_path: Path) -> None:
    own, encoder, theirs, contents = learned("text", tmp_path)
    ship(own, encoder, theirs, tmp_path / "bundle")
    tower = of_bundle("text", tmp_path / "bundle")
    broken = tower.writer(tmp_path / "items", seed=0)
    for text in contents[::-1]:
        broken.add(text, "a:1")
    del broken
    again, afresh = kept(tower, contents, tmp_path / "items"), kept(tower, contents, tmp_path / "afresh")
    np.testing.assert_array_equal(again.keys, afresh.keys)
    places = np.arange(len(again))
    one, other = (items.inputs(places, np.random.default_rng(0)) for items in (again, afresh))
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_tower_of_a_bundle_of_several_is_found_by_its_name(tmp_path: Path) -> None:
    own, encoder, theirs, contents = learned("table", tmp_path)
    ship(own, encoder, theirs, tmp_path / "bundle", joint="size")
    tower = of_bundle("table", tmp_path / "bundle", "size")
    tower.check()
    items = kept(tower, contents, tmp_path / "items")
    np.testing.assert_allclose(seen_vectors(built(tower, items), items), seen_vectors(encoder, theirs), atol=0.01)
    with pytest.raises(RunError, match="the bundle has the towers size, but none is called other"):
        of_bundle("table", tmp_path / "bundle", "other").check()


def test_what_is_no_such_bundle_is_met_before_reading(tmp_path: Path) -> None:
    own, encoder, theirs, _ = learned("text", tmp_path)
    ship(own, encoder, theirs, tmp_path / "bundle")
    with pytest.raises(RunError, match=r"towers\.tower\.encoder\.path: .*there is no such bundle"):
        of_bundle("text", tmp_path / "nowhere").check()
    with pytest.raises(RunError, match="is of kind text-dual-encoder, but the tower is for image"):
        of_bundle("image", tmp_path / "bundle").check()
    (tmp_path / "bundle" / "encoder.onnx").write_bytes(b"something else")
    with pytest.raises(RunError, match="altered, truncated or damaged"):
        of_bundle("text", tmp_path / "bundle").check()
