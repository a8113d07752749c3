"""The ladder of places that unlock a key, strongest first.

    keystore:NAME     the keystore of the operating system, checked by reading back
    credential:NAME   a systemd credential (TPM or host key), for services
    passphrase        asked at the terminal, or in the environment as NEARFAR_PASSPHRASE
    file:PATH         a file of mode 0600 elsewhere; only for whoever asks for it by this word

The key of the data is random and never changes. What a rung keeps, or what scrypt makes of the passphrase, encrypts it
in `key.json`. So the passphrase or the rung can change without touching the data, and several indexes may share a rung.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from nearfar.edge.keys.credential import credential_secret
from nearfar.edge.keys.key import Key
from nearfar.edge.keys.keyfile import keyfile_secret
from nearfar.edge.keys.keystore import keystore_secret
from nearfar.edge.keys.passphrase import Ask, Asked, ask_at_terminal, check_new, passphrase_secret
from nearfar.edge.keys.primitives import unwrap
from nearfar.edge.keys.record import (
    RECORD_FILE,
    CredentialRung,
    FileRung,
    KeyRecord,
    KeystoreRung,
    PassphraseRung,
    Rung,
    about,
    read_record,
    write_record,
)
from nearfar.errors import KeyUnavailableError, NearfarError

_SPECS = "keystore:NAME, credential:NAME, passphrase or file:PATH"
_PROTECTS = {
    "keystore": "needs this user's login",
    "credential": "needs this machine's systemd",
    "passphrase": "needs the passphrase",
    "file": "weak: whoever copies the key file as well can read everything",
}


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """How a key is kept.

    Attributes:
        rung: the place that unlocks it, as a spec.
        protection: what a thief of the folder still needs.
        available: whether the place gives its secret now; None for a passphrase, which only its user knows.
        problem: why it cannot, for people; empty where it can.
    """

    rung: str
    protection: str
    available: bool | None
    problem: str


def has_key(directory: Path) -> bool:
    """Whether the data in `directory` is encrypted: it has a key record."""
    return (directory / RECORD_FILE).exists()


def create_key(directory: Path, spec: str, *, ask: Ask = ask_at_terminal) -> Key:
    """Make the key for data that will lie in `directory`.

    Args:
        directory: must be there; gets `key.json`, without which the data is lost.
        spec: the rung: `keystore:NAME`, `credential:NAME`, `passphrase` or `file:PATH`.
        ask: called for the passphrase.

    Raises:
        KeyUnavailableError: there is a key already, or the rung cannot be used; nothing was changed.
        MissingExtraError: the packages of the extra `encryption` are not installed.
    """
    if has_key(directory):
        raise KeyUnavailableError(f"{directory}: has a key already; to change how it is unlocked: nearfar key move")
    key = Key.random()
    _keep(key, secrets.token_hex(16), directory, parse_spec(spec, directory), ask)
    return key


def open_key(directory: Path, *, ask: Ask = ask_at_terminal) -> Key:
    """Unlock the key of the data in `directory`.

    Args:
        directory: with the `key.json` that `create_key` wrote.
        ask: called for the passphrase, where that is the rung.

    Raises:
        KeyUnavailableError: no record, a damaged one, a wrong passphrase, or a rung that cannot be reached.
        MissingExtraError: the packages of the extra `encryption` are not installed.
    """
    return _unlock(directory, read_record(directory), ask)


def key_if_any(directory: Path, *, ask: Ask | Key | None = None) -> Key | None:
    """Unlock the key of the data in `directory`; None where the data is not encrypted.

    Args:
        directory: of the data.
        ask: called for the passphrase, by default at the terminal; or the key itself, where it has been unlocked before.

    Raises:
        KeyUnavailableError: as `open_key`.
        MissingExtraError: as `open_key`.
    """
    if not has_key(directory):
        return None
    return ask if isinstance(ask, Key) else open_key(directory, ask=ask or ask_at_terminal)


def change_passphrase(directory: Path, *, ask: Ask = ask_at_terminal) -> None:
    """Give the key another passphrase. The data is not touched, and older copies of `key.json` keep the old one.

    Raises:
        KeyUnavailableError: another rung is in use, or a passphrase is wrong or too short; nothing was changed.
    """
    record = read_record(directory)
    if not isinstance(record.rung, PassphraseRung):
        raise KeyUnavailableError(
            f"{directory}: the key is unlocked by {record.rung}, not by a passphrase; to use one: "
            f"nearfar key move {directory} passphrase"
        )
    key = _unlock(directory, record, ask)
    _keep(key, record.id, directory, _passphrase_rung(), ask, which="next")


def move_key(directory: Path, spec: str, *, ask: Ask = ask_at_terminal) -> None:
    """Let another rung unlock the key from now on. What the old rung keeps stays there: other data may need it.

    Raises:
        KeyUnavailableError: one of the two rungs cannot be used; nothing was changed.
    """
    record = read_record(directory)
    rung = parse_spec(spec, directory)
    key = _unlock(directory, record, ask)
    _keep(key, record.id, directory, rung, ask, which="next" if isinstance(record.rung, PassphraseRung) else "first")


def key_status(directory: Path) -> KeyStatus:
    """How the key in `directory` is kept; no passphrase is asked for, but a keystore may want to be unlocked.

    Raises:
        KeyUnavailableError: there is no key record, or it is damaged.
    """
    rung = read_record(directory).rung
    available: bool | None = None
    problem = ""
    if not isinstance(rung, PassphraseRung):
        try:
            _secret(rung, create=False)
            available = True
        except NearfarError as error:
            available, problem = False, str(error)
    return KeyStatus(str(rung), _PROTECTS[rung.kind], available, problem)


def parse_spec(spec: str, directory: Path) -> Rung:
    """Read a key spec.

    Args:
        spec: `keystore:NAME`, `credential:NAME`, `passphrase` or `file:PATH`.
        directory: of the data; a key file must not lie in it.

    Raises:
        KeyUnavailableError: it is none of these.
    """
    word, _, name = spec.partition(":")
    if spec == "passphrase":
        return _passphrase_rung()
    if word == "passphrase":
        # The message does not repeat the spec: what follows the colon may be the passphrase itself.
        raise KeyUnavailableError("a passphrase is not given in the command; say passphrase alone, and it is asked for")
    if word == "keystore" and name:
        return KeystoreRung(name=name)
    if word == "credential" and name and "/" not in name and name not in {".", ".."}:
        return CredentialRung(name=name)
    if word == "file" and name:
        path = Path(name).expanduser().absolute()
        if path.resolve().is_relative_to(directory.resolve()):
            raise KeyUnavailableError(
                f"{spec}: lies in {directory}, with the data it is to protect; keep the key file elsewhere"
            )
        return FileRung(path=str(path))
    raise KeyUnavailableError(f"the place of the key is not one of {_SPECS}; spell it like one of them")


def _passphrase_rung() -> PassphraseRung:
    return PassphraseRung(salt=secrets.token_hex(16))


def _secret(rung: KeystoreRung | CredentialRung | FileRung, *, create: bool) -> bytes:
    if isinstance(rung, KeystoreRung):
        return keystore_secret(rung.name, create=create)
    if isinstance(rung, CredentialRung):
        return credential_secret(rung.name)
    return keyfile_secret(Path(rung.path), create=create)


def _keep(key: Key, key_id: str, directory: Path, rung: Rung, ask: Ask, *, which: Asked = "first") -> None:
    if isinstance(rung, PassphraseRung):
        passphrase = ask(which)
        check_new(passphrase)
        under = passphrase_secret(passphrase, rung)
    else:
        under = _secret(rung, create=True)
    wrapped = key.wrapped(under, about(key_id, rung))
    write_record(directory, KeyRecord(id=key_id, rung=rung, wrapped=wrapped.hex()))


def _unlock(directory: Path, record: KeyRecord, ask: Ask) -> Key:
    rung = record.rung
    if isinstance(rung, PassphraseRung):
        under = passphrase_secret(ask("present"), rung)
        wrong = "the passphrase is wrong"
    else:
        under = _secret(rung, create=False)
        wrong = f"{rung} has another key than the one that was used here"
    secret = unwrap(bytes.fromhex(record.wrapped), under, record.about())
    if secret is None:
        raise KeyUnavailableError(f"{directory}: {wrong} (or {RECORD_FILE} was changed); nothing was unlocked")
    return Key(secret)
