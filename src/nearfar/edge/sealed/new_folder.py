"""Making the directory of a sealed file: it appears complete, or not at all."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nearfar.bundle.swap import sync_directory
from nearfar.errors import StoreError

_ABANDONED_SECONDS = 86_400.0


def is_free(target: Path) -> bool:
    """Whether a new directory can be made there: there is none, or an empty one."""
    return not target.exists() or (target.is_dir() and not any(target.iterdir()))


@contextmanager
def new_folder(target: Path, noun: str) -> Iterator[Path]:
    """Make a directory in one step.

    Args:
        target: must not be there, or be empty.
        noun: what it is, for the messages.

    Yields:
        A directory beside it, to be filled; it takes the name of `target` when the block ends well.

    Raises:
        StoreError: there is something already, or it cannot be written.
    """
    prefix = f".{target.name}.part-"
    try:
        if not is_free(target):
            raise StoreError(f"{target}: there is something already; choose another folder, or open the {noun} there")
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent, prefix)
        # Of a name of its own: of two that make the same one at once, the one who is late is refused.
        part = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        try:
            yield part
            if target.exists():
                target.rmdir()
            part.rename(target)
            sync_directory(target.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"{target}: the {noun} cannot be made there: {error.strerror or error}") from error


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove what was left by processes that were killed while they made one; nobody takes a day for a passphrase."""
    for place in parent.iterdir():
        with suppress(FileNotFoundError):  # of another one that has finished
            if place.name.startswith(prefix) and time.time() - place.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(place, ignore_errors=True)
