"""The key of a sealed directory: only of one that is whole, and only where its owner keeps it."""

from __future__ import annotations

from pathlib import Path

from nearfar.edge.keys import Ask, Key, has_key, open_key
from nearfar.edge.keys.ladder import parse_spec
from nearfar.edge.keys.record import read_record
from nearfar.errors import KeyUnavailableError, StoreError


def unlock(directory: Path, file: str, key: str | None, ask: Ask | Key, *, noun: str, otherwise: str) -> Key:
    """Unlock the key of a directory.

    Args:
        directory: with `key.json`.
        file: that it holds beside.
        key: where its owner keeps the key: `keystore:NAME`, `credential:NAME`, `passphrase` or `file:PATH`. Without it the directory is
            believed what it says of that.
        ask: called for the passphrase where that is what unlocks the key; or the key itself.
        noun: what it is, for the messages.
        otherwise: what to do where there is no backup, for the message.

    Raises:
        StoreError: a part of it is missing.
        KeyUnavailableError: the key cannot be unlocked, or is kept elsewhere than `key` says.
        MissingExtraError: the packages of the extra `encryption` are not installed.
    """
    if not (directory / file).is_file() or not has_key(directory):
        raise StoreError(
            f"{directory}: is no {noun}, or a part of one is missing (it holds {file} and key.json); put the whole directory back from a "
            f"backup, or {otherwise}"
        )
    if key is not None:
        _check_place(directory, key, noun)
    return ask if isinstance(ask, Key) else open_key(directory, ask=ask)


def _check_place(directory: Path, key: str, noun: str) -> None:
    """Refuse a directory that says its key is elsewhere: it may be somebody else's, put in the place of the right one."""
    said, expected = str(read_record(directory).rung), str(parse_spec(key, directory))
    if said != expected:
        raise KeyUnavailableError(
            f"{directory}: its key is kept by {said}, and not by {expected} as you say; if you did not move it (`nearfar key move`), this is "
            f"not your {noun}: put the whole directory back from a backup that you trust"
        )
