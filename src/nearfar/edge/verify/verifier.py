"""Who is it, on the device: enrolment, verification and identification against sealed templates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle
from nearfar.edge.encoder import Encoder
from nearfar.edge.keys import Ask, Key, ask_at_terminal
from nearfar.edge.sealed.key_place import unlock
from nearfar.edge.verify.attempts import IDENTIFICATION, AttemptBook, AttemptPolicy
from nearfar.edge.verify.clock import ForwardClock
from nearfar.edge.verify.decision import Decision, Enrolment, Identification
from nearfar.edge.verify.enrolment import LEAST_SAMPLES, EnrolmentError, agreeing
from nearfar.edge.verify.head import Head
from nearfar.edge.verify.intake import Intake
from nearfar.edge.verify.keeping import Keeping
from nearfar.edge.verify.names import check_name
from nearfar.edge.verify.new_vault import first_head, make_vault
from nearfar.edge.verify.record import Record
from nearfar.edge.verify.scoring import Scoring
from nearfar.edge.verify.vault import Vault
from nearfar.edge.verify.vault_bundle import open_bundle
from nearfar.edge.verify.vault_file import VAULT_FILE
from nearfar.embedder import Item

Vectors = npt.NDArray[np.float32]


class Verifier(Keeping):
    """Enrols identities, and tells whether a sample is of one; threads and processes may share a vault.

    Every attempt is noted on the medium before it is answered. A name that nobody has is treated as one whose template does not match:
    with the same reads, comparisons and writes, and the same answer. What is compared is done without regard to values, but a Python
    process cannot promise equal times to the microsecond.

    Use `Verifier.create` and `Verifier.open`.
    """

    def __init__(
        self,
        bundle: Bundle,
        vault: Vault,
        head: Head,
        clock: ForwardClock,
        *,
        show_scores: bool,
        threads: int,
    ) -> None:
        super().__init__(vault, clock)
        self._show_scores = show_scores
        self._intake = Intake(Encoder(bundle, threads=threads))
        self._scoring = Scoring(bundle, head.components)

    @classmethod
    def create(
        cls,
        directory: str | Path,
        bundle: str | Path | Bundle,
        *,
        key: str = "passphrase",
        ask: Ask = ask_at_terminal,
        threshold: float | None = None,
        policy: AttemptPolicy | None = None,
        witness: str | Path | None = None,
        show_scores: bool = False,
        threads: int = 1,
        clock: ForwardClock | None = None,
    ) -> Self:
        """Make a vault, with a copy of the bundle in it, and open it.

        Args:
            directory: must not be there, or be empty.
            bundle: an encoder of pictures or of sound that was trained to tell identities apart.
            key: where the key is kept: `keystore:NAME`, `credential:NAME`, `passphrase` or `file:PATH`.
            ask: called for the passphrase.
            threshold: least score of a match, in place of the bundle's.
            policy: how many failures there may be; by default five, then delays, and fifty in all.
            witness: a file on another medium that is told of every change, so that an old copy of the vault is found out. Without it
                who can write the vault's medium can put the whole vault back to an earlier state.
            show_scores: give scores of refused samples too (of a name that nobody has, one by chance). Never where a stranger sees them.
            threads: CPU threads of the encoder.
            clock: to tell the time by.

        Raises:
            StoreError: there is something already, or it cannot be written.
            BundleError: the bundle is damaged, of another kind, or has no threshold.
            KeyUnavailableError: the key cannot be kept there.
            MissingExtraError: the packages of the extra `encryption` are not installed.
        """
        target, clock = Path(directory).absolute(), clock or ForwardClock()
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        head = first_head(opened, threshold, policy or AttemptPolicy(), clock.anew())
        Encoder(opened, threads=threads)  # what does not run is refused before anything is written
        secret = make_vault(target, opened, head, key, ask)
        return cls._opened(
            target, secret, witness, clock, renew_witness=witness is not None, show_scores=show_scores, threads=threads
        )

    @classmethod
    def open(
        cls,
        directory: str | Path,
        *,
        key: str | None = None,
        ask: Ask | Key = ask_at_terminal,
        witness: str | Path | None = None,
        renew_witness: bool = False,
        show_scores: bool = False,
        threads: int = 1,
        clock: ForwardClock | None = None,
    ) -> Self:
        """Open a vault, and hold everything in it to what was written.

        Args:
            directory: of the vault.
            key: where the key must be kept, as it was given to `create`. Without it the vault says itself where its key is, and who may
                write its medium can put a vault of his own there, with a key of his own.
            ask: called for the passphrase where that is what unlocks the key; or the key itself.
            witness: as in `create`; a vault that was used with one is not opened without. A vault that was not gets one by this.
            renew_witness: make the witness anew, where it is lost or the vault was put back from a backup on purpose.
            show_scores: as in `create`.
            threads: as in `create`.
            clock: as in `create`.

        Raises:
            StoreError: there is no vault, it is damaged, was tampered with, or is an old copy.
            BundleError: the bundle in it is damaged.
            KeyUnavailableError: the key cannot be unlocked, or is kept elsewhere than `key` says.
            MissingExtraError: the packages of the extra `encryption` are not installed.
        """
        target = Path(directory).absolute()
        secret = unlock(
            target,
            VAULT_FILE,
            key,
            ask,
            noun="vault of identities",
            otherwise="enrol the first identity with a bundle to make one",
        )
        return cls._opened(
            target,
            secret,
            witness,
            clock or ForwardClock(),
            renew_witness=renew_witness,
            show_scores=show_scores,
            threads=threads,
        )

    @classmethod
    def _opened(
        cls,
        target: Path,
        key: Key,
        witness: str | Path | None,
        clock: ForwardClock,
        *,
        renew_witness: bool,
        show_scores: bool,
        threads: int,
    ) -> Self:
        vault = Vault(target, key, witness=None if witness is None else Path(witness).absolute())
        try:
            vault.check(renew_witness=renew_witness)
            with vault.change() as change:  # no other process puts another bundle there meanwhile
                head = change.head
                bundle = open_bundle(target, head.bundle)
            return cls(bundle, vault, head, clock, show_scores=show_scores, threads=threads)
        except BaseException:
            vault.close()
            raise

    @property
    def bundle(self) -> Bundle:
        """The encoder that the templates are of; a copy in the vault."""
        return self._intake.encoder.bundle

    def enroll(
        self, identity: str, samples: Sequence[Item], *, renew: bool = False, allow_duplicate: bool = False
    ) -> Enrolment:
        """Make and store the template of an identity; the samples are not kept.

        Args:
            identity: its name, unique in the vault.
            samples: at least three, better five or more, of different moments.
            renew: it has a template, which this one replaces and makes useless.
            allow_duplicate: enrol also who matches somebody who is enrolled.

        Returns:
            What the template was made of, and what was left out.

        Raises:
            EnrolmentError: fewer than three samples are good and agree; the name is taken, or with `renew` is nobody's; or the samples
                match another identity. Nothing was changed.
            DataError: a sample cannot be read.
            StoreError: the vault was tampered with, or cannot be written.
        """
        check_name(identity)
        vectors, names, refused = self._intake.all(samples)
        try:
            threshold = self.threshold
            found = agreeing(vectors, names, self._score_of_group, threshold)
            refused += found.refused
            vectors = vectors[found.kept]
            if len(vectors) < LEAST_SAMPLES:
                raise EnrolmentError(
                    f"{identity!r}: {len(vectors)} of {len(samples)} samples can be used, and {LEAST_SAMPLES} are the least; give more"
                    + "".join(f"\n  {problem}" for problem in refused)
                )
            with self._changing() as (change, _):
                tag = self._vault.seal.tag(identity)
                known = tag in change.enrolled
                if known and not renew:
                    raise EnrolmentError(
                        f"{identity!r}: is enrolled already; renew the template (--renew, renew=True; the old one becomes useless), or choose another name"
                    )
                if renew and not known:
                    raise EnrolmentError(f"{identity!r}: nobody of that name is enrolled; enrol without renewing")
                others = [record for record in change.records() if record.identity != identity]
                if not allow_duplicate and (twin := self._twin(others, vectors, threshold)):
                    raise EnrolmentError(
                        f"{identity!r}: most of the samples match {twin!r}, who is enrolled already; if they are two, allow it "
                        "(--allow-duplicate, allow_duplicate=True), and know that one may pass as the other"
                    )
                version = change.record(tag).version + 1 if known else 1
                record = self._scoring.record(identity, vectors, version=version, now=change.head.clock.wall)
                change.put(tag, record)
                change.head.book.succeeded(tag)
                change.log("renew" if known else "enroll", tag, "done")
        except ValueError as error:
            raise EnrolmentError(f"{identity!r}: {error}; the samples are not of one identity, give others") from error
        finally:
            vectors.fill(0)
        return Enrolment(identity, record.samples, version, tuple(refused), found.agreement)

    def verify(self, identity: str, sample: Item) -> Decision:
        """Tell whether a sample is of an identity.

        Args:
            identity: the name that is claimed; it need not be enrolled.
            sample: a recording or a picture.

        Returns:
            The decision; noted on the medium when it is returned.

        Raises:
            DataError: the sample cannot be read; no attempt was counted.
            StoreError: the vault was tampered with, or cannot be written; nothing is decided.
        """
        vector, problem = self._intake.one(sample)
        tag = self._vault.seal.tag(identity)
        try:
            with self._changing() as (change, now):
                book = change.head.book
                reason, wait = book.standing(tag, now)
                if reason is not None:
                    change.log("verify", tag, reason, quiet=True)
                    return Decision(False, reason, _told(reason), wait_seconds=wait)
                if vector is None:
                    change.log("verify", tag, "quality", quiet=True)
                    return Decision(False, "quality", problem)
                enrolled = change.enrolled
                known = tag in enrolled
                record = change.record((self._vault.stand_in, tag)[known])
                score = float(self._scoring.scores([record], vector)[0])
                record.template.fill(0)
                accepted = (score >= change.head.threshold) & known
                _count(book, tag, now, enrolled, accepted=accepted)
                change.log("verify", tag, "match" if accepted else "no match")
        finally:
            _wipe(vector)
        shown = score if accepted or self._show_scores else None
        return Decision(accepted, "match" if accepted else "no match", score=shown)

    def identify(self, sample: Item) -> Identification:
        """Tell who, of all that are enrolled, a sample is of.

        One sample is held against everybody, so a stranger matches somebody the sooner the more are enrolled: about N times as often
        as in `verify`. An identity that waits or is disabled is not found.

        Args:
            sample: a recording or a picture.

        Returns:
            The identity of the best match, or None.

        Raises:
            DataError: the sample cannot be read; no attempt was counted.
            StoreError: the vault was tampered with, or cannot be written; nothing is decided.
        """
        vector, problem = self._intake.one(sample)
        found: str | None = None
        try:
            with self._changing() as (change, now):
                book = change.head.book
                reason, wait = book.standing(IDENTIFICATION, now)
                if reason is not None:
                    change.log("identify", b"", reason, quiet=True)
                    return Identification(None, reason, _told(reason), wait_seconds=wait)
                if vector is None:
                    change.log("identify", b"", "quality", quiet=True)
                    return Identification(None, "quality", problem)
                enrolled = change.enrolled
                tags = [*sorted(enrolled), self._vault.stand_in]
                records = [change.record(tag) for tag in tags]
                scores = self._scoring.scores(records, vector)
                open_ = np.array([tag in enrolled and book.standing(tag, now).reason is None for tag in tags])
                best = int(np.where(open_, scores, -np.inf).argmax())
                score = float(scores[best])
                accepted = bool(open_[best]) and score >= change.head.threshold
                found = records[best].identity if accepted else None
                for record in records:
                    record.template.fill(0)
                _count(book, IDENTIFICATION, now, enrolled, accepted=accepted)
                change.log("identify", tags[best] if accepted else b"", "match" if accepted else "no match")
        finally:
            _wipe(vector)
        shown = score if accepted or (self._show_scores and bool(open_[best])) else None
        return Identification(found, "match" if accepted else "no match", score=shown)

    def _score_of_group(self, vector: Vectors, others: Vectors) -> float:
        record = self._scoring.record("", others, version=1, now=0.0)
        return float(self._scoring.scores([record], vector)[0])

    def _twin(self, others: Sequence[Record], vectors: Vectors, threshold: float) -> str | None:
        """Who of the others most of the vectors match."""
        if not others:
            return None
        matches = np.stack([self._scoring.scores(others, vector) >= threshold for vector in vectors]).mean(axis=0)
        best = int(matches.argmax())
        return others[best].identity if matches[best] > 0.5 else None


def _count(book: AttemptBook, tag: bytes, now: float, enrolled: frozenset[bytes], *, accepted: bool) -> None:
    if accepted:
        book.succeeded(tag)
    else:
        book.failed(tag, now, enrolled)


def _told(reason: str) -> str:
    if reason == "wait":
        return "too many failures; wait before the next attempt"
    return "too many failures in a row; whoever holds the key of the vault can unlock it"


def _wipe(vector: Vectors | None) -> None:
    if vector is not None:
        vector.fill(0)
