"""Samples that are of no use are refused with a name and a mend; all others pass."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from nearfar.edge.verify.quality import check_quality
from nearfar.errors import DataError
from nearfar.frontend.settings import AudioSettings, ImageSettings, TextSettings

PICTURES = ImageSettings(size=64, channels=1)
RATE = 16_000
SOUND = AudioSettings(
    rate=RATE, step=RATE // 4, longest=8 * RATE, frame=400, hop=160, bands=40, lowest=60.0, highest=7600.0
)


def glyph(size: int = 105, *, ink: int = 0, paper: int = 255, stroke: int = 3) -> Image.Image:
    picture = Image.new("L", (size, size), paper)
    pen = ImageDraw.Draw(picture)
    pen.line([(size * 0.2, size * 0.2), (size * 0.5, size * 0.8), (size * 0.8, size * 0.3)], fill=ink, width=stroke)
    return picture


def soft_face(size: int = 200) -> Image.Image:
    """Smooth shading with a few features, as of a face in diffuse light, and the noise of a camera."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    shade = 0.7 - 1.2 * (x**2 + 1.5 * y**2)
    for at_x, at_y in ((-0.15, -0.1), (0.15, -0.1), (0.0, 0.2)):
        shade -= 0.3 * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 0.002)
    noise = np.random.default_rng(0).normal(0, 0.004, shade.shape)
    return Image.fromarray((255 * np.clip(shade + noise, 0, 1)).astype(np.uint8))


def named(item, settings=PICTURES):
    problem = check_quality(settings, item)
    return "" if problem is None else problem.name


def encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    "picture",
    [
        glyph(),
        glyph(ink=255, paper=0),
        glyph(ink=120, paper=150),
        glyph(64),
        glyph(33),
        glyph(1200),
        soft_face(),
        soft_face(64),
        soft_face(1000),
        glyph(105).filter(ImageFilter.GaussianBlur(1.5)),
    ],
)
def test_pictures_of_use_pass(picture):
    assert named(encoded(picture)) == ""


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        (glyph(31), "too small"),
        (Image.new("L", (100, 100), 128), "blank"),
        (glyph(ink=0, paper=18), "too dark"),
        (glyph(ink=248, paper=255), "too bright"),
        (soft_face().filter(ImageFilter.GaussianBlur(25)), "blurred"),
        (glyph(640, stroke=100).filter(ImageFilter.GaussianBlur(45)), "blurred"),
    ],
)
def test_pictures_of_no_use_are_named(picture, name):
    assert named(encoded(picture)) == name


def test_a_file_that_is_no_picture_is_named():
    assert named(b"no picture") == "cannot be read"


def test_a_problem_reads_as_a_sentence_with_its_mend():
    assert str(check_quality(PICTURES, np.zeros((90, 90), dtype=np.uint8))) == (
        "too dark (no brighter than 0%): give more light"
    )


def voice(seconds: float = 1.0, *, pitch: float = 120.0, pause: float = 0.3, seed: int = 0) -> np.ndarray:
    """Syllables of harmonics with a little breath, silence around them."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 20))
    syllables = np.abs(np.sin(2 * np.pi * 2.5 * time)) ** 2
    sound = np.concatenate([np.zeros(int(pause * RATE)), tone * syllables, np.zeros(int(pause * RATE))])
    return (0.15 * sound + 0.0005 * generator.standard_normal(len(sound))).astype(np.float32)


@pytest.mark.parametrize("gain", [0.02, 1.0, 1.8])
def test_voices_pass_at_any_gain(gain):
    assert named(gain * voice(), SOUND) == ""


def test_other_rates_are_no_problem():
    assert named((voice()[::2].copy(), RATE // 2), SOUND) == ""


def test_a_steady_vowel_is_not_taken_for_noise():
    time = np.arange(RATE) / RATE
    steady = sum(np.sin(2 * np.pi * 110 * k * time) / k for k in range(1, 30))
    assert named((0.2 * steady).astype(np.float32), SOUND) == ""


@pytest.mark.parametrize("colour", ["white", "brown"])
def test_noise_alone_is_named(colour):
    noise = np.random.default_rng(0).standard_normal(RATE)
    if colour == "brown":
        noise = np.cumsum(noise)
        noise -= np.convolve(noise, np.ones(300) / 300, "same")
    assert named((0.1 * noise / noise.std()).astype(np.float32), SOUND) == "too noisy"


def test_a_voice_under_its_noise_is_named_and_one_above_it_passes():
    sound, noise = voice(pause=0.1), np.random.default_rng(0).standard_normal(int(1.2 * RATE))
    power = sound.std()
    assert named((0.2 * (sound + 10 ** (10 / 20) * power * noise)).astype(np.float32), SOUND) == "too noisy"
    assert named((sound + 10 ** (-10 / 20) * power * noise).astype(np.float32), SOUND) == ""


def test_silence_is_named():
    assert named(np.zeros(RATE, dtype=np.float32), SOUND) == "silent"
    assert named(1e-4 * voice(), SOUND) == "silent"


def test_what_is_too_short_is_named_however_long_the_silence_around_it():
    click = np.zeros(RATE, dtype=np.float32)
    click[8000:8480] = voice(pause=0.0)[1000:1480]
    assert named(click, SOUND) == "too short"
    assert named(voice()[6400:7400], SOUND) == "too short"


def test_clipping_is_named():
    assert named(np.clip(12 * voice(), -1, 1), SOUND) == "clipped"


def test_a_file_and_its_samples_are_judged_alike(tmp_path):
    path = tmp_path / "one.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((32767 * np.clip(12 * voice(), -1, 1)).astype("<i2").tobytes())
    assert named(path, SOUND) == "clipped"
    assert named(b"no recording", SOUND) == "cannot be read"


def test_other_encoders_are_refused():
    with pytest.raises(DataError, match="image-encoder or audio-encoder"):
        check_quality(TextSettings(max_query_tokens=8, max_document_tokens=8), "hello")
