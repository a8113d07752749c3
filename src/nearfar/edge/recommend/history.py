"""What a user did, sealed on the device: what is recorded is on the medium, once, and what is forgotten is gone.

    key.json         which place unlocks the key
    bundle-*/        the recommender that answers
    history.sqlite   meta: format, identifier, sealed head, sealed profile
                     events: a sealed row an event, found again by a keyed digest of all that it says

Every change is one transaction that first reads the head again, so threads and processes may share a history. Rows are held to the head
when all of them are read: as it is opened, after something was forgotten, and when an event comes late. What nobody can tell without a
place elsewhere is that the whole directory was put back to an older state while nobody had it open.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nearfar.edge.keys import Key
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.history_file import HISTORY
from nearfar.edge.recommend.history_seal import HistorySeal, combined
from nearfar.edge.recommend.log_head import LogHead, read_log_head
from nearfar.edge.recommend.stored_event import StoredEvent, event_text, read_event
from nearfar.edge.sealed.database import SealedDatabase
from nearfar.edge.sealed.seal import filled

_SIZE = struct.Struct(">I")
_PROFILE_ROOM = 1024  # bytes that a profile is filled up to a multiple of: whether an event was an action is not told


class History(SealedDatabase):
    """The open file; see the head of this module. A new one is made by `create_history`.

    Args:
        directory: of the history.
        key: of the directory.
        make: make the file.

    Raises:
        StoreError: the file is missing or damaged.
    """

    seal: HistorySeal

    def __init__(self, directory: Path, key: Key, *, make: bool = False) -> None:
        super().__init__(directory, HISTORY, make=make)
        self._counter = -1
        self._version = -1
        self.seal = HistorySeal(key, self.identifier)

    @contextmanager
    def change(self) -> Iterator[LogChange]:
        """Be the only one who changes the history; what was done is on the medium when the block has ended.

        Raises:
            StoreError: the history is damaged, was changed by who has no key, was put back to an older state while it was open, or
                cannot be written. Nothing was changed then.
        """
        with self._alone():
            with self._begun("BEGIN IMMEDIATE"):
                change = LogChange(self, self._head())
                yield change
                if change.changed:
                    change.finish()
                    if change.dropped:
                        self._note_removed()
                    self._put_head(change.head.to_bytes())
                    self.connection.execute("COMMIT")
                    self._counter = change.head.counter
            if change.dropped:
                self._clear("it is forgotten", "forget the same again")

    @contextmanager
    def look(self) -> Iterator[LogChange]:
        """As `change`, but others may change it meanwhile, and nothing may be changed here."""
        with self._alone(), self._begun("BEGIN"):
            yield LogChange(self, self._head())

    def changed_elsewhere(self) -> bool:
        """Whether somebody else has changed the file since this was last asked."""
        with self._alone():
            version = int(self.connection.execute("PRAGMA data_version").fetchone()[0])
            changed, self._version = version != self._version, version
        return changed

    def check(self) -> None:
        """Look whether the pages of the file fit together, and end the forgetting that a crash has interrupted.

        Raises:
            StoreError: they do not.
        """
        with self._alone():
            if self._removed_remain():
                self._write_over()
            self._move_log()  # what a process that was killed has left there
            if self.connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                raise self.damaged("its pages do not fit together")

    def _head(self) -> LogHead:
        head = read_log_head(self._opened_head())
        if head.counter < self._counter:
            raise self.damaged("it was put back to an older state while it was open")
        return head


class LogChange:
    """What can be seen and done in one transaction; nothing of it is there before the transaction has ended well.

    Attributes:
        head: of the history, with what was done here.
        changed: whether there is something to write.
        dropped: whether events were removed, whose rows must be written over at the end.
    """

    def __init__(self, history: History, head: LogHead) -> None:
        self._history, self._connection, self._seal = history, history.connection, history.seal
        self.head = head
        self.changed = self.dropped = False
        self._before = head
        self._profile: tuple[str, bytes] | None = None

    def add(self, event: Event) -> StoredEvent | None:
        """Write an event; None where it is there already.

        Args:
            event: with its time, as `checked_event` gives it.
        """
        text = event_text(event)
        tag, number = self._seal.tag(text), self.head.last + 1
        sealed = self._seal.seal_event(number, tag, text)
        done = self._connection.execute(
            "INSERT INTO events VALUES (?, ?, ?) ON CONFLICT (tag) DO NOTHING", (number, tag, sealed)
        )
        if not done.rowcount:
            return None
        rows = combined(self.head.rows, [self._seal.mark(number, tag, sealed)])
        self.head = replace(self.head, last=number, events=self.head.events + 1, rows=rows)
        self.changed = True
        return StoredEvent(number, event)

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove events for good.

        Args:
            numbers: of events that are there; none to write over again what was removed before.
        """
        self.dropped = True
        if not numbers:
            return
        marks = []
        for number in numbers:
            row = self._connection.execute(
                "DELETE FROM events WHERE number = ? RETURNING number, tag, sealed", (number,)
            ).fetchall()
            marks += [self._seal.mark(*each) for each in row]
        self.head = replace(
            self.head,
            events=self.head.events - len(marks),
            rows=combined(self.head.rows, marks),
            removals=self.head.removals + 1,
        )
        self.changed = True

    def all_events(self) -> list[StoredEvent]:
        """All events in the order of their times; of equal ones as they were recorded.

        Raises:
            StoreError: a row was taken out, put in, exchanged or put back.
        """
        return sorted(self._read(LogHead("")), key=lambda stored: stored.order)

    def since(self, seen: LogHead) -> list[StoredEvent] | None:
        """What was recorded after a head was seen, in the order of recording; None where something was forgotten since then.

        Raises:
            StoreError: as `all_events`.
        """
        if self.head.removals != seen.removals or self.head.last < seen.last:
            return None
        return self._read(seen)

    def profile(self) -> tuple[str, bytes]:
        """What it was made with, and its bytes; empty ones in a new history.

        Raises:
            StoreError: it is not the one that was written with the head.
        """
        row = self._connection.execute("SELECT value FROM meta WHERE name = 'profile'").fetchone()
        about = struct.pack(">Q", self._before.counter)
        content = self._seal.open("profile", row[0], about) if row and isinstance(row[0], bytes) else None
        if content is None:
            raise self._history.damaged("its profile is not the one that was written")
        basis, _, held = content.partition(b"\0")
        (size,) = _SIZE.unpack_from(held)
        return basis.decode(), held[_SIZE.size : _SIZE.size + size]

    def put_profile(self, basis: str, profile: bytes) -> None:
        """Write the profile.

        Args:
            basis: what it was made with; without a zero byte.
            profile: its bytes.
        """
        self._profile = basis, profile
        self.changed = True

    def put_bundle(self, digest: str) -> None:
        """Say which bundle lies beside the history from now on."""
        self.head = replace(self.head, bundle=digest, updates=0)
        self.changed = True

    def put_updates(self, sequence: int) -> None:
        """Say how many updates the catalogue has had: one that has had fewer is not taken from now on."""
        if sequence != self.head.updates:
            self.head = replace(self.head, updates=sequence)
            self.changed = True

    def finish(self) -> None:
        """Write what goes with every change; the head is written by the caller."""
        # The profile of other events than there are now is of no use to anybody, and must not be taken for theirs.
        kept = self.profile() if self.head.rows == self._before.rows else ("", b"")
        basis, profile = self._profile or kept
        self.head = replace(self.head, counter=self._before.counter + 1)
        self.write_profile(basis, profile)

    def write_profile(self, basis: str, profile: bytes) -> None:
        """Write the profile that belongs to the head.

        Args:
            basis: what it was made with; without a zero byte.
            profile: its bytes.
        """
        content = filled(basis.encode() + b"\0" + _SIZE.pack(len(profile)) + profile, _PROFILE_ROOM)
        sealed = self._seal.seal("profile", content, struct.pack(">Q", self.head.counter))
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('profile', ?)", (sealed,))

    def _read(self, seen: LogHead) -> list[StoredEvent]:
        """The events after `seen.last`, held to the head."""
        found: list[StoredEvent] = []
        marks: list[bytes] = []
        for number, tag, sealed in self._rows(seen.last):
            text = self._seal.open_event(number, tag, sealed)
            if text is None:
                raise self._history.damaged(f"event {number} is not the one that was written")
            marks.append(self._seal.mark(number, tag, sealed))
            found.append(StoredEvent(number, read_event(text)))
        if combined(seen.rows, marks) != self.head.rows or seen.events + len(found) != self.head.events:
            raise self._history.damaged("an event was taken out, put in, exchanged or put back")
        return found

    def _rows(self, after: int) -> Iterable[tuple[int, bytes, bytes]]:
        rows = self._connection.execute(
            "SELECT number, tag, sealed FROM events WHERE number > ? ORDER BY number", (after,)
        )
        for number, tag, sealed in rows:
            if not isinstance(tag, bytes) or not isinstance(sealed, bytes) or number < 1:
                raise self._history.damaged("a row of it is no event")
            yield number, tag, sealed


def create_history(directory: Path, key: Key, bundle: str) -> History:
    """Make the file of a history without events.

    Args:
        directory: must be there, without one.
        key: of the directory.
        bundle: digest of the bundle that lies in the directory.

    Raises:
        StoreError: it cannot be written.
    """
    history = History(directory, key, make=True)
    try:
        with HISTORY.explained(directory):
            history.connection.execute("BEGIN IMMEDIATE")
            history.make_tables()
            head = LogHead(bundle)
            history.put_first(head.to_bytes())
            LogChange(history, head).write_profile("", b"")
            history.connection.execute("COMMIT")
    except BaseException:
        history.close()
        raise
    return history
