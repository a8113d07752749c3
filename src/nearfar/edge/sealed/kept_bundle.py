"""The copy of a bundle that lies in the directory of a sealed file: by its name an interrupted change is told from a finished one."""

from __future__ import annotations

import shutil
from pathlib import Path

from nearfar.bundle import Bundle, BundleWriter
from nearfar.errors import StoreError

_PREFIX = "bundle-"
_OF_DIGEST = 16


def bundle_folder(directory: Path, digest: str) -> Path:
    """Where the bundle of a digest lies in a directory."""
    return directory / f"{_PREFIX}{digest[:_OF_DIGEST]}"


def put_bundle(directory: Path, bundle: Bundle) -> Bundle:
    """Copy a bundle into a directory.

    Raises:
        BundleError: the bundle has changed, or the disk is full.
    """
    with BundleWriter(bundle_folder(directory, bundle.digest)) as writer:
        return writer.copy(bundle)


def only_bundle(directory: Path, noun: str) -> Bundle:
    """The bundle in a directory, found without the key of what is sealed there.

    Args:
        directory: of the sealed file.
        noun: what it is, for the message.

    Raises:
        StoreError: there is none, or one has not wholly taken the place of another.
        BundleError: it is damaged.
    """
    found = sorted(directory.glob(f"{_PREFIX}*"))
    if len(found) != 1:
        why = "a change of its bundle was interrupted: open it once, and try again" if found else "it has no bundle"
        raise StoreError(f"{directory}: is no directory of a {noun}, or {why}")
    return Bundle.open(found[0])


def drop_other_bundles(directory: Path, digest: str) -> None:
    """Remove what is left of the bundles that a directory had before; the caller keeps others from changing it."""
    for place in directory.glob(f"*{_PREFIX}*"):
        if place != bundle_folder(directory, digest):
            shutil.rmtree(place, ignore_errors=True)
