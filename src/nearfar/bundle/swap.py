"""Putting a finished directory where an older one is, in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from pathlib import Path

_AT_FDCWD = -100  # Linux: paths are relative to the working directory
_EXCHANGE = 2  # Linux RENAME_EXCHANGE and macOS RENAME_SWAP have the same value


def aside_of(target: Path) -> Path:
    """Where the old directory waits while `put_in_place` cannot exchange the two in one step."""
    return target.with_name(f".{target.name}.old")


def put_in_place(new: Path, target: Path) -> None:
    """Make `target` be the directory `new`; an older directory at `target` is removed afterwards.

    Where the system can exchange two names (Linux renameat2(2), macOS renamex_np(2)), `target` is a whole directory at
    every moment. Elsewhere it is missing between two renames; `restore` brings the old one back if the process dies there.

    Raises:
        OSError: the renaming failed; `target` is what it was.
    """
    if not target.exists():
        new.rename(target)
    elif _exchange(new, target):
        shutil.rmtree(new, ignore_errors=True)
    else:
        aside = aside_of(target)
        target.rename(aside)
        try:
            new.rename(target)
        except OSError:
            aside.rename(target)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    sync_directory(target.parent)


def restore(target: Path) -> None:
    """Undo what a process left that died in `put_in_place`."""
    aside = aside_of(target)
    if not aside.is_dir():
        return
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.rename(target)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` survive a power cut, where the system lets directories be synced."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names atomically; False where the system or the file system cannot."""
    names = os.fsencode(first), os.fsencode(second)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = library.renamex_np(*names, ctypes.c_uint(_EXCHANGE))
        else:
            failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_EXCHANGE))
    except (AttributeError, OSError, TypeError):  # no such function, or no C library to ask (Windows)
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV}:
        return False
    raise OSError(code, os.strerror(code), str(second))
