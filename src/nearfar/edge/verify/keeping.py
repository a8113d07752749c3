"""What whoever holds the key of a vault sees and does, without samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from nearfar.bundle import Bundle
from nearfar.edge.sealed.kept_bundle import bundle_folder, drop_other_bundles, put_bundle
from nearfar.edge.verify.attempts import IDENTIFICATION
from nearfar.edge.verify.audit import AuditEntry, ExportCheck, write_export
from nearfar.edge.verify.change import Change
from nearfar.edge.verify.clock import ForwardClock
from nearfar.edge.verify.enrolled import EnrolledIdentity
from nearfar.edge.verify.enrolment import EnrolmentError
from nearfar.edge.verify.vault import Vault
from nearfar.edge.verify.vault_bundle import encoder_digest, match_threshold
from nearfar.errors import BundleError


class Keeping:
    """Looks after an open vault.

    Args:
        vault: open and checked.
        clock: to tell the time by.
    """

    def __init__(self, vault: Vault, clock: ForwardClock) -> None:
        self._vault, self._clock = vault, clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the vault."""
        self._vault.close()

    @property
    def threshold(self) -> float:
        """Least score of a match.

        Raises:
            StoreError: the vault was tampered with.
        """
        with self._vault.change() as change:
            return change.head.threshold

    def adopt(self, bundle: str | Path | Bundle, *, threshold: float | None = None) -> None:
        """Take over the threshold of a bundle with the same encoder, as `nearfar calibrate` makes it; nobody enrols again.

        Args:
            bundle: the same weights, input and cohort as those that the templates are of.
            threshold: least score of a match, in place of the bundle's.

        Raises:
            BundleError: the bundle is of another encoder, is damaged, or has no threshold. Nothing was changed.
            DataError: the threshold is no number.
            StoreError: the vault was tampered with, or cannot be written.
        """
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        with self._changing() as (change, _):
            head = change.head
            if encoder_digest(opened, head.components) != head.encoder:
                raise BundleError(
                    f"{opened.path}: has another encoder than the vault {self._vault.directory}, and templates of one are of no use with "
                    "another: make a new vault with this bundle and enrol again, or calibrate the vault's own bundle "
                    f"({bundle_folder(self._vault.directory, head.bundle)})"
                )
            head.bundle, head.threshold = opened.digest, match_threshold(opened, threshold)
            put_bundle(self._vault.directory, opened)
            change.log("adopt", b"", "done")
        with self._vault.change() as change:
            drop_other_bundles(self._vault.directory, change.head.bundle)

    def revoke(self, identity: str) -> None:
        """Remove the template of an identity, and write over what is left of it in the file.

        Raises:
            EnrolmentError: nobody of that name is enrolled.
            StoreError: the vault was tampered with, or cannot be written; or it is revoked, and its sealed row is still in the file.
        """
        with self._changing() as (change, _):
            tag = self._tag_of(change, identity)
            change.remove(tag)
            change.log("revoke", tag, "done")

    def unlock(self, identity: str | None = None) -> None:
        """Forget the failures of an identity, and what the throttle of all failures and the clock have seen.

        Args:
            identity: the name; None for the failures of `identify`.

        Raises:
            EnrolmentError: nobody of that name is enrolled.
            StoreError: the vault was tampered with, or cannot be written.
        """
        with self._changing() as (change, _):
            tag = IDENTIFICATION if identity is None else self._tag_of(change, identity)
            change.head.clock = self._clock.anew()
            change.head.book.reset(tag)
            change.head.book.forget_times(change.head.clock.at)
            change.log("unlock", b"" if identity is None else tag, "done")

    def identities(self) -> list[EnrolledIdentity]:
        """Who is enrolled, by name.

        Raises:
            StoreError: the vault was tampered with.
        """
        with self._changing() as (change, now):
            found = []
            for tag in change.enrolled:
                record = change.record(tag)
                record.template.fill(0)
                standing = change.head.book.standing(tag, now)
                found.append(
                    EnrolledIdentity(
                        record.identity,
                        record.version,
                        record.enrolled,
                        record.samples,
                        change.head.book.failures(tag),
                        standing.reason,
                        standing.wait_seconds,
                    )
                )
        return sorted(found, key=lambda one: one.identity)

    def audit(self) -> list[AuditEntry]:
        """What was tried and done, oldest first.

        Raises:
            StoreError: the vault was tampered with.
        """
        with self._changing() as (change, _):
            names = {tag.hex(): change.record(tag).identity for tag in change.enrolled}
        return [
            AuditEntry(
                entry.number, entry.time, entry.kind, entry.tag, entry.result, entry.left_out, names.get(entry.tag)
            )
            for entry, _, _ in self._vault.audit()[1]
        ]

    def export_audit(self, path: str | Path) -> ExportCheck:
        """Write the audit log as JSONL that `verify_export` checks without a key; it holds tags and no names.

        Args:
            path: of the file, which is replaced.

        Returns:
            What it holds, and the link that it ends with.

        Raises:
            StoreError: the vault was tampered with, or the file cannot be written.
        """
        head, entries = self._vault.audit()
        lines = ((text, sealed) for _, text, sealed in entries)
        return write_export(Path(path), self._vault.seal.identifier, head.audit_first, head.audit_before, lines)

    @property
    def audit_link(self) -> str:
        """The link of the last entry of the audit log, to hold a later export to (`verify_export(path, link=...)`).

        Raises:
            StoreError: the vault was tampered with.
        """
        return self._vault.audit()[0].audit_link.hex()

    @contextmanager
    def _changing(self) -> Iterator[tuple[Change, float]]:
        """A transaction, and the time at which it happens."""
        with self._vault.change() as change:
            change.head.clock = self._clock.now(change.head.clock)
            yield change, change.head.clock.at

    def _tag_of(self, change: Change, identity: str) -> bytes:
        tag = self._vault.seal.tag(identity)
        if tag not in change.enrolled:
            raise EnrolmentError(
                f"{identity!r}: nobody of that name is enrolled; look who is, and how the name is spelt"
            )
        return tag
