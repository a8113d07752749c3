"""Whether the key of a sealed directory is kept where its owner keeps it."""

from __future__ import annotations

from pathlib import Path

from nearfar.edge.keys.ladder import parse_spec
from nearfar.edge.keys.record import read_record
from nearfar.errors import KeyUnavailableError


def check_place(directory: Path, key: str, noun: str) -> None:
    """Refuse a directory that says its key is elsewhere: it may be somebody else's, put in the place of the right one.

    Args:
        directory: with `key.json`.
        key: `keystore:NAME`, `credential:NAME`, `passphrase` or `file:PATH`.
        noun: what it is, for the message.

    Raises:
        KeyUnavailableError: the key is kept elsewhere, `key` is no such place, or there is no record of it.
    """
    said, expected = str(read_record(directory).rung), str(parse_spec(key, directory))
    if said != expected:
        raise KeyUnavailableError(
            f"{directory}: its key is kept by {said}, and not by {expected} as you say; if you did not move it (`nearfar key move`), this is "
            f"not your {noun}: put the whole directory back from a backup that you trust"
        )
