"""What processes that are killed at their writes need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def killing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that counts the writes of a process and kills it at one of them."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("what counts the writes is compiled for Linux")
    library = tmp_path_factory.mktemp("killing") / "killing.so"
    source = Path(__file__).with_name("killing.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a file system: what a killed process has written is there all the same, and syncs are free."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)
