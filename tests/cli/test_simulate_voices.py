"""`nearfar simulate voices`."""

from __future__ import annotations

from pathlib import Path


def test_voices_are_written_and_counted(nearfar, tmp_path: Path) -> None:
    code, out, _ = nearfar(
        "simulate", "voices", "-o", tmp_path / "v", "--identities", "3", "--clips", "4", "--rate", "8000"
    )
    assert code == 0
    assert "12 recordings of 3 people" in out
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["voice-1", "voice-2", "voice-3"]
    assert len(list((tmp_path / "v").rglob("*.wav"))) == 12


def test_a_place_that_cannot_be_written_is_named(nearfar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = nearfar("simulate", "voices", "-o", tmp_path / "file", "--identities", "1", "--clips", "1")
    assert code == 2
    assert "cannot be written" in err
    assert "Traceback" not in err
