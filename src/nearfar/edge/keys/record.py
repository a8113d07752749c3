"""`key.json`: which rung of the ladder unlocks a key, and the key itself, encrypted under what that rung keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nearfar.errors import KeyUnavailableError
from nearfar.index.derived_file import derived_file

RECORD_FILE = "key.json"

_MAX_BYTES = 65_536

Hex = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{2})+$")]
"""Bytes as hexadecimal digits."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeystoreRung(_Strict):
    """The keystore of the operating system has a secret under this name."""

    kind: Literal["keystore"] = "keystore"
    name: str

    def __str__(self) -> str:
        return f"keystore:{self.name}"


class CredentialRung(_Strict):
    """systemd hands the service a secret under this name."""

    kind: Literal["credential"] = "credential"
    name: str

    def __str__(self) -> str:
        return f"credential:{self.name}"


class PassphraseRung(_Strict):
    """The user knows a passphrase; these are the parameters of scrypt (RFC 7914).

    The upper bounds keep a planted record from taking all memory, 2 GiB at most.
    """

    kind: Literal["passphrase"] = "passphrase"
    n: Annotated[int, Field(ge=2**14, le=2**20)] = 2**16
    r: Annotated[int, Field(ge=8, le=16)] = 8
    p: Annotated[int, Field(ge=1, le=16)] = 2
    salt: Annotated[Hex, Field(min_length=32, max_length=128)]

    def __str__(self) -> str:
        return "passphrase"


class FileRung(_Strict):
    """A file that only its owner may read has the secret."""

    kind: Literal["file"] = "file"
    path: str

    def __str__(self) -> str:
        return f"file:{self.path}"


Rung = Annotated[KeystoreRung | CredentialRung | PassphraseRung | FileRung, Field(discriminator="kind")]


class KeyRecord(_Strict):
    """What `key.json` holds.

    Attributes:
        format: of this file.
        id: random, of the key.
        rung: what unlocks it.
        wrapped: the key, encrypted with AES-256-GCM; the other fields are authenticated with it.
    """

    format: Literal[1] = 1
    id: str
    rung: Rung
    wrapped: Hex

    def about(self) -> bytes:
        """Everything but the wrapped key, in one spelling: what is authenticated with it."""
        return about(self.id, self.rung)


def about(key_id: str, rung: Rung) -> bytes:
    """What is authenticated with a wrapped key, so that a record cannot be put together from two."""
    fields = {"format": 1, "id": key_id, "rung": rung.model_dump(mode="json")}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def read_record(directory: Path) -> KeyRecord:
    """Read the record in `directory`.

    Raises:
        KeyUnavailableError: there is none, or it is damaged.
    """
    path = directory / RECORD_FILE
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES)
        return KeyRecord.model_validate_json(text)
    except FileNotFoundError as error:
        raise KeyUnavailableError(
            f"{path}: there is no such file, so nothing here is encrypted, or the file was lost; "
            "without it the data cannot be read, so put it back from a backup"
        ) from error
    except OSError as error:
        raise KeyUnavailableError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise KeyUnavailableError(
            f"{path}: damaged, or written by a newer nearfar ({place}: {first['msg']}); put it back from a backup"
        ) from None


def write_record(directory: Path, record: KeyRecord) -> None:
    """Make the record, or replace it; after a power cut it is either what it was or the new one.

    Raises:
        KeyUnavailableError: it could not be written; it is then what it was.
    """
    path = directory / RECORD_FILE
    try:
        with derived_file(path) as file:
            file.write(record.model_dump_json(indent=1).encode() + b"\n")
    except OSError as error:
        raise KeyUnavailableError(f"{path}: cannot be written: {error.strerror or error}") from error
