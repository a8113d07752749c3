"""Waiting until the files of a folder change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from nearfar.errors import DataError
from nearfar.sources.document import ReadReport
from nearfar.sources.files import FILE_SUFFIXES, GENERATED
from nearfar.sources.walk import files_of, with_dots

LOOK_AGAIN_SECONDS = 30.0
"""How often the folder is looked at even if the system reports nothing: network drives often report nothing."""
_MAX_SETTLING = 20

_Snapshot = dict[Path, tuple[int, int]]
"""Size and time of each file."""


def changes(
    folder: Path,
    suffixes: Sequence[str] = FILE_SUFFIXES,
    *,
    exclude: Sequence[Path] = (),
    settle: float = 0.5,
    every: float = 2.0,
    stop: threading.Event | None = None,
) -> Iterator[frozenset[Path]]:
    """Return an iterator that blocks until files were added, changed or removed, and then yields which.

    What counts begins with this call, not with the first wait: call it, index, then wait, and nothing is missed. Nor is
    what changes while the caller works on what was yielded. Hidden files and folders are left out. It ends on Ctrl-C
    while it waits, and when `stop` is set.

    Args:
        folder: a folder, or one file.
        suffixes: which files count, with the dot.
        exclude: folders that do not count, such as the index itself.
        settle: how long the files must have been at rest, in seconds.
        every: how often to look where the package watchfiles is not installed, in seconds.
        stop: set by another thread to end it.

    Raises:
        DataError: `folder` does not exist.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DataError(f"{folder} does not exist: name a folder to watch")
    dotted, kept_out = with_dots(suffixes), tuple(exclude)

    def look() -> _Snapshot:
        return _snapshot(folder, dotted, kept_out)

    return _changes(look(), look, folder, settle, every, stop or threading.Event())


def _changes(
    known: _Snapshot, look: Callable[[], _Snapshot], folder: Path, settle: float, every: float, stop: threading.Event
) -> Iterator[frozenset[Path]]:
    # The system only wakes us up; what changed is found by comparing. So an event that it loses costs time, not a file.
    wake_ups = _wake_ups(folder, every, stop)
    while True:
        try:
            found = look()
            if found != known:
                found = _settled(found, look, settle, stop)
            elif next(wake_ups, None) is None:
                return
        except KeyboardInterrupt:
            return
        changed = frozenset(path for path in known.keys() | found.keys() if known.get(path) != found.get(path))
        known = found
        if changed:
            yield changed


def _settled(found: _Snapshot, look: Callable[[], _Snapshot], settle: float, stop: threading.Event) -> _Snapshot:
    """Return the folder once nothing changes any more; files that are written all the time do not hold up the rest."""
    for _ in range(_MAX_SETTLING):
        stop.wait(settle)
        before, found = found, look()
        if found == before:
            break
    return found


def _wake_ups(folder: Path, every: float, stop: threading.Event) -> Iterator[bool]:
    """Yield whenever something may have changed; end when `stop` is set."""
    try:
        from watchfiles import watch
    except ImportError:
        while not stop.wait(every):
            yield True
        return
    while not stop.is_set():
        # It ends where the folder is replaced, or where the system has no watches left.
        with suppress(OSError, RuntimeError):
            for _ in watch(
                folder,
                watch_filter=None,
                debounce=200,
                stop_event=stop,
                rust_timeout=int(LOOK_AGAIN_SECONDS * 1000),
                yield_on_timeout=True,
            ):
                yield True
        if not stop.wait(every):
            yield True


def _snapshot(folder: Path, suffixes: tuple[str, ...], exclude: tuple[Path, ...]) -> _Snapshot:
    found: _Snapshot = {}
    # Nothing is reported here: whoever indexes reads the same files, and reports them. A folder that is gone for a
    # moment (a drive taken out) has no files.
    with suppress(DataError):
        for path, _ in files_of(folder, suffixes, ReadReport(), hidden=False, skip_folders=GENERATED, exclude=exclude):
            with suppress(OSError):
                status = path.stat()
                found[path] = (status.st_size, status.st_mtime_ns)
    return found
