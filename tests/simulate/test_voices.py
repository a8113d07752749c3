"""Made voices: the same for the same seed, as different as they are said to be, and hard enough."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.frontend import AudioFrontend, AudioSettings
from nearfar.frontend.log_mel import log_mel
from nearfar.frontend.sound import decode_sound
from nearfar.simulate import Utterance, simulate_voices, write_wav
from nearfar.simulate.phones import PHONES, WORDS, tract_of
from nearfar.simulate.speaker import Speaker
from nearfar.sources.clips import ClipFolder


@pytest.fixture(scope="module")
def voices() -> list[Utterance]:
    return list(simulate_voices(12, 12, seed=0))


def test_everybody_is_heard_in_every_session(voices: list[Utterance]) -> None:
    assert len(voices) == 144
    assert len({voice.identity for voice in voices}) == 12
    for identity in {voice.identity for voice in voices}:
        own = [voice for voice in voices if voice.identity == identity]
        assert [voice.session for voice in own] == ["session-1"] * 6 + ["session-2"] * 6
        assert {voice.word for voice in own} == set(WORDS)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_samples_are_sound(rate: int) -> None:
    for voice in simulate_voices(2, 2, seed=1, rate=rate):
        assert voice.samples.dtype == np.float32
        assert 0.4 <= len(voice.samples) / rate <= 2.5
        assert np.sqrt(np.mean(voice.samples**2)) >= 0.01
        assert np.abs(voice.samples).max() <= 1
        assert np.mean(np.abs(voice.samples) >= 0.999) < 0.01


def test_the_seed_says_all_and_others_do_not_matter() -> None:
    few, many, other = (list(simulate_voices(n, 4, seed=seed)) for n, seed in ((2, 3), (3, 3), (2, 4)))
    for one, same, different in zip(few, many, other, strict=False):
        assert one[:3] == same[:3]
        np.testing.assert_array_equal(one.samples, same.samples)
        assert len(one.samples) != len(different.samples) or (one.samples != different.samples).any()


@pytest.mark.parametrize("pitch", [90.0, 140.0, 220.0])
def test_the_pitch_is_that_of_the_speaker(pitch: float) -> None:
    rng = np.random.default_rng(0)
    speaker = Speaker(pitch, 1.0, (1.0,) * 5, 1.0, 0.0, 0.01, 0.003, 0.02, 0.02, 1.0, 1.0)
    sound = speaker.say(tract_of("aaaa", 1.0, rng), 16_000, 1.0, rng)
    middle = sound[len(sound) // 4 : 3 * len(sound) // 4]
    alike = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lags = slice(16_000 // 400, 16_000 // 60)
    assert 16_000 / (lags.start + alike[lags].argmax()) == pytest.approx(pitch, rel=0.08)


def test_formants_move_with_the_size_of_the_vocal_tract() -> None:
    peaks = []
    for size in (0.9, 1.2):
        rng = np.random.default_rng(0)
        speaker = Speaker(100.0, size, (1.0,) * 5, 1.0, 0.0, 0.01, 0.02, 0.02, 0.1, 1.0, 1.0)
        sound = speaker.say(tract_of("iiii", 1.0, rng), 16_000, 1.0, rng)
        power = np.abs(np.fft.rfft(sound, 16_000)) ** 2
        smooth = np.convolve(power, np.hanning(200), mode="same")
        peaks.append(1500 + int(smooth[1500:3200].argmax()))
    assert peaks[1] / peaks[0] == pytest.approx(1.2 / 0.9, rel=0.1)


def test_speakers_differ_as_men_women_and_children_do() -> None:
    speakers = [Speaker.draw(np.random.default_rng([5, number])) for number in range(300)]
    pitches = np.array([speaker.pitch for speaker in speakers])
    low, middle, high = np.percentile(pitches, (10, 50, 90))
    assert 70 < low < 110 < 150 < middle < 230 < 270 < high < 400
    sizes = np.array([speaker.size for speaker in speakers])
    assert 1 / 1.2 <= sizes.min() < 0.9
    assert 1.2 < sizes.max() <= 1 / 0.8
    assert 0.5 < np.corrcoef(np.log(pitches), np.log(sizes))[0, 1] < 0.95


def test_words_are_of_known_sounds() -> None:
    assert len(set(WORDS)) == len(WORDS)
    assert {letter for word in WORDS for letter in word} <= PHONES.keys()


def test_means_of_the_spectrum_know_people_a_little(voices: list[Utterance]) -> None:
    """Better than chance, so that there is something to learn; far from good, so that it must be learned."""
    settings = AudioSettings(
        rate=16_000, step=4000, longest=64_000, frame=400, hop=160, bands=40, lowest=60.0, highest=7600.0
    )
    frontend = AudioFrontend(settings)
    spectra = [log_mel(frontend.fitted(voice.samples)[None], settings)[0] for voice in voices]
    vectors = np.stack([np.concatenate([s.std(axis=1), np.percentile(s, 90, axis=1)]) for s in spectra])
    vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    who = np.array([voice.identity for voice in voices])
    first = np.array([voice.session == "session-1" for voice in voices])
    people = sorted(set(who))
    templates = np.stack([vectors[first & (who == person)].mean(axis=0) for person in people])
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    scores = vectors[~first] @ templates.T
    right = np.array(people)[scores.argmax(axis=1)] == who[~first]
    assert 1.5 / len(people) < right.mean() < 0.75


def test_files_are_read_as_they_were_made(tmp_path: Path) -> None:
    made = list(simulate_voices(2, 4, seed=0, rate=8000))
    files = write_wav([*made, made[0]], tmp_path / "made", 8000)
    assert len(set(files)) == 9
    assert files[0] == tmp_path / "made" / "voice-1" / "session-1" / "sima-1.wav"
    assert files[8].name == "sima-2.wav"
    with wave.open(str(files[0])) as sound:
        assert sound.getparams()[:3] == (1, 2, 8000)
    np.testing.assert_allclose(decode_sound(files[0], 8000), made[0].samples, atol=1 / 32768)
    clips = list(ClipFolder(tmp_path / "made", "folder").clips())
    assert {(clip.label, clip.session) for clip in clips} == {
        (f"voice-{person}", f"session-{session}") for person in (1, 2) for session in (1, 2)
    }


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file.*cannot be written"):
        write_wav(simulate_voices(1, 1, seed=0), tmp_path / "file", 16_000)
