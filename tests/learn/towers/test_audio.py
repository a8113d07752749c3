"""Recordings as items: equal ones, damaged ones, views in training, and the whole of each on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from made_partners import RATE, partners_recipe, write_partners

from nearfar.errors import DataError, RunError
from nearfar.frontend import AudioFrontend
from nearfar.frontend.sound import decode_sound
from nearfar.learn.towers.audio import AudioSide, SoundItems
from nearfar.learn.towers.tower import RefusedItem
from nearfar.learn.views.audio import with_hidden
from nearfar.recipe.joint import AudioTower


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_partners(tmp_path_factory.mktemp("partners"), 18).parent


def side_of(folder: Path, **changes: Any) -> AudioSide:
    block = partners_recipe(folder / "pairs.csv", towers={"audio": changes}).towers["audio"]
    assert isinstance(block, AudioTower)
    return AudioSide("audio", block)


def sounds_in(folder: Path) -> list[Path]:
    return sorted((folder / "sounds").rglob("*.wav"))


def kept(side: AudioSide, contents: list[Any], target: Path) -> SoundItems:
    writer = side.writer(target, seed=0)
    for row, content in enumerate(contents):
        assert writer.add(content, f"pairs.csv:{row}") == row
    writer.finish(np.arange(0, len(contents), 2))
    return side.open(target)


def of_many_lengths(folder: Path) -> list[Any]:
    """Sounds of 0.2 to 1.1 s with silence around them."""
    rng = np.random.default_rng(0)
    made = []
    for number, path in enumerate(sounds_in(folder)):
        sound = np.tile(decode_sound(path, RATE), 2)[: 1600 + 400 * number]
        quiet = rng.normal(0, 1e-4, (2, 2000)).astype(np.float32)
        made.append((np.concatenate([quiet[0], sound, quiet[1]]), RATE))
    return made


def test_equal_samples_are_one_item(folder: Path, tmp_path: Path) -> None:
    writer = side_of(folder).writer(tmp_path / "items", seed=0)
    first, second = sounds_in(folder)[:2]
    samples = decode_sound(first, RATE)
    contents = [first, second, str(first), first.read_bytes(), (samples, RATE), samples]
    assert [writer.add(content, "t:1") for content in contents] == [0, 1, 0, 0, 0, 0]
    writer.finish(np.array([0, 1]))
    items = side_of(folder).open(tmp_path / "items")
    assert len(items) == 2
    assert items.counts == {"recordings": 2, "seconds": 1}
    np.testing.assert_allclose(items.raw(np.array([0]))[0], samples, atol=1 / 32768)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF, but no sound", Path("/nowhere/at/all.wav"), np.zeros(0, np.float32), 5]
)
def test_what_is_no_recording_is_refused(folder: Path, tmp_path: Path, content: Any) -> None:
    writer = side_of(folder).writer(tmp_path / "items", seed=0)
    for _ in range(2):
        with pytest.raises(RefusedItem) as refused:
            writer.add(content, "pairs.csv:2")
        assert refused.value.reason
    assert writer.add(sounds_in(folder)[0], "pairs.csv:3") == 0
    with pytest.raises(DataError, match="no recording to train on"):
        writer.finish(np.zeros(0, np.int64))


def test_a_killed_writer_starts_again(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder)
    side.writer(tmp_path / "items", seed=0).add(sounds_in(folder)[5], "pairs.csv:5")
    items, again = (kept(side, list(sounds_in(folder)), tmp_path / name) for name in ("items", "again"))
    np.testing.assert_array_equal(items.samples, again.samples)
    assert (items.mean, items.std) == (again.mean, again.std)


@pytest.mark.parametrize("views", [None, {"seconds": 0.4}])
def test_what_is_drawn_depends_on_the_seed_and_the_place(
    folder: Path, tmp_path: Path, views: dict[str, Any] | None
) -> None:
    items = kept(side_of(folder, views=views), of_many_lengths(folder), tmp_path / "items")
    numbers = np.array([3, 3, 5, 7])
    first, second, other = (items.inputs(numbers, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert all(torch.equal(one, same) for one, same in zip(first, second, strict=True))
    if views is None:
        assert len(first) == 1
        assert torch.equal(first[0], other[0])
        # The shorter ones go on from their start.
        own = items.inputs(np.array([3]), np.random.default_rng(0))[0][0]
        assert torch.equal(first[0][0, : len(own)], own)
        assert torch.equal(first[0][0, len(own) :], own[: first[0].shape[1] - len(own)])
    else:
        assert [tuple(part.shape) for part in first] == [(4, 3200), (4, 2, 2)]
        assert not torch.equal(first[0], other[0])
        assert not torch.equal(first[0][0], first[0][1])


def test_what_is_hidden_is_hidden_from_the_encoder(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, views={"seconds": 0.4, "time_mask": 0.5, "frequency_mask": 0.5})
    items = kept(side, list(sounds_in(folder)), tmp_path / "items")
    torch.manual_seed(0)
    tower = side.encoder(items, dim=32).eval()
    waves, limits = items.inputs(np.arange(4), np.random.default_rng(0))
    with torch.no_grad():
        spectrum = tower.encoder.spectrum(waves)
        hidden = with_hidden(spectrum, time=limits[:, 0], frequency=limits[:, 1])
        assert torch.equal(tower((waves, limits)), tower.encoder.embedded(hidden))
        assert torch.equal(tower((waves,)), tower.encoder(waves))
        assert torch.equal(tower((waves, torch.zeros_like(limits))), tower((waves,)))
    assert (hidden == 0).any()
    assert not torch.equal(hidden, spectrum)
    plain = kept(
        side_of(folder, views={"time_mask": 0.0, "frequency_mask": 0.0}), sounds_in(folder), tmp_path / "plain"
    )
    assert len(plain.inputs(np.arange(4), np.random.default_rng(0))) == 1


@pytest.mark.parametrize(("kind", "trim"), [("mel_cnn", True), ("ecapa", False)])
def test_the_graph_gives_the_vectors_of_the_encoder(folder: Path, tmp_path: Path, kind: str, trim: bool) -> None:
    side = side_of(folder, encoder={"kind": kind, "width": 8, "dim": 24}, frontend={"trim": trim})
    items = kept(side, of_many_lengths(folder), tmp_path / "items")
    torch.manual_seed(0)
    encoder, numbers = side.encoder(items, dim=32).eval(), np.arange(len(items))
    vectors, places_met = np.zeros((len(items), encoder.dim), np.float32), []
    with torch.no_grad():
        for places, inputs in items.seen(numbers, 4):
            assert len(places) <= 4
            vectors[places] = torch.nn.functional.normalize(encoder(inputs), dim=-1).numpy()
            places_met += places.tolist()
    assert sorted(places_met) == numbers.tolist()
    formats = (("none", 0.999), ("int8", 0.97)) if trim else (("none", 0.999),)
    for quantise, least in formats:
        session = ort.InferenceSession(side.graph(encoder, items, quantise=quantise, calibration=numbers[::2]))
        for positions, feed in AudioFrontend(items.frontend).feeds(items.raw(numbers), "document", 8):
            found = session.run(["embedding"], feed)[0]
            assert (found * vectors[positions]).sum(axis=1).min() > least
    assert side.graph(encoder, items, quantise="int8", calibration=numbers[:0])


def test_what_is_not_there_is_met_first(folder: Path, tmp_path: Path) -> None:
    side_of(folder).check()
    side_of(folder, views={"noise": {"folder": str(folder / "sounds")}}).check()
    with pytest.raises(RunError, match=r"towers.audio.views.noise.folder is .* which is no folder"):
        side_of(folder, views={"noise": {"folder": str(tmp_path / "none")}}).check()
    with pytest.raises(RunError, match=r"towers.audio.start is .*neither a finished run"):
        side_of(folder, start=str(tmp_path / "none")).check()
    with pytest.raises(RunError, match=r"towers.audio: .*no-model.* could not be loaded.*preprocessor_config.json"):
        side_of(folder, encoder={"kind": "hf", "model": str(tmp_path / "no-model")}).check()
