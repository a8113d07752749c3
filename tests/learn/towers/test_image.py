"""Pictures of a tower: kept once, seen as on the device, changed by views in training, embedded alike in torch and in the graph."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from made_pictures import noise, picture_recipe, write_classes, write_picture
from made_towers import agreement, built, kept, seen_vectors, tower_of
from PIL import Image

from nearfar.errors import DataError, RunError
from nearfar.learn.run import prepare_run
from nearfar.learn.towers.image import PictureItems
from nearfar.learn.towers.tower import RefusedItem, rows_of

PLAIN = "{kind: image, frontend: {kind: image, size: 16}, encoder: {kind: cnn, width: 8, dim: 16}}"
VIEWED = PLAIN.replace("{kind: image, frontend", "{kind: image, views: {crop: {scale: [0.5, 1.0]}}, frontend")
VIT = PLAIN.replace(
    "{kind: cnn, width: 8, dim: 16}", "{kind: vit, patch: 4, dim: 16, heads: 2, layers: 2, feedforward: 32}"
)


def smooth(seed: int, height: int = 24, width: int = 24) -> npt.NDArray[np.uint8]:
    """A picture of a few soft spots, (h, w, 3): what resizing twice leaves as it is."""
    small = Image.fromarray(noise(seed, 4, 4))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, "PNG")
    return whole.getvalue()


def contents(count: int = 24) -> list[Any]:
    """Arrays, squares and oblongs in turns."""
    return [smooth(seed, 24, 24 if seed % 2 else 36) for seed in range(count)]


def picture_items(tmp_path: Path, block: str = PLAIN) -> PictureItems:
    items = kept(tower_of(block), contents(), tmp_path / "items")
    assert isinstance(items, PictureItems)
    return items


def test_equal_pixels_have_one_number(tmp_path: Path) -> None:
    """Whether they come as a path, as bytes or as an array."""
    red, blue = smooth(1), smooth(2)
    path = write_picture(tmp_path / "in" / "red.png", red)
    writer = tower_of(PLAIN).writer(tmp_path / "items", seed=0)
    found = [writer.add(content, "a:1") for content in (path, png(blue), red, str(path), png(red), blue)]
    assert found == [0, 1, 0, 0, 0, 1]
    writer.finish(np.array([0]))
    items = tower_of(PLAIN).open(tmp_path / "items")
    assert len(items) == len(set(items.keys.tolist())) == 2
    assert items.raw(np.array([1, 0])) == [png(blue), path]


@pytest.mark.parametrize(
    "content", [b"", b"no picture at all", png(smooth(1))[:100], "nowhere.png", 3, np.zeros((3, 3, 3), bool), None]
)
def test_what_is_no_picture_is_refused_as_often_as_it_comes(tmp_path: Path, content: object) -> None:
    writer = tower_of(PLAIN).writer(tmp_path / "items", seed=0)
    for _ in range(2):
        with pytest.raises(RefusedItem) as refused:
            writer.add(content, "a:1")
        assert refused.value.reason
    assert writer.add(smooth(1), "a:2") == 0


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    """As on the device, which sees no other encoder than this one."""
    clear = np.dstack([smooth(1), np.zeros((24, 24), np.uint8)])
    items = kept(tower_of(PLAIN), [png(clear), smooth(2)], tmp_path / "items")
    _, (pixels,) = next(items.seen(np.array([0]), 1))
    assert pixels.min() > 0.999


def test_without_training_pictures_nothing_can_be_measured(tmp_path: Path) -> None:
    writer = tower_of(PLAIN).writer(tmp_path / "items", seed=0)
    writer.add(smooth(1), "a:1")
    with pytest.raises(DataError, match="no picture to train on"):
        writer.finish(np.zeros(0, np.int64))


def test_a_writer_that_was_killed_starts_again(tmp_path: Path) -> None:
    broken = tower_of(PLAIN).writer(tmp_path / "items", seed=0)
    for content in [noise(seed, 40, 40) for seed in range(80)]:
        broken.add(content, "a:1")
    del broken
    again, afresh = picture_items(tmp_path), kept(tower_of(PLAIN), contents(), tmp_path / "afresh")
    assert isinstance(afresh, PictureItems)
    np.testing.assert_array_equal(again.pixels, afresh.pixels)
    np.testing.assert_array_equal(again.keys, afresh.keys)
    assert again.format == afresh.format
    assert (tmp_path / "items" / "pixels.bin").read_bytes() == (tmp_path / "afresh" / "pixels.bin").read_bytes()


def test_mean_and_deviation_are_of_training_pictures(tmp_path: Path) -> None:
    dark, bright = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    items = kept(tower_of(PLAIN), [dark, bright], tmp_path / "items", train=0.5)
    assert isinstance(items, PictureItems)
    assert items.format.mean == [0.0, 0.0, 0.0]
    encoder = built(tower_of(PLAIN), items)
    torch.testing.assert_close(encoder.encoder.mean.flatten(), torch.zeros(3))


@pytest.mark.parametrize("block", [PLAIN, VIEWED, VIT])
def test_the_device_makes_the_same_vectors(tmp_path: Path, block: str) -> None:
    items, tower = picture_items(tmp_path, block), tower_of(block)
    encoder = built(tower, items)
    assert agreement(tower, encoder, items) > 0.999
    assert agreement(tower, encoder, items, quantise="int8") > 0.98
    assert not encoder.training


def test_views_are_those_of_a_seed_and_of_the_place(tmp_path: Path) -> None:
    items = picture_items(tmp_path, VIEWED)
    numbers = np.array([2, 2, 5])
    (first,), (again,), (other,) = (items.inputs(numbers, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (3, 3, 16, 16)
    assert first.dtype == torch.float32
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_without_views_training_sees_what_the_device_sees(tmp_path: Path) -> None:
    items = picture_items(tmp_path)
    (pixels,) = items.inputs(np.array([3, 1]), np.random.default_rng(0))
    _, (seen,) = next(items.seen(np.array([3, 1]), 2))
    torch.testing.assert_close(pixels, seen)
    assert rows_of((pixels,), [1])[0].shape == (1, 3, 16, 16)


def test_a_start_brings_weights_and_moments(tmp_path: Path) -> None:
    """Those of a run over pictures."""
    from nearfar.learn.pictures import build_method

    recipe = picture_recipe(write_classes(tmp_path / "in"))
    run = tmp_path / "run"
    run.mkdir()
    method = build_method(recipe, prepare_run(recipe, run).corpus)  # type: ignore[arg-type]
    (run / "checkpoints").mkdir()
    state = {f"method.{name}": value for name, value in method.state_dict().items()}
    torch.save({"state_dict": state}, run / "checkpoints" / "best.ckpt")
    for key in (f"start: '{run}', encoder: {{kind: cnn,", f"encoder: {{kind: cnn, start: '{run}',"):
        block = PLAIN.replace("size: 16", "size: 8").replace("encoder: {kind: cnn,", key)
        tower = tower_of(block)
        tower.check()
        items = kept(tower, contents(), tmp_path / f"items{len(key)}")
        own = built(tower, items).encoder.state_dict()
        for name, value in method.encoder.state_dict().items():
            torch.testing.assert_close(own[name], value)
        assert not torch.equal(built(tower, items, started=False).encoder.mean, method.encoder.mean)
    with pytest.raises(RunError, match=r"towers\.tower\.start: .* does not hold the weights of such an encoder"):
        tower_of(block.replace("width: 8", "width: 16")).check()


def test_an_encoder_that_cannot_be_is_met_before_reading() -> None:
    with pytest.raises(RunError, match=r"towers\.tower: .*not a multiple of encoder\.patch"):
        tower_of(VIT.replace("patch: 4", "patch: 5")).check()


def test_a_frozen_tower_stays_as_it_is(tmp_path: Path) -> None:
    """With views its encoder runs at each step, without gradients; BatchNorm follows no batch."""
    tower = tower_of(VIEWED.replace("{kind: image, views", "{kind: image, frozen: true, views"))
    items = kept(tower, contents(), tmp_path / "items")
    encoder = built(tower, items).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    vectors = encoder(items.inputs(np.arange(8), np.random.default_rng(0)))
    assert vectors.shape == (8, 16)
    assert not vectors.requires_grad
    assert not any(module.training for module in encoder.encoder.modules())
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert agreement(tower, encoder, items) > 0.999


def test_the_vectors_of_a_frozen_tower_without_views_are_computed_once(tmp_path: Path) -> None:
    tower = tower_of(PLAIN.replace("{kind: image, frontend", "{kind: image, frozen: true, frontend"))
    plain = tower_of(PLAIN)
    items = kept(tower, contents(), tmp_path / "items")
    with pytest.raises(RunError, match="vectors of a frozen tower are not there"):
        items.inputs(np.arange(2), np.random.default_rng(0))
    encoder = built(tower, items, seed=3)
    (vectors,) = items.inputs(np.array([4, 4, 1]), np.random.default_rng(0))
    assert vectors.shape == (3, 16)
    torch.testing.assert_close(encoder((vectors,)), vectors, rtol=0, atol=0)
    unfrozen = built(plain, plain.open(tmp_path / "items"), seed=3)
    cosines = (seen_vectors(encoder, items) * seen_vectors(unfrozen, plain.open(tmp_path / "items"))).sum(axis=1)
    assert cosines.min() > 0.9999
    assert agreement(tower, encoder, items) > 0.999
    # A checkpoint is loaded into fresh weights, and the vectors stay those that the run began with.
    again = built(tower, items, started=False, seed=9)
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(items.inputs(np.array([4]), np.random.default_rng(0))[0], vectors[:1])
    assert agreement(tower, again, items) > 0.999
