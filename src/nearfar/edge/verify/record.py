"""A template with what belongs to it, and the sealed row that it is in a vault."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.edge.verify.seal import Seal, row_digest

_ROOM = 512  # bytes that details are filled up to a multiple of: a name's length is not told

Row = tuple[bytes, int, bytes, bytes]
"""Tag, version, details, template; the last two sealed."""


@dataclass(frozen=True, slots=True)
class Record:
    """A template, opened.

    Attributes:
        identity: the name; empty of the stand-in.
        version: 1 for the first, and 1 more with each renewal.
        seed: of the rotation, 32 bytes.
        template: int8 (L,).
        enrolled: when, in seconds since 1970.
        samples: that it was made of.
        cohort: mean and deviation of what the template scores with the bundle's cohort; None without one.
    """

    identity: str
    version: int
    seed: bytes
    template: npt.NDArray[np.int8]
    enrolled: float
    samples: int
    cohort: tuple[float, float] | None


def sealed_row(seal: Seal, encoder: str, tag: bytes, record: Record) -> Row:
    """The row of a record.

    Args:
        seal: of the vault.
        encoder: digest of the encoder that the template is of.
        tag: of the identity.
        record: to seal.
    """
    details = {
        "identity": record.identity,
        "seed": record.seed.hex(),
        "enrolled": record.enrolled,
        "samples": record.samples,
        "cohort": record.cohort,
    }
    text = json.dumps(details, ensure_ascii=False).encode()
    about = (tag, encoder.encode(), struct.pack(">Q", record.version))
    return (
        tag,
        record.version,
        seal.seal("details", text + b" " * (-len(text) % _ROOM), *about),
        seal.seal("template", record.template.tobytes(), *about),
    )


def opened_row(seal: Seal, encoder: str, row: Row) -> Record | None:
    """The record of a row; None where it is of another identity, encoder, version or vault, or was changed."""
    tag, version, details, template = row
    about = (tag, encoder.encode(), struct.pack(">Q", version))
    plain = seal.open("details", details, *about)
    values = seal.open("template", template, *about)
    if plain is None or values is None:
        return None
    content: dict[str, Any] = json.loads(plain)
    return Record(
        identity=content["identity"],
        version=version,
        seed=bytes.fromhex(content["seed"]),
        template=np.frombuffer(values, dtype=np.int8).copy(),
        enrolled=content["enrolled"],
        samples=content["samples"],
        cohort=None if content["cohort"] is None else (content["cohort"][0], content["cohort"][1]),
    )


def is_row(row: Sequence[Any]) -> bool:
    """Whether what the file gave has the types of a row, which SQLite does not see to."""
    tag, version, details, template = row
    return all(isinstance(part, bytes) for part in (tag, details, template)) and type(version) is int and version >= 0


def digest_of(row: Sequence[Any]) -> bytes:
    """Digest of a row; empty of what is none."""
    return row_digest(*row) if is_row(row) else b""
