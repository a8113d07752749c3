"""Writing a file that can be made again from the truth: it appears complete, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def derived_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file so that, after a kill or a power cut, `path` is either what it was or complete.

    The bytes go to a hidden file beside it, which is renamed when all of them are on the medium. A kill can leave that
    hidden file behind; the next write to the same `path` replaces it. One process at a time may write a `path`.

    Args:
        path: the file to make or to replace; its folder must be there.

    Yields:
        A binary file that can be written, sought and read.

    Raises:
        OSError: it could not be written (no room, no permission). As after any other error inside, `path` is then what
            it was and nothing is left behind.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the renames and removals in `folder` survive a power cut, where the system lets a folder be synced."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open a folder
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
