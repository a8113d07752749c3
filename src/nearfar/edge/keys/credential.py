"""The second rung: a systemd credential, which a service gets decrypted in memory (by the TPM or the host's key)."""

from __future__ import annotations

import os
from pathlib import Path

from nearfar.edge.keys.secret_text import parse_secret
from nearfar.errors import KeyUnavailableError

_FOLDER = "CREDENTIALS_DIRECTORY"
_MAX_BYTES = 4096


def credential_secret(name: str) -> bytes:
    """The secret that systemd hands this service under `name`, 32 bytes.

    Args:
        name: as in `LoadCredentialEncrypted=NAME:/etc/credstore.encrypted/NAME`.

    Raises:
        KeyUnavailableError: this process is no service with credentials, or it has no such one.
    """
    place = f"credential:{name}"
    folder = os.environ.get(_FOLDER)
    if not folder:
        raise KeyUnavailableError(
            f"{place}: systemd gave this process no credentials ({_FOLDER} is not set); run it as a service with "
            f"LoadCredentialEncrypted={name}, or by hand with: systemd-run -p LoadCredentialEncrypted={name}:FILE"
        )
    try:
        with (Path(folder) / name).open("rb") as file:
            data = file.read(_MAX_BYTES)
    except OSError as error:
        raise KeyUnavailableError(
            f"{place}: systemd gave this service no such credential ({error.strerror or error}); "
            f"add LoadCredentialEncrypted={name} to its unit"
        ) from error
    return parse_secret(data, place)
