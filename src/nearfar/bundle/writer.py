"""Writing a bundle so that a crash, a full disk or a second export never leaves half of one."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from nearfar.bundle.bundle import CARD, MANIFEST, SUMS, Bundle, check_name
from nearfar.bundle.manifest import Manifest
from nearfar.bundle.swap import put_in_place, restore, sync_directory
from nearfar.errors import BundleError

if sys.platform != "win32":
    import fcntl

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class BundleWriter:
    """Collects files in a hidden folder beside the target and renames it into place when it is whole and checked.

    Use as a context manager::

        with BundleWriter(Path("out/my-bundle")) as writer:
            writer.add("encoder.onnx", graph)
            writer.add("tokenizer.json", frontend.to_bytes())
            bundle = writer.finish(manifest, render_card(manifest))

    Leaving the block without `finish`, for whatever reason, removes the hidden folder and leaves the target as it was.
    What a killed export left behind is removed by the next export to the same target.
    """

    def __init__(self, target: str | Path) -> None:
        """Remember where the bundle goes; nothing is touched before the `with` block."""
        self._target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow a link at the target
        self._part: Path | None = None
        self._lock: int | None = None
        self._sums: dict[str, str] = {}
        self._written = 0

    def __enter__(self) -> Self:
        """Make the hidden folder.

        Raises:
            BundleError: something that is no bundle is at the target, or the folder cannot be made.
        """
        target = self._target
        if not target.name:
            raise BundleError(f"{target}: cannot be a bundle: give a folder name (-o)")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            restore(target)
            _refuse_to_replace(target)
            _remove_abandoned(target)
            part = target.with_name(_part_prefix(target) + secrets.token_hex(4))
            part.mkdir()
            self._part = part
            self._lock = _hold(part)
        except OSError as error:
            self._abandon()
            raise self._failure(error, target.parent, 0) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the hidden folder unless `finish` has renamed it."""
        self._abandon()

    @property
    def directory(self) -> Path:
        """The hidden folder, for exporters that need a path to write scratch files beside; only `add`ed files ship."""
        if self._part is None:
            raise BundleError(f"{self._target}: the bundle is not being written: use BundleWriter in a `with` block")
        return self._part

    def add(self, name: str, content: bytes) -> None:
        """Write one file.

        Args:
            name: one plain name such as `encoder.onnx`.
            content: its bytes.

        Raises:
            BundleError: the name is unsafe or taken, or the disk is full.
        """
        check_name(name, self._target)
        if name in self._sums or name in {MANIFEST, SUMS, CARD}:
            raise BundleError(f"{self._target}: {name} is written twice: give every file a name of its own")
        self._write(name, content)

    def finish(self, manifest: Manifest, card: str) -> Bundle:
        """Write manifest, card and digests, check the whole, and put it in place.

        Args:
            manifest: must name only files that were `add`ed.
            card: Markdown for people.

        Returns:
            The bundle, at the target.

        Raises:
            BundleError: the manifest names a file that was not added, or the disk is full; an older bundle at the
                target is untouched.
        """
        self._write(MANIFEST, manifest.to_bytes())
        self._write(CARD, card.encode())
        listing = "".join(f"{self._sums[name]}  {name}\n" for name in sorted(self._sums))
        return self._put_in_place(listing.encode())

    def copy(self, bundle: Bundle) -> Bundle:
        """Write the same bytes as `bundle` instead of adding files and finishing.

        Returns:
            The copy, at the target; its digest is that of `bundle`.

        Raises:
            BundleError: `bundle` has changed since it was opened, or the disk is full.
        """
        listing = bundle.read(SUMS)
        for name in bundle.sums:
            self._write(name, bundle.read(name))
        return self._put_in_place(listing)

    def _put_in_place(self, listing: bytes) -> Bundle:
        """Write the digests, remove what does not ship, check the whole, and rename it to the target."""
        part = self.directory
        self._write(SUMS, listing)
        try:
            for entry in part.iterdir():
                if entry.name not in self._sums:
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            sync_directory(part)
            Bundle.open(part)  # what is on the disk, before anything older gives way to it
            put_in_place(part, self._target)
        except OSError as error:
            raise self._failure(error, self._target, 0) from error
        self._part = None
        self._release()
        return Bundle.open(self._target, verify=False)

    def _write(self, name: str, content: bytes) -> None:
        path = self.directory / name
        try:
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                path.unlink()  # or the half file would be counted as space that is not free
            raise self._failure(error, path, len(content)) from error
        self._sums[name] = hashlib.sha256(content).hexdigest()
        self._written += len(content)

    def _failure(self, error: OSError, path: Path, size: int) -> BundleError:
        """Say what an OSError means for the user's bundle; called while the part folder still takes its space."""
        kept = (
            f"the bundle already at {self._target} is untouched" if self._target.exists() else "nothing was left behind"
        )
        if error.errno not in _NO_SPACE:
            return BundleError(
                f"{path}: cannot write the bundle ({error.strerror}); {kept}: check the permissions or export elsewhere"
            )
        free = shutil.disk_usage(self._target.parent).free
        return BundleError(
            f"{self._target}: no space for the bundle ({error.strerror}): {path.name} needs {size:,} bytes on top of "
            f"{self._written:,} already written, {free:,} are free; {kept}: free some space or export elsewhere"
        )

    def _abandon(self) -> None:
        if self._part is not None:
            shutil.rmtree(self._part, ignore_errors=True)
            self._part = None
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _part_prefix(target: Path) -> str:
    return f".{target.name}.part-"


def _refuse_to_replace(target: Path) -> None:
    """Only a bundle or an empty folder may give way to a new bundle."""
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_dir():
        raise BundleError(f"{target}: is a file or a link, not a bundle: give another place (-o) or remove it yourself")
    names = {entry.name for entry in target.iterdir()}
    if names and not {MANIFEST, SUMS} <= names:
        raise BundleError(
            f"{target}: is a folder that is not a bundle, and is not overwritten: give another place (-o) or empty it yourself"
        )


def _remove_abandoned(target: Path) -> None:
    """Remove the hidden folders of exports that were killed; one whose export still runs holds its lock."""
    prefix = _part_prefix(target)
    for entry in target.parent.iterdir():
        if entry.name.startswith(prefix) and entry.is_dir() and not entry.is_symlink():
            lock = _hold(entry)
            if lock is not None:
                shutil.rmtree(entry, ignore_errors=True)
                os.close(lock)


def _hold(directory: Path) -> int | None:
    """Lock `directory` for as long as this process lives; None if another one holds it or the system has no such lock."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(directory, os.O_RDONLY)
    with suppress(OSError):  # held, or a network file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    os.close(descriptor)
    return None
