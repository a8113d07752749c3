"""Whether the key of a vault is kept where its owner keeps it."""

from __future__ import annotations

from pathlib import Path

from nearfar.edge.keys.ladder import parse_spec
from nearfar.edge.keys.record import read_record
from nearfar.errors import KeyUnavailableError


def check_place(directory: Path, key: str) -> None:
    """Refuse a vault that says its key is elsewhere: it may be somebody else's vault, put in the place of the right one.

    Args:
        directory: of the vault.
        key: `keystore:NAME`, `credential:NAME`, `passphrase` or `file:PATH`.

    Raises:
        KeyUnavailableError: the key is kept elsewhere, `key` is no such place, or there is no record of it.
    """
    said, expected = str(read_record(directory).rung), str(parse_spec(key, directory))
    if said != expected:
        raise KeyUnavailableError(
            f"{directory}: its key is kept by {said}, and not by {expected} as you say; if you did not move it (`nearfar key move`), this is "
            "not your vault: put the whole directory back from a backup that you trust"
        )
