"""What was tried, in a chain that shows if an entry was taken out, changed or put in.

An entry is a line of JSON with the time, what was asked for, of whom (a tag, no name) and how it ended; no score and no sample. A
random salt makes its digest tell nothing. The vault keeps it sealed, and beside it the digest. Each link is

    SHA-256(link before || SHA-256(entry) || SHA-256(sealed entry))

so the chain can be followed without the key, and an export that shows the entries is bound to the same chain.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.errors import StoreError
from nearfar.index.derived_file import derived_file

_FORMAT = "nearfar audit 1"
_SALT_BYTES = 16
_ROOM = 256  # bytes that the text is filled up to a multiple of: its length does not tell how an attempt ended


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that happened.

    Attributes:
        number: from 1, without gaps.
        time: seconds since 1970, by the device's wall clock as it was set then; the order is that of the numbers.
        kind: `create`, `enroll`, `renew`, `verify`, `identify`, `revoke`, `unlock`, `adopt`.
        tag: of whom; the same for the same name in the same vault, and empty where it is of nobody.
        result: `match`, `no match`, `wait`, `disabled`, `quality`, or `done`.
        left_out: like entries that were not written before this one, because they came too fast.
        identity: the name, where the tag is of somebody who is enrolled now.
    """

    number: int
    time: float
    kind: str
    tag: str
    result: str
    left_out: int = 0
    identity: str | None = None


def entry_text(entry: AuditEntry) -> bytes:
    """The line that is sealed: all but the name, and a salt."""
    content = {
        "number": entry.number,
        "time": entry.time,
        "kind": entry.kind,
        "tag": entry.tag,
        "result": entry.result,
        "left_out": entry.left_out,
        "salt": secrets.token_hex(_SALT_BYTES),
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ROOM)


def read_entry(text: bytes) -> AuditEntry:
    """The entry of a line.

    Raises:
        ValueError: it is none.
    """
    names = ("number", "time", "kind", "tag", "result", "left_out")
    content = _fields(text, *names, "salt")
    return AuditEntry(**{name: content[name] for name in names})


def beginning(vault: bytes) -> bytes:
    """The link before the first entry of a vault."""
    return hashlib.sha256(_FORMAT.encode() + vault).digest()


def next_link(before: bytes, digest: bytes, sealed: bytes) -> bytes:
    """The link of an entry.

    Args:
        before: link of the entry before, 32 bytes.
        digest: SHA-256 of the entry's text.
        sealed: as it is kept.
    """
    return hashlib.sha256(before + digest + hashlib.sha256(sealed).digest()).digest()


@dataclass(frozen=True, slots=True)
class ExportCheck:
    """What a sound export is of.

    Attributes:
        vault: whose entries they are, hexadecimal.
        first: number of the first entry; above 1 where the vault has dropped older ones.
        last: number of the last one.
        link: of the last one, hexadecimal. It is worth comparing with what the vault itself says (`Verifier.audit_link`): a chain
            that was forged from its beginning is sound in itself.
    """

    vault: str
    first: int
    last: int
    link: str


def write_export(
    path: Path, vault: bytes, first: int, before: bytes, lines: Iterable[tuple[bytes, bytes]]
) -> ExportCheck:
    """Write the entries of a vault as JSONL, which `verify_export` checks.

    Args:
        path: of the file, which is replaced.
        vault: identifier.
        first: number of the first entry.
        before: link before it.
        lines: text and sealed form of each entry, in their order.

    Raises:
        StoreError: the file cannot be written.
    """
    link, last = before, first - 1
    try:
        with derived_file(path) as file:
            file.write(_line({"format": _FORMAT, "vault": vault.hex(), "first": first, "before": before.hex()}))
            for text, sealed in lines:
                last += 1
                link = next_link(link, hashlib.sha256(text).digest(), sealed)
                file.write(_line({"entry": text.decode(), "sealed": sealed.hex(), "link": link.hex()}))
            file.write(_line({"last": last, "link": link.hex()}))
    except OSError as error:
        raise StoreError(f"{path}: the audit log cannot be written there: {error.strerror or error}") from error
    return ExportCheck(vault.hex(), first, last, link.hex())


def verify_export(path: str | Path, *, link: str | None = None) -> ExportCheck:
    """Compute the chain of an exported audit log again; no key is needed.

    Args:
        path: what `export_audit` wrote.
        link: of the last entry, as the vault told it or as an earlier export ended; None to check the file only in itself.

    Raises:
        StoreError: a line was changed, left out, put in or cut off, or the file ends with another link.
    """
    where = Path(path)
    try:
        head, *lines = where.read_bytes().split(b"\n")
    except OSError as error:
        raise StoreError(f"{where}: cannot be read: {error.strerror or error}") from error
    number = 1
    try:
        opening = _fields(head, "format", "vault", "first", "before")
        if opening["format"] != _FORMAT or lines.pop() != b"":
            raise ValueError("not the beginning or the end of an audit log")
        first = int(opening["first"])
        chained = before = bytes.fromhex(opening["before"])
        if first == 1 and before != beginning(bytes.fromhex(opening["vault"])):
            raise ValueError("not the beginning of this vault's log")
        closing = _fields(lines.pop(), "last", "link")
        for number, line in enumerate(lines, start=2):
            fields = _fields(line, "entry", "sealed", "link")
            text = str(fields["entry"]).encode()
            chained = next_link(chained, hashlib.sha256(text).digest(), bytes.fromhex(fields["sealed"]))
            if fields["link"] != chained.hex() or read_entry(text).number != first + number - 2:
                raise ValueError("the link does not follow from the one before")
        number += 1
        if closing != {"last": first + len(lines) - 1, "link": chained.hex()}:
            raise ValueError("the log does not end here")
    except (ValueError, TypeError, IndexError) as error:
        raise StoreError(
            f"{where}:{number}: the audit log was changed, or is incomplete ({error}); export it again from the vault"
        ) from error
    if link is not None and link != chained.hex():
        raise StoreError(
            f"{where}: ends with another link than the one that was given, so it is of another time or another vault, or was forged; "
            "export it again from the vault"
        )
    return ExportCheck(opening["vault"], first, first + len(lines) - 1, chained.hex())


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _fields(line: bytes, *names: str) -> dict[str, Any]:
    content = json.loads(line)
    if not isinstance(content, dict) or set(content) != set(names):
        raise ValueError(f"expected {', '.join(names)}")
    return content
