"""Recordings of every kind to samples: agreement with what was written, parts, and all that can be wrong with a file."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import wave
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.frontend.samples import MOST_SECONDS
from nearfar.frontend.sound import AudioError, decode_sound
from nearfar.frontend.wav import read_wav

RATE = 8000


def noise(length: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(-0.5, 0.5, (length, channels)).astype(np.float32)
    return values[:, 0] if channels == 1 else values


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def wav(samples: bytes, width: int, channels: int = 1, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples)
    return buffer.getvalue()


# --- what is read --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("OGG", "VORBIS")],
)
def test_files_hold_what_was_written(kind, subtype, tmp_path):
    written = tone(0.5)
    content = encoded(written, kind=kind, subtype=subtype)
    path = tmp_path / "named.raw"  # what a file is called does not matter
    path.write_bytes(content)
    for item in (content, path, str(path), bytearray(content)):
        read = decode_sound(item, RATE)
        assert read.dtype == np.float32
        assert read.shape == written.shape
        assert np.abs(read - written).max() < (0.05 if kind == "OGG" else 1e-4)


@pytest.mark.parametrize(("kind", "subtype"), [("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_formats_with_losses_keep_the_tone(kind, subtype):
    read = decode_sound(encoded(tone(1.0, 16_000), 16_000, kind, subtype), 16_000)
    power = np.abs(np.fft.rfft(read[:16_000] * np.hanning(16_000)))
    assert abs(int(power.argmax()) - 440) <= 1


def test_channels_are_averaged():
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1).astype(np.float32)
    for item in (stereo, encoded(stereo, subtype="FLOAT"), (stereo, RATE)):
        np.testing.assert_allclose(decode_sound(item, RATE), 0.125, atol=1e-6)


@pytest.mark.parametrize(("dtype", "full"), [(np.int16, 2**15), (np.int32, 2**31), (np.float64, 1), (np.float32, 1)])
def test_whole_numbers_are_shares_of_their_range(dtype, full):
    values = np.array([-0.5, 0.0, 0.25, 0.75])
    np.testing.assert_allclose(decode_sound((values * full).astype(dtype), RATE), values, atol=1e-7)


def test_bytes_without_sign_have_their_middle_at_128():
    np.testing.assert_array_equal(decode_sound(np.array([0, 128, 192], np.uint8), RATE), [-1, 0, 0.5])


def test_another_rate_is_resampled():
    read = decode_sound((tone(1.0, 44_100), 44_100), 16_000)
    assert len(read) == 16_000
    np.testing.assert_allclose(read[200:-200], tone(1.0, 16_000)[200:-200], atol=1e-3)


def test_a_little_too_loud_is_cut_and_far_too_loud_refused():
    assert decode_sound(np.array([1.5, -2.0, 0.5], np.float32), RATE).tolist() == [1.0, -1.0, 0.5]
    with pytest.raises(AudioError, match=r"far beyond \[-1, 1\] \(up to 3e\+04: divide them"):
        decode_sound(np.array([3e4, 0.0]), RATE)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 3000),
    own=st.sampled_from([1000, 4000, 8000, 11_025, 22_050, 44_100, 96_000]),
    rate=st.sampled_from([4000, 8000, 16_000, 48_000]),
    channels=st.integers(1, 9),
    dtype=st.sampled_from([np.float32, np.float64, np.int16, np.int32]),
)
def test_any_length_rate_and_channels(length, own, rate, channels, dtype):
    values = noise(length, channels)
    if np.issubdtype(dtype, np.integer):
        values = values * np.iinfo(dtype).max
    expected = length * rate / own
    if expected < 1.5:  # of less than a sample there may be nothing left
        with suppress(AudioError):
            assert len(decode_sound((values.astype(dtype), own), rate)) <= 2
        return
    read = decode_sound((values.astype(dtype), own), rate)
    assert read.dtype == np.float32
    assert abs(len(read) - expected) <= 1
    assert np.abs(read).max() <= 1


# --- parts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["array", "wav", "flac", "python"])
@pytest.mark.parametrize(("start", "end"), [(None, None), (0.1, None), (None, 0.25), (0.1, 0.25), (0.0, 99.0)])
def test_a_part_is_what_it_would_be_of_the_whole(form, start, end):
    whole = np.rint(noise(4000) * 32768).astype(np.int16)
    first, last = round((start or 0) * RATE), round(end * RATE) if end else None
    if form == "python":
        read, _ = read_wav(io.BytesIO(encoded(whole)), start, end)
    else:
        item = whole if form == "array" else encoded(whole, kind=form.upper())
        read = decode_sound(item, RATE, start=start, end=end)
    np.testing.assert_array_equal(read, whole[first:last] / np.float32(32768))


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (-1.0, None, "start is no second of a recording"),
        (float("nan"), None, "start is no second of a recording"),
        (0.3, 0.3, "end is not after start"),
        (None, float("inf"), "end is not after start"),
        (7.0, None, r"the part begins after the end \(at 7 s of 0.5 s\)"),
    ],
)
def test_a_part_that_is_not_there(start, end, message):
    with pytest.raises(AudioError, match=message):
        decode_sound(encoded(noise(4000)), RATE, start=start, end=end)


def test_of_a_recording_that_is_too_long_a_part_may_be_read():
    content = encoded(np.zeros(round((MOST_SECONDS + 1) * 1000), np.int16), 1000, "FLAC")
    with pytest.raises(AudioError, match=r"too long \(601 s; at most 600 s are decoded: cut it, or name parts"):
        decode_sound(content, 1000)
    assert len(decode_sound(content, 1000, start=600.5)) == 500


# --- what is wrong -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"RIFF", "no recording of a kind that is read"),
        (b"hello world" * 100, "no recording of a kind that is read"),
        (encoded(noise(0)), "holds no samples"),
        (np.empty(0, np.float32), "holds no samples"),
        (np.zeros((3, 4, 5), np.float32), "no array of (t,) or (t, channels)"),
        (np.zeros((3, 0), np.float32), "no array of (t,) or (t, channels)"),
        (np.zeros((3, 100), np.float32), "no array of (t,) or (t, channels)"),
        (np.zeros(3, np.complex64), "samples of a kind that is not read"),
        (np.zeros(3, bool), "samples of a kind that is not read"),
        (np.array([0.0, np.nan]), "holds what is not a number"),
        (encoded(np.array([0.0, np.inf], np.float32), subtype="FLOAT"), "holds what is not a number"),
        ((np.zeros(5), 10), "a rate that is not read"),
        ((np.zeros(5), float("nan")), "a rate that is not read"),
    ],
    # Not by their content: that of an encoded recording has the time in it, and two processes would name it differently.
    ids=range(14),
)
def test_what_cannot_be_used_is_named_by_a_few_reasons(content, reason):
    with pytest.raises(AudioError) as caught:
        decode_sound(content, RATE, name="here")
    assert caught.value.reason == reason
    assert str(caught.value).startswith("here: ")


@pytest.mark.parametrize("item", [None, 3, ["a.wav"], ("a.wav", RATE), (np.zeros(5), "fast"), {}])
def test_what_is_no_recording_at_all(item):
    with pytest.raises(DataError, match=r"a recording is|the rate of an array is"):
        decode_sound(item, RATE)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(AudioError, match=r"none\.wav: cannot be read \(No such file"):
        decode_sound(tmp_path / "none.wav", RATE)
    with pytest.raises(AudioError, match="not a regular file"):
        decode_sound(tmp_path, RATE)
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        decode_sound(tmp_path / "pipe.wav", RATE)
    with pytest.raises(AudioError, match="no name of a file"):
        decode_sound("a\0b.wav", RATE)


def test_a_flac_that_is_cut_off_says_so():
    content = encoded(noise(40_000), kind="FLAC")
    with pytest.raises(AudioError) as caught:
        decode_sound(content[: len(content) // 2], RATE)
    assert caught.value.reason in ("cut off", "damaged")


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from(["WAV", "FLAC", "OGG", "AIFF"]),
    at=st.integers(0, 10_000),
    change=st.binary(min_size=1, max_size=8),
    kept=st.floats(0.05, 1.0),
)
def test_damage_gives_samples_or_an_audio_error(kind, at, change, kept):
    content = bytearray(encoded(noise(2000), kind=kind))
    content[at % len(content) : at % len(content) + len(change)] = change
    try:
        read = decode_sound(bytes(content[: max(1, round(kept * len(content)))]), RATE)
    except AudioError:
        return
    assert np.isfinite(read).all()
    assert np.abs(read).max() <= 1


def test_a_damaged_mp3_never_becomes_a_bang():
    content = encoded(noise(32_000), 16_000, "MP3", "MPEG_LAYER_III")
    rng = np.random.default_rng(0)
    reasons = []
    for _ in range(20):
        broken = bytearray(content)
        for place in rng.integers(200, len(content), 4):
            broken[place] ^= 0xFF
        try:
            assert np.abs(decode_sound(bytes(broken), 16_000)).max() <= 1
        except AudioError as error:
            reasons.append(error.reason)
    assert set(reasons) == {"damaged"}


def test_a_wav_from_a_pipe_does_not_know_its_length():
    content = bytearray(encoded(noise(500), subtype="PCM_16"))
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff\xff\xff\xff"
    assert len(decode_sound(bytes(content), RATE)) == 500


def test_an_error_survives_pickling():
    error = pickle.loads(pickle.dumps(AudioError("cut off", "here", "a.wav")))
    assert isinstance(error, AudioError)
    assert (str(error), error.reason, error.detail, error.name) == ("a.wav: cut off (here)", "cut off", "here", "a.wav")


# --- without libsndfile --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_python_alone_reads_the_same_wav(width, channels):
    content = wav(np.random.default_rng(width).bytes(width * channels * 321), width, channels)
    read, rate = read_wav(io.BytesIO(content), None, None)
    np.testing.assert_allclose(read, decode_sound(content, RATE), atol=1e-7)
    assert (rate, len(read)) == (RATE, 321)


@pytest.mark.parametrize(
    "content", [b"RIFF", b"RIFF\0\0\0\0WAVEjunk", encoded(noise(9), subtype="FLOAT"), encoded(noise(99))[:30]]
)
def test_a_wav_that_python_alone_does_not_read(content):
    with pytest.raises(AudioError, match=r'install "nearfar\[audio\]"'):
        read_wav(io.BytesIO(content), None, None)


def test_without_the_extra_wav_is_read_and_the_rest_named():
    code = (
        "import sys, io, wave\n"
        "sys.modules['soundfile'] = sys.modules['soxr'] = None\n"
        "from nearfar.frontend.sound import decode_sound; from nearfar.errors import MissingExtraError\n"
        f"content = bytes.fromhex({wav(bytes(64), 2).hex()!r})\n"
        "print(decode_sound(content, 8000).shape)\n"
        "for item, rate in ((content, 16000), (b'fLaC', 8000)):\n"
        "    try: decode_sound(item, rate)\n"
        "    except MissingExtraError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    assert lines[0] == "(32,)"
    assert lines[1].startswith("bringing sound of 8000 samples a second to 16000 needs packages")
    assert lines[2].startswith("reading recordings other than WAV needs packages")
    assert all("nearfar[audio]" in line for line in lines[1:])
