from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nearfar.errors import DataError
from nearfar.sources.watch import changes


@pytest.fixture(params=["watchfiles", "looking"], autouse=True)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "looking":
        monkeypatch.setitem(sys.modules, "watchfiles", None)
    elif importlib.util.find_spec("watchfiles") is None:
        pytest.skip("watchfiles is not installed")


def soon(action: object) -> None:
    threading.Timer(0.3, action).start()  # type: ignore[arg-type]


def test_added_changed_and_removed_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a")
    (tmp_path / "index").mkdir()
    watched = changes(tmp_path, exclude=[tmp_path / "index"], settle=0.05, every=0.05)

    def write() -> None:
        for name in (".hidden.md", "index/card.md", "b.bin", "b.md"):
            (tmp_path / name).write_text("b")

    soon(write)
    assert next(watched) == {tmp_path / "b.md"}
    soon(lambda: (tmp_path / "a.md").write_text("longer"))
    assert next(watched) == {tmp_path / "a.md"}
    soon((tmp_path / "a.md").unlink)
    assert next(watched) == {tmp_path / "a.md"}


def test_what_changes_before_the_first_wait_and_between_waits_is_not_missed(tmp_path: Path) -> None:
    watched = changes(tmp_path, settle=0.01, every=0.05)
    (tmp_path / "a.md").write_text("a")
    assert next(watched) == {tmp_path / "a.md"}
    (tmp_path / "b.md").write_text("b")
    (tmp_path / "c.md").write_text("c")
    assert next(watched) == {tmp_path / "b.md", tmp_path / "c.md"}


def test_another_thread_can_end_it(tmp_path: Path) -> None:
    stop = threading.Event()
    soon(stop.set)
    assert list(changes(tmp_path, every=0.05, stop=stop)) == []


def test_a_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        changes(tmp_path / "gone")


def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, signal\n"
        # Whoever starts the tests in the background has Ctrl-C ignored, and children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        + ("sys.modules['watchfiles'] = None\n" if sys.modules.get("watchfiles", 0) is None else "")
        + "from nearfar.sources.watch import changes\n"
        f"watched = changes(pathlib.Path({os.fspath(tmp_path)!r}), settle=0.01, every=0.05)\n"
        "print('watching', flush=True)\n"
        "print(len(next(watched)), flush=True)\n"
        "print(list(watched), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "watching\n"
    (tmp_path / "a.md").write_text("a")
    assert process.stdout.readline() == "1\n"
    time.sleep(0.5)  # until it waits again; before that Ctrl-C would be for the caller
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (output, errors, process.returncode) == ("[]\n", "", 0)
