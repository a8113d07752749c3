"""Opening a bundle: every file is checked against its digest before anything reads it, and nothing in it is executed."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nearfar.bundle.manifest import Manifest, read_manifest
from nearfar.errors import BundleError

MANIFEST: Final = "manifest.json"
SUMS: Final = "SHA256SUMS"
CARD: Final = "card.md"

_MAX_MANIFEST = 16 * 2**20
_MAX_SUMS = 2**20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")
_SUMS_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
# What file managers leave behind in a folder that somebody looked into; nearfar never reads them.
_DROPPINGS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, eq=False)
class Bundle:
    """A checked bundle.

    Attributes:
        path: its directory.
        manifest: what it says about itself.
        sums: file name -> SHA-256 in hex, for every file but SHA256SUMS itself.
        digest: SHA-256 of SHA256SUMS in hex: two bundles with the same digest are the same in every byte.
        size_bytes: of all its files together.
    """

    path: Path
    manifest: Manifest
    sums: Mapping[str, str]
    digest: str
    size_bytes: int

    @classmethod
    def open(cls, path: str | Path, verify: bool = True) -> Bundle:
        """Open the bundle in the directory `path`.

        Args:
            path: the directory.
            verify: read every file and compare it with SHA256SUMS. Without it, only presence and shape are checked
                here; what is read later is compared all the same.

        Raises:
            BundleError: it is missing, incomplete, altered, too new or unsafe; the message names the file.
        """
        directory = Path(path)
        if not directory.is_dir():
            what = "is a file, not a bundle directory" if directory.exists() else "there is no such bundle"
            raise BundleError(f"{directory}: {what}: give the directory that the export wrote (it holds {MANIFEST})")
        _check_is_no_run(directory)
        sums_content = _read(directory, SUMS, _MAX_SUMS)
        sums = _parse_sums(sums_content, directory / SUMS)
        if MANIFEST not in sums:
            raise BundleError(f"{directory / SUMS}: does not list {MANIFEST}: export the bundle again")
        _check_presence(directory, sums)
        manifest_content = _read(directory, MANIFEST, _MAX_MANIFEST)
        # The manifest is parsed before its digest is compared: "format 2 is newer" says more than "altered".
        manifest = read_manifest(manifest_content, str(directory / MANIFEST))
        _compare(directory / MANIFEST, manifest_content, sums[MANIFEST])
        if absent := sorted(manifest.file_names - sums.keys()):
            raise BundleError(
                f"{directory / MANIFEST}: names {', '.join(absent)}, which {SUMS} does not list: export the bundle again"
            )
        if verify:
            for name, expected in sums.items():
                _compare_file(directory / name, expected)
        size = len(sums_content) + sum((directory / name).stat().st_size for name in sums)
        return cls(directory, manifest, sums, hashlib.sha256(sums_content).hexdigest(), size)

    def read(self, name: str) -> bytes:
        """Return the content of the file `name`, compared with its digest at this very reading.

        Raises:
            BundleError: the bundle has no such file, or it has changed.
        """
        if name == SUMS:
            listing = _read(self.path, SUMS, _MAX_SUMS)
            _compare(self.path / SUMS, listing, self.digest)
            return listing
        if name not in self.sums:
            raise BundleError(f"{self.path}: the bundle has no file {name!r}; it has {', '.join(sorted(self.sums))}")
        content = _read(self.path, name)
        _compare(self.path / name, content, self.sums[name])
        return content


def _check_is_no_run(directory: Path) -> None:
    """Refuse the directory of a training run, which holds its bundle in a directory of its own."""
    if not (directory / "recipe.yaml").is_file() or (directory / MANIFEST).exists():
        return
    inner = directory / "bundle"
    if (inner / MANIFEST).is_file():
        raise BundleError(f"{directory}: is a run, and its bundle is a directory in it: give {inner}")
    if (directory / "fit.json").is_file():
        raise BundleError(f"{directory}: is a run without a bundle: make one with nearfar export {directory}")


def check_name(name: str, where: str | Path) -> None:
    """Refuse a file name that is anything but one plain name in the bundle's own folder.

    Raises:
        BundleError: the name has a separator, is hidden, absolute, or too long.
    """
    if not _PLAIN_NAME.fullmatch(name):
        raise BundleError(
            f"{where}: unsafe file name {name[:200]!r}: a bundle holds plain files in one folder, so do not trust this one"
        )


def _regular_file(directory: Path, name: str) -> Path:
    """Return the path of `name` if it is a regular file that lies inside `directory`, also through symbolic links."""
    path = directory / name
    try:
        resolved = path.resolve(strict=True)
        mode = resolved.stat().st_mode
    except (OSError, RuntimeError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise BundleError(f"{path}: {reason}: the bundle is incomplete, copy or export it again") from error
    if not resolved.is_relative_to(directory.resolve()):
        raise BundleError(
            f"{path}: is a link out of the bundle: copy the file itself into the bundle, or do not trust it"
        )
    if not stat.S_ISREG(mode):
        raise BundleError(f"{path}: is not a regular file: a bundle holds plain files only, copy or export it again")
    return path


def _read(directory: Path, name: str, limit: int | None = None) -> bytes:
    """Read a regular file of the bundle, refusing one of more than `limit` bytes without reading it."""
    path = _regular_file(directory, name)
    if limit is not None and (size := path.stat().st_size) > limit:
        raise BundleError(
            f"{path}: {size:,} bytes, more than the {limit:,} that such a file may have: do not trust this bundle"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}): check the permissions and the medium") from error


def _parse_sums(content: bytes, where: Path) -> dict[str, str]:
    """Parse the output format of `sha256sum`."""
    sums: dict[str, str] = {}
    *lines, rest = content.decode("utf-8", "replace").split("\n")  # splitlines() would take other characters for an end
    if rest:
        raise BundleError(f"{where}: is cut off in its last line: copy or export the bundle again")
    for number, line in enumerate(lines, start=1):
        match = _SUMS_LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"{where}:{number}: not a line of sha256sum: copy or export the bundle again")
        expected, name = match.groups()
        check_name(name, f"{where}:{number}")
        if name in sums or name == SUMS:
            raise BundleError(f"{where}:{number}: {name} is listed twice or lists itself: export the bundle again")
        sums[name] = expected
    return sums


def _check_presence(directory: Path, sums: Mapping[str, str]) -> None:
    """Every listed file is there, and no file is there that is not listed."""
    for name in sums:
        _regular_file(directory, name)
    found = {entry.name for entry in directory.iterdir()}
    if extra := sorted(found - sums.keys() - {SUMS} - _DROPPINGS):
        raise BundleError(
            f"{directory}: holds {', '.join(extra[:5])}, which {SUMS} does not list: "
            "move what you put there out of the bundle, or copy it again"
        )


def _compare(path: Path, content: bytes, expected: str) -> None:
    """Refuse content whose digest is not the listed one."""
    if hashlib.sha256(content).hexdigest() != expected:
        raise _altered(path)


def _compare_file(path: Path, expected: str) -> None:
    """The same for a file, without holding it in memory."""
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                raise _altered(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}): check the permissions and the medium") from error


def _altered(path: Path) -> BundleError:
    return BundleError(
        f"{path}: altered, truncated or damaged (its SHA-256 is not the recorded one): copy or export the bundle again"
    )
