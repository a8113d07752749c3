"""The road of a voice as a user types it: a threshold by one's own people, enrolment, verification."""

from __future__ import annotations

import csv
import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_audio_bundle import write_tiny_audio_bundle

pytest.importorskip("cryptography")
pytest.importorskip("soundfile")

Command = Callable[..., tuple[int, str, str]]

RATE = 8000
CALIBRATE = ("--fmr", "0.05", "--samples", "4")


def write_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((32767 * np.clip(samples, -1, 1)).astype("<i2").tobytes())
    return path


def write_singers(folder: Path, people: int, each: int) -> None:
    """Chords, which the tiny encoder can tell apart as it cannot voices: `<person>/<session>/<number>.wav`."""
    time = np.arange(RATE) / RATE
    syllables = np.sin(2 * np.pi * 3 * time) ** 2
    for person in range(people):
        generator = np.random.default_rng(person)
        loudness = generator.lognormal(0, 1.2, 16)
        for number in range(each):
            pitches = 225 * np.arange(1, 17) * generator.normal(1, 0.005)
            chord = (loudness[:, None] * np.sin(2 * np.pi * pitches[:, None] * time)).sum(axis=0) * syllables
            sound = 0.5 * chord / np.abs(chord).max() + 0.002 * generator.standard_normal(RATE)
            path = folder / f"singer-{person}" / f"day-{number % 2}" / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_wav(path, sound, RATE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An encoder, and recordings of 12 people."""
    write_tiny_audio_bundle(tmp_path / "encoder")
    write_singers(tmp_path / "people", 12, 8)
    return tmp_path


def recordings(folder: Path, person: int) -> list[Path]:
    return sorted((folder / "people" / f"singer-{person}").rglob("*.wav"))


def test_from_voices_to_a_decision(nearfar: Command, folder: Path):
    code, out, err = nearfar("calibrate", folder / "encoder", folder / "people", "-o", folder / "ours", *CALIBRATE)
    assert code == 0, err
    assert "12 identities" in out
    code, out, _ = nearfar("inspect", folder / "ours")
    assert code == 0
    assert "8,000 samples a second" in out
    vault, key = folder / "vault", f"file:{folder / 'key'}"
    own, other = recordings(folder, 0), recordings(folder, 5)
    code, out, err = nearfar("enroll", vault, "anna", *own[:5], "--bundle", folder / "ours", "--key", key)
    assert code == 0, err
    accepted = [nearfar("verify", vault, "anna", path)[0] == 0 for path in own[5:]]
    assert all(accepted)
    code, out, _ = nearfar("verify", vault, "anna", other[0], "--json")
    assert (code, json.loads(out)["reason"]) == (1, "no match")
    code, out, _ = nearfar("verify", vault, "anna", write_wav(folder / "silent.wav", np.zeros(RATE), RATE))
    assert code == 1
    assert "silent" in out
    assert "microphone" in out
    (folder / "broken.wav").write_bytes(b"RIFF and then nothing")
    code, out, _ = nearfar("verify", vault, "anna", folder / "broken.wav")
    assert code == 1
    assert "cannot be read" in out


def test_a_manifest_names_files_and_parts_of_them(nearfar: Command, folder: Path):
    with (folder / "people.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "who", "day"])
        for person in range(12):
            for path in recordings(folder, person):
                table.writerow([path.relative_to(folder), f"p{person}", "monday"])
        table.writerow(["gone.wav", "p0", "monday"])
    columns = ("--item", "file", "--label", "who", "--session", "day")
    code, out, err = nearfar(
        "calibrate", folder / "encoder", folder / "people.csv", "-o", folder / "ours", *CALIBRATE, *columns
    )
    assert code == 0, err
    assert "12 identities" in out
    assert "gone.wav" in err or "skipped 1" in err
    by_folder = nearfar("calibrate", folder / "encoder", folder / "people", "-o", folder / "other", *CALIBRATE)[1]
    assert out.splitlines()[2] == by_folder.splitlines()[2]


def test_made_voices_have_the_layout_that_is_read_and_are_good_enough(nearfar: Command, folder: Path):
    made = ("--identities", 6, "--clips", 6, "--sessions", 2, "--rate", RATE)
    assert nearfar("simulate", "voices", "-o", folder / "voices", *made)[0] == 0
    code, out, err = nearfar(
        "calibrate", folder / "encoder", folder / "voices", "-o", folder / "ours", "--fmr", "0.2", "--samples", "3"
    )
    assert code == 0, err
    assert "6 identities, 18" in " ".join(out.split())
    assert "skipped" not in err


def test_a_folder_of_pictures_is_no_folder_of_voices(nearfar: Command, folder: Path):
    (folder / "pictures" / "anna").mkdir(parents=True)
    (folder / "pictures" / "anna" / "1.png").write_bytes(b"x")
    code, _, err = nearfar("calibrate", folder / "encoder", folder / "pictures", "-o", folder / "ours")
    assert code == 2
    assert "no recordings" in err


def test_the_example_in_the_documentation_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    text = (Path(__file__).parents[2] / "docs" / "verification.md").read_text("utf-8")
    example = text.split("```python\n")[1].split("```")[0].replace("/somewhere/else/key", str(folder / "key"))
    write_tiny_audio_bundle(folder / "run" / "bundle")
    write_singers(folder / "our-people", 12, 8)
    (folder / "anna").mkdir()
    for number, path in enumerate(recordings(folder, 0)[:3], start=1):
        path.rename(folder / "anna" / f"{number}.wav")
    recordings(folder, 0)[-1].rename(folder / "now.wav")
    monkeypatch.chdir(folder)
    exec(compile(example.replace("fmr=0.01", "fmr=0.05"), "verification.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "Enrolment(identity='anna'" in printed
    assert printed.splitlines()[-1] == "yes"
