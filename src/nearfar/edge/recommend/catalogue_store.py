"""The catalogue of a device after updates: one file beside the history, replaced as a whole, so that a kill leaves the old one or the new.

    magic    b"NFCATAL1"
    length   of the header, u32, little-endian
    header   JSON: whose bundle's catalogue it is, the number of its latest update, sizes of the parts, the publisher's signature
    parts    names, vectors (int8), scales, popularity, prior, facts
    digest   SHA-256 of all before it, 32 bytes

It holds nothing of the user's, and is not sealed: everybody who has the bundle and the updates can make it. The digest tells a damaged
file, the signature, which came with the latest update, a forged one. That a genuine older one was put back is told by the history, whose
head says how many updates there were.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Final

from nearfar.bundle.bundle import Bundle
from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.catalogue_files import npy, packed_lines, read_npy, unpacked_lines
from nearfar.edge.recommend.delta import LARGEST, apply_delta, catalogue_statement, publisher_of, read_delta
from nearfar.edge.recommend.prior import Prior
from nearfar.edge.recommend.signing import is_signed
from nearfar.edge.store.failures import explained
from nearfar.errors import BundleError, DataError, StoreError
from nearfar.index.derived_file import derived_file

CATALOGUE_FILE: Final = "catalogue.bin"
LOCK_FILE: Final = "catalogue.lock"
_MAGIC: Final = b"NFCATAL1"
_LENGTH: Final = struct.Struct("<I")
_DIGEST_BYTES: Final = 32
_PATIENCE = 10.0  # seconds that another process may take to apply an update


class CatalogueStore:
    """The catalogue in one folder.

    Args:
        directory: of the recommender on the device; must be there.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.path = self.directory / CATALOGUE_FILE

    def load(self, bundle: Bundle) -> Catalogue:
        """The latest catalogue: what updates made of it, or that of the bundle where there was none, or where they were for another one.

        Raises:
            StoreError: the file is damaged.
            BundleError: the bundle is no recommender.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return Catalogue.open(bundle)
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot be read ({error.strerror or error}): check the permissions"
            ) from error
        try:
            found = _parsed(content, bundle, str(self.path))
        except (ValueError, TypeError, KeyError, struct.error, BundleError, RecursionError) as error:
            raise self._damaged(str(error)) from error
        if found is None:
            return Catalogue.open(bundle)
        catalogue, signature = found
        statement = catalogue_statement(bundle.digest, catalogue.sequence, catalogue.digest)
        if not is_signed(statement, signature, publisher_of(bundle), str(bundle.path)):
            raise self._damaged("its publisher has not signed it: somebody has put another one there")
        return catalogue

    def apply(self, bundle: Bundle, update: bytes | str | Path) -> Catalogue:
        """Take an update; when this returns it is on the medium.

        Args:
            bundle: of the recommender.
            update: the file, or its content. One that has been taken before changes nothing.

        Returns:
            The catalogue after it.

        Raises:
            DataError: it is no update for this bundle, not signed by its publisher, too old, or one between is missing.
            BundleError: the bundle takes no updates.
            StoreError: the folder cannot be written.
        """
        where, content = _content(update)
        delta = read_delta(content, bundle, where)
        with self._alone():
            before = self.load(bundle)
            after = apply_delta(bundle, before, delta, where)
            if after is not before:
                self.keep(bundle, after, delta.signature)
        return after

    def keep(self, bundle: Bundle, catalogue: Catalogue, signature: bytes) -> None:
        """Write a catalogue in the place of what was there.

        Args:
            bundle: that it is of.
            catalogue: after an update.
            signature: of its `catalogue_statement`.

        Raises:
            StoreError: the folder cannot be written; what was there is then as it was.
        """
        parts = [packed_lines(catalogue.names), npy(catalogue.codes), npy(catalogue.scales), npy(catalogue.popularity)]
        parts += [b"" if catalogue.prior is None else catalogue.prior.to_bytes(), packed_lines(catalogue.fact_lines)]
        header = {
            "bundle": bundle.digest,
            "sequence": catalogue.sequence,
            "items": len(catalogue),
            "facts": len(catalogue.fact_lines),
            "parts": [len(part) for part in parts],
            "signature": signature.hex(),
        }
        head = json.dumps(header).encode()
        content = b"".join([_MAGIC, _LENGTH.pack(len(head)), head, *parts])
        with explained(self.directory), derived_file(self.path) as file:
            file.write(content + hashlib.sha256(content).digest())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only process that applies an update here; SQLite's lock ends with its process."""
        with explained(self.directory), closing(sqlite3.connect(self.directory / LOCK_FILE, timeout=_PATIENCE)) as lock:
            lock.isolation_level = None
            lock.execute("BEGIN EXCLUSIVE")
            yield

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            f"{self.path}: is damaged ({why}): remove it, and apply the updates again from the first (nearfar catalogue apply)"
        )


def older_catalogue(directory: Path, sequence: int, known: int) -> StoreError:
    """The error for a catalogue that was put back to an older state, or taken away.

    Args:
        directory: of the recommender.
        sequence: number of the latest update that it has.
        known: number of the latest update that the history knows of.
    """
    has = f"has update {sequence}" if sequence else "is missing or of before all updates"
    rest = f"update {known}" if known == sequence + 1 else f"updates {sequence + 1} to {known}"
    return StoreError(
        f"{directory / CATALOGUE_FILE}: {has}, and update {known} was in use here before, so an older one was put back; apply {rest} again "
        "(nearfar catalogue apply), or open the directory with a newer bundle (--bundle)"
    )


def _content(update: bytes | str | Path) -> tuple[str, bytes]:
    """Where an update lies, for messages, and its bytes; a file that is too large is not read."""
    if isinstance(update, bytes):
        return "update", update
    path = Path(update)
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise DataError(
                f"{path}: {size:,} bytes are too large for an update (at most {LARGEST:,}): make a new bundle"
            )
        return str(path), path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _parsed(content: bytes, bundle: Bundle, where: str) -> tuple[Catalogue, bytes] | None:
    """The catalogue of a file and the signature of it; None where it is that of another bundle."""
    content, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if not content.startswith(_MAGIC) or hashlib.sha256(content).digest() != digest:
        raise ValueError("its content has another digest")
    (length,) = _LENGTH.unpack_from(content, len(_MAGIC))
    begin = len(_MAGIC) + _LENGTH.size
    header = json.loads(content[begin : begin + length])
    if header["bundle"] != bundle.digest:
        return None
    ends = list(accumulate(header["parts"], initial=begin + length))
    if len(ends) != 7 or ends[-1] != len(content):
        raise ValueError("it is cut off")
    names, codes, scales, popularity, prior, facts = (content[start:end] for start, end in pairwise(ends))
    count, dim = header["items"], bundle.manifest.dim
    catalogue = Catalogue(
        tuple(unpacked_lines(names, where, count)),
        read_npy(codes, where, "i1", (count, dim)),
        read_npy(scales, where, "<f2", (count,)),
        read_npy(popularity, where, "<f2", (count,)),
        Prior.from_bytes(prior, where, count) if prior else None,
        tuple(unpacked_lines(facts, where, header["facts"])),
        header["sequence"],
    )
    return catalogue, bytes.fromhex(header["signature"])
