"""Recordings to what a graph takes: trimmed, cut, repeated, and batched by length."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nearfar.errors import DataError
from nearfar.frontend import AudioError, AudioFrontend, AudioSettings, open_frontend
from nearfar.frontend.frontend import Frontend

STEP, LONGEST = 2000, 8000


def made(**values) -> AudioSettings:
    usual = {"rate": 8000, "step": STEP, "longest": LONGEST, "frame": 200, "hop": 80, "bands": 24, "lowest": 60.0}
    return AudioSettings(**{**usual, "highest": 3800.0, "trim": False, **values})


FRONTEND = AudioFrontend(made())


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32)


def all_of(items: list, frontend: AudioFrontend = FRONTEND, batch_size: int = 4) -> dict[int, np.ndarray]:
    found: dict[int, np.ndarray] = {}
    for positions, feed in frontend.feeds(items, "document", batch_size):
        assert feed.keys() == {"pcm"}
        assert feed["pcm"].dtype == np.float32
        assert 1 <= len(positions) == len(feed["pcm"]) <= batch_size
        assert not found.keys() & set(positions)
        found |= dict(zip(positions, feed["pcm"], strict=True))
    return found


def test_it_is_what_the_settings_open(tmp_path):
    frontend: Frontend = open_frontend(made(), lambda name: b"", tmp_path)
    assert isinstance(frontend, AudioFrontend)
    assert frontend.inputs["pcm"].rank == 2
    assert not frontend.sides_differ


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 20_000), step=st.integers(200, 3000), steps=st.integers(1, 5), trim=st.booleans())
def test_any_length_becomes_a_whole_number_of_steps_of_nothing_but_the_recording(length, step, steps, trim):
    frontend = AudioFrontend(made(step=step, longest=steps * step, trim=trim))
    samples = noise(length)
    kept = samples[frontend.spoken(samples)][: steps * step]
    fitted = frontend.fitted(samples)
    assert fitted.dtype == np.float32
    assert len(fitted) % step == 0
    assert len(kept) <= len(fitted) < len(kept) + step
    np.testing.assert_array_equal(fitted, kept[np.arange(len(fitted)) % len(kept)])


def test_silence_is_trimmed_where_the_settings_say_so():
    samples = np.concatenate([np.zeros(4000, np.float32), noise(3000), np.zeros(4000, np.float32)])
    trimming = AudioFrontend(made(trim=True))
    kept = trimming.spoken(samples)
    assert 4000 - 800 <= kept.start <= 4000
    assert 7000 <= kept.stop <= 7000 + 800
    assert FRONTEND.spoken(samples) == slice(0, len(samples))
    np.testing.assert_array_equal(trimming.fitted(samples)[: kept.stop - kept.start], samples[kept])


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 12_000), max_size=20), batch_size=st.integers(1, 6))
def test_every_recording_comes_once_and_alone_it_comes_the_same(lengths, batch_size):
    items = [noise(length, seed) for seed, length in enumerate(lengths)]
    found = all_of(items, batch_size=batch_size)
    assert sorted(found) == list(range(len(items)))
    for position, item in enumerate(items):
        np.testing.assert_array_equal(found[position], FRONTEND.prepare(item))


def test_recordings_in_any_form(tmp_path):
    samples = np.rint(noise(3000) * 32768).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 8000)
    content = io.BytesIO()
    soundfile.write(content, samples, 8000, format="FLAC")
    forms = [tmp_path / "a.wav", str(tmp_path / "a.wav"), content.getvalue(), samples, (samples, 8000)]
    found = all_of(forms, batch_size=8)
    for position in range(len(forms)):
        np.testing.assert_array_equal(found[position], found[0])


def test_an_array_of_recordings_is_a_list():
    block = np.stack([noise(2000, seed) for seed in range(5)])
    FRONTEND.check(block)
    found = all_of(block)
    np.testing.assert_array_equal(np.stack([found[row] for row in range(5)]), block)


@pytest.mark.parametrize("item", ["a.wav", b"RIFF", noise(9), (noise(9), 8000), (noise(9), np.int64(8000))])
def test_one_recording_is_no_list(item):
    with pytest.raises(DataError, match=r"wrap it as \[recording\]"):
        FRONTEND.check(item)


def test_a_bad_recording_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"^item 1: empty file"):
        all_of([noise(9), b""])
    with pytest.raises(AudioError, match=r"none\.wav: cannot be read"):
        all_of([tmp_path / "none.wav"])


def test_memory_does_not_grow_with_the_number_of_recordings():
    class Many:
        def __len__(self) -> int:
            return 400

        def __iter__(self):
            return (noise(50_000 + 400 * number) for number in range(400))

    frontend = AudioFrontend(made(step=400, longest=400_000))
    tracemalloc.start()
    seen = sum(len(positions) for positions, _ in frontend.feeds(Many(), "document", 64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == 400
    assert peak < 150e6  # all of them are 208 MB, twice that while they are stacked


def test_trials_are_two_sounds_of_the_shortest_length():
    trials = FRONTEND.trials("query")["pcm"]
    assert trials.shape == (2, STEP)
    assert trials.dtype == np.float32
    assert (trials.std(axis=1) > 0.1).all()


@pytest.mark.parametrize(
    "values",
    [
        {"hop": 300},
        {"frame": 3000},
        {"longest": 9000},
        {"longest": 1000},
        {"highest": 4001.0},
        {"lowest": 3900.0},
        {"rate": 10},
    ],
)
def test_settings_that_make_no_sense(values):
    with pytest.raises(ValidationError):
        made(**values)
