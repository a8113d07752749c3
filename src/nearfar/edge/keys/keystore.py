"""The first rung: the keystore of the operating system (Keychain, Credential Manager, Secret Service, KWallet).

`keyring` takes whatever backend it finds. With `keyrings.alt` installed that can be a plain text file, and its null
backend says that all went well and keeps nothing. Both would be found out only by a thief or by the next start, so a
backend is used only if it is recommended by `keyring` itself, and only after the secret has been read back.
"""

from __future__ import annotations

import secrets
from typing import Any

from nearfar.edge.keys.key import KEY_BYTES
from nearfar.edge.keys.secret_text import parse_secret
from nearfar.errors import KeyUnavailableError, MissingExtraError

SERVICE = "nearfar"
_OTHERWISE = "choose another place for the key: passphrase, or credential:NAME for a systemd service"


def keystore_secret(name: str, *, create: bool) -> bytes:
    """The secret that the keystore has under `name`.

    Args:
        name: of the entry; the service is `nearfar`. Several indexes may share one.
        create: make a random one where there is none.

    Returns:
        32 bytes.

    Raises:
        KeyUnavailableError: there is no keystore that can be trusted, it is locked, or it has no such entry.
        MissingExtraError: `keyring` is not installed.
    """
    store = safe_keystore()
    place = f"keystore:{name}"
    kept = _asked(place, store, "get_password", SERVICE, name)
    if kept is None:
        if not create:
            raise KeyUnavailableError(
                f"{place}: {shown(store)} has no such entry for this user; log in as the user who made it, "
                "or put the entry back from a backup"
            )
        secret = secrets.token_bytes(KEY_BYTES)
        _asked(place, store, "set_password", SERVICE, name, secret.hex())
        if _asked(place, store, "get_password", SERVICE, name) != secret.hex():
            raise KeyUnavailableError(f"{place}: {shown(store)} did not keep what it was given; {_OTHERWISE}")
        return secret
    return parse_secret(kept.encode(), place)


def safe_keystore() -> Any:
    """The keystore that `keyring` would use, if it is one.

    Raises:
        KeyUnavailableError: it keeps its secrets in plain text, or not at all, or there is none.
        MissingExtraError: `keyring` is not installed.
    """
    try:
        import keyring
    except ImportError as error:
        raise MissingExtraError("encryption", "The keystore of the system") from error
    try:
        backend = keyring.get_keyring()
        # A chain asks its members in turn, so it may end at one that cannot be trusted: the first good one is taken alone.
        members = list(getattr(backend, "backends", [backend]))
        refused = [reason for member in members if (reason := _objection(member))]
        good = [member for member in members if not _objection(member)]
    except Exception as error:
        # A backend is a plug-in, perhaps named in the environment by mistake: it may fail in any way as it is loaded.
        raise KeyUnavailableError(
            f"the keystore of this system cannot be used ({type(error).__name__}); {_OTHERWISE}"
        ) from error
    if not good:
        raise KeyUnavailableError(f"{'; '.join(refused) or 'this system has no keystore'}; {_OTHERWISE}")
    return good[0]


def shown(backend: Any) -> str:
    """The name of a backend for a message."""
    return f"{type(backend).__module__}.{type(backend).__qualname__}"


def _objection(backend: Any) -> str:
    lineage = " ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in type(backend).__mro__).lower()
    if "plaintext" in lineage:
        return f"{shown(backend)} writes secrets to a plain text file"
    if any(f"keyring.backends.{empty}." in lineage for empty in ("null", "fail", "chainer")):
        return "this system has no keystore that keyring knows, or none is running"
    # keyring's own line between backends that it recommends and those that are there for want of a better one.
    if backend.priority < 1:
        return f"{shown(backend)} is not one that keyring recommends"
    return ""


def _asked(place: str, store: Any, method: str, *arguments: str) -> str | None:
    try:
        answer: str | None = getattr(store, method)(*arguments)
    except Exception as error:
        # Backends raise errors of many libraries. Their text is left out: it may quote what was to be kept.
        raise KeyUnavailableError(
            f"{place}: {shown(store)} refused ({type(error).__name__}); unlock it and try again, or {_OTHERWISE}"
        ) from None
    return answer
