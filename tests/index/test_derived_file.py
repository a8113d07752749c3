import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nearfar.index.derived_file import derived_file


def test_the_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with derived_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["a.bin"]


def test_an_error_inside_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="no room"):
        _write_and_fail(path)
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.bin"]


def _write_and_fail(path: Path) -> None:
    with derived_file(path) as file:
        file.write(b"new")
        raise OSError("no room")


def test_a_killed_writer_keeps_what_was_there_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    script = f"""
import os, signal
from pathlib import Path
from nearfar.index.derived_file import derived_file
with derived_file(Path({str(path)!r})) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    with derived_file(path) as file:
        file.write(b"next")
    assert path.read_bytes() == b"next"
    assert [found.name for found in tmp_path.iterdir()] == ["a.bin"]


def test_the_file_can_be_sought_and_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with derived_file(path) as file:
        file.write(b"....tail")
        file.seek(0)
        file.write(b"head")
        file.seek(0)
        assert file.read() == b"headtail"
    assert path.read_bytes() == b"headtail"
