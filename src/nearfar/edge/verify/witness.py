"""A file elsewhere that says how far a vault has come, so that an old copy of the whole vault is told from the present one.

Whoever can write the vault's medium can put back all of it as it was: with it failures are forgotten, and identities that were revoked
are there again. Nothing in the vault can show that. A witness on another medium can, for one who cannot write that medium too: a
network share, a smart card's file system, a partition of another user. Who can put back both at once is not found.
"""

from __future__ import annotations

import hmac
import json
from pathlib import Path

from nearfar.edge.verify.seal import Seal
from nearfar.errors import StoreError
from nearfar.index.derived_file import derived_file

_MAX_BYTES = 4096


def read_witness(path: Path, seal: Seal) -> int | None:
    """How many changes of the vault the witness has seen; None where there is no file.

    Raises:
        StoreError: it is of another vault, was changed, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
        counter = content["counter"]
        genuine = (
            type(counter) is int
            and 0 <= counter < 2**63
            and content["vault"] == seal.identifier.hex()
            and hmac.compare_digest(bytes.fromhex(content["mark"]), seal.mark(counter))
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"{path}: the witness cannot be read: {error.strerror or error}; connect its medium"
        ) from error
    except (ValueError, TypeError, KeyError):
        genuine = False
    if not genuine:
        raise StoreError(
            f"{path}: is not the witness of this vault, or was changed; give the right file, or, if you are sure that the vault is the "
            "present one, make a new witness"
        )
    return int(counter)


def write_witness(path: Path, seal: Seal, counter: int) -> None:
    """Note how many changes there were; after a power cut the file is what it was or the new one.

    Raises:
        StoreError: it cannot be written.
    """
    content = {"vault": seal.identifier.hex(), "counter": counter, "mark": seal.mark(counter).hex()}
    try:
        with derived_file(path) as file:
            file.write(json.dumps(content).encode() + b"\n")
    except OSError as error:
        raise StoreError(
            f"{path}: the witness cannot be written ({error.strerror or error}), so nothing is answered; connect its medium and try again"
        ) from error
