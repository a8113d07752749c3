"""The last rung: a file that only its owner may read. It protects a copied index, not a copied disk."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from nearfar.edge.keys.key import KEY_BYTES
from nearfar.edge.keys.secret_text import parse_secret
from nearfar.errors import KeyUnavailableError

_MAX_BYTES = 4096


def keyfile_secret(path: Path, *, create: bool) -> bytes:
    """The secret in a file, 32 bytes.

    Args:
        path: of the file.
        create: make it, with a random secret and mode 0600, where there is none.

    Raises:
        KeyUnavailableError: others may read it, or it is not there, or holds no key.
    """
    place = f"file:{path}"
    if os.name != "posix":
        raise KeyUnavailableError(
            f"{place}: who may read a file cannot be told on this system; use keystore:NAME or passphrase"
        )
    try:
        if create and not path.exists():
            _make(path)
        with path.open("rb") as file:
            # Of the open file, so that it cannot be exchanged between the question and the reading.
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise KeyUnavailableError(f"{place}: is not a regular file")
            if found.st_uid not in {os.geteuid(), 0}:
                raise KeyUnavailableError(
                    f"{place}: belongs to another user; a key file belongs to the one who uses it"
                )
            if found.st_mode & 0o077:
                raise KeyUnavailableError(
                    f"{place}: others may read or change it (mode {stat.S_IMODE(found.st_mode):04o}), so its key may be "
                    f"known; if it is not, say: chmod 600 {path}"
                )
            data = file.read(_MAX_BYTES)
    except FileNotFoundError as error:
        raise KeyUnavailableError(f"{place}: there is no such file; put it back from a backup") from error
    except OSError as error:
        raise KeyUnavailableError(f"{place}: cannot be used: {error.strerror or error}") from error
    return parse_secret(data, place)


def _make(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(KEY_BYTES).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
