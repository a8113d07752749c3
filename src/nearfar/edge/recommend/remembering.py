"""Keeping what a user does: recording, forgetting, reading back; and what follows from it, kept up with all that happens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from nearfar.bundle import Bundle
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.catalogue_store import older_catalogue
from nearfar.edge.recommend.history import History, LogChange
from nearfar.edge.recommend.history_files import HistoryImport, read_events, write_events
from nearfar.edge.recommend.memory import Memory
from nearfar.edge.recommend.serving import Serving, bundle_in_place, serving_of
from nearfar.edge.recommend.stored_event import StoredEvent, checked_event, checked_time
from nearfar.edge.sealed.kept_bundle import drop_other_bundles
from nearfar.errors import DataError

_BATCH: Final = 5_000
"""Events in one transaction."""
_AHEAD: Final = 86_400.0
"""Seconds that an event may lie ahead of the clock: what is further ahead would come after all that is done from now on."""


@dataclass(slots=True)
class _Turn:
    """What one transaction sees; `memory` takes the place of the present one when the transaction has ended well."""

    change: LogChange
    serving: Serving
    memory: Memory

    def keep(self, memory: Memory) -> None:
        self.memory = memory
        self.change.put_updates(self.serving.catalogue.sequence)
        self.change.put_profile(self.serving.basis, memory.profile.to_bytes())


class Remembering:
    """Looks after an open history.

    Args:
        history: just opened.
        bundle: takes the place of the one beside the history; None for that one.
        threads: CPU threads of the encoder.
        clock: seconds since 1970.
    """

    def __init__(self, history: History, bundle: Bundle | None, *, threads: int, clock: Callable[[], float]) -> None:
        self._history, self._clock, self._threads = history, clock, threads
        self._lock = threading.RLock()
        self._ticks = 0
        self._state: tuple[Serving, Memory] | None = None
        history.check()
        with self._changing(bundle):
            pass
        with history.change() as change:  # no other process puts another bundle there meanwhile
            drop_other_bundles(history.directory, change.head.bundle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._history.directory)!r})"  # and nothing of what is in it

    def close(self) -> None:
        """Close the history."""
        self._history.close()

    def __len__(self) -> int:
        """How many events are in the history."""
        return self._current()[1].head.events

    def record(self, event: Event) -> bool:
        """Record what the user did; it is on the medium when this returns.

        Args:
            event: without a time it is of now, and never the same as another one. Give the time where an event may be given twice.

        Returns:
            Whether it is new; False where it was recorded before.

        Raises:
            DataError: it says what cannot be, or is of a kind of action that the bundle does not know.
            StoreError: the history was tampered with, or cannot be written; nothing was recorded.
        """
        return self.record_many([event]) == 1

    def record_many(self, events: Iterable[Event]) -> int:
        """Record many events, 5,000 in a transaction; see `record`.

        Returns:
            How many of them are new.

        Raises:
            DataError: as `record`; the events of earlier transactions were recorded.
            StoreError: as `record`.
        """
        waiting, new = iter(events), 0
        while batch := list(islice(waiting, _BATCH)):
            new += self._record(batch)
        return new

    def forget(
        self, *, item: str | None = None, since: float | datetime | None = None, everything: bool = False
    ) -> int:
        """Remove events for good; afterwards profile and answers are, to the bit, those of a device that never saw them.

        Copies of the directory that were made before still hold them, sealed.

        Args:
            item: all that was done with it.
            since: all that was done at this time or later; seconds since 1970, or a time with its zone.
            everything: all.

        Returns:
            How many events were removed.

        Raises:
            DataError: not exactly one of the three was given, or `since` is no time.
            StoreError: the history was tampered with, or cannot be written; nothing was forgotten.
        """
        if (item is not None) + (since is not None) + everything != 1:
            raise DataError("forget: say exactly one of item, since and everything")
        if isinstance(since, datetime):
            if since.tzinfo is None:
                raise DataError(f"since {since}: say the zone of the time, as in since.astimezone()")
            since = since.timestamp()
        if since is not None:
            since = checked_time("since", since)
        with self._changing() as turn:
            kept: list[StoredEvent] = []
            gone: list[int] = []
            for stored in turn.change.all_events():
                if everything or stored.event.item == item or (since is not None and stored.order[0] >= since):
                    gone.append(stored.number)
                else:
                    kept.append(stored)
            turn.change.remove(gone)
            if gone:
                # Where the clock was set back, the times of what comes would tell of what was forgotten.
                self._ticks = 0
                turn.keep(turn.serving.folded(kept))
        return len(gone)

    def events(self) -> list[Event]:
        """What is in the history, oldest first.

        Raises:
            StoreError: the history was tampered with.
        """
        with self._lock, self._history.look() as change:
            return [stored.event for stored in change.all_events()]

    def export(self, path: str | Path) -> int:
        """Write the history where its user can read it: not sealed any more, readable by this user alone.

        Args:
            path: of a .csv or .jsonl file, which is replaced; `import_history` reads it.

        Returns:
            How many events are in it.

        Raises:
            DataError: the file is of another kind, or cannot be written.
            StoreError: the history was tampered with.
        """
        return write_events(Path(path), self.events())

    def import_history(
        self,
        path: str | Path,
        columns: Mapping[str, str] | None = None,
        *,
        user: str | None = None,
        action: str = "",
        timezone: str = "UTC",
    ) -> HistoryImport:
        """Record what one user did elsewhere; importing the same file again adds nothing.

        Args:
            path: a .csv, .jsonl or .parquet file, or a folder of such.
            columns: which column holds `item`, `time`, `user`, `action`, `dwell` or `rating`, as in `{"time": "when"}`; by default the
                one of that name, and of times also `timestamp`.
            user: whose rows are taken, where the file has several users.
            action: kind of all of them, for a file that does not say it.
            timezone: of times that name none.

        Raises:
            DataError: the file cannot be read, has rows of several users, or none that can be recorded. Nothing was recorded.
            StoreError: as `record`.
        """
        serving, _ = self._current()
        latest = self._clock() + _AHEAD
        frontend = serving.scorer.frontend
        events, report = read_events(
            Path(path), columns or {}, frontend, latest, user=user, action=action, timezone=timezone
        )
        return HistoryImport(len(events), self.record_many(events), dict(report.skipped), tuple(report.examples))

    def _record(self, events: list[Event]) -> int:
        serving, _ = self._current()
        latest = self._clock() + _AHEAD
        checked = [checked_event(event, serving.scorer.frontend, latest) for event in events]
        with self._changing() as turn:
            new = [stored for event in checked if (stored := self._added(turn.change, event)) is not None]
            new.sort(key=lambda stored: stored.order)
            if new and turn.memory.follows(new):
                turn.memory.take(new)
                turn.keep(turn.memory)
            elif new:  # some come late
                turn.keep(turn.serving.folded(turn.change.all_events()))
        return len(new)

    def _added(self, change: LogChange, event: Event) -> StoredEvent | None:
        if event.time is not None:
            return change.add(event)
        while (stored := change.add(replace(event, time=self._now()))) is None:
            pass  # another process has recorded the same within this microsecond
        return stored

    def _now(self) -> float:
        """Seconds since 1970 to the microsecond; each one later than the one before, also where the clock was set back."""
        self._ticks = max(int(self._clock() * 1e6), self._ticks + 1)
        return self._ticks / 1e6

    def _current(self) -> tuple[Serving, Memory]:
        """What answers, as of now; read again only where another process has changed something."""
        with self._lock:
            elsewhere = self._history.changed_elsewhere()
            if elsewhere or self._state is None or not self._state[0].is_current(self._history.directory):
                with self._history.look() as change:
                    state, self._state = self._state, None
                    turn, _ = self._caught_up(change, state, None)
                self._state = turn.serving, turn.memory
            return self._state

    @contextmanager
    def _changing(self, bundle: Bundle | None = None) -> Iterator[_Turn]:
        """Be the only one who changes the history."""
        with self._lock:
            with self._history.change() as change:
                # Nothing is known until the transaction has ended: else an interrupt could leave what the file does not say.
                state, self._state = self._state, None
                turn, stale = self._caught_up(change, state, bundle)
                if stale:
                    turn.keep(turn.memory)
                yield turn
            turn.memory.head = change.head
            self._state = turn.serving, turn.memory

    def _caught_up(
        self, change: LogChange, state: tuple[Serving, Memory] | None, bundle: Bundle | None
    ) -> tuple[_Turn, bool]:
        """What follows from all that the history has, and whether the profile in it was made with something else."""
        serving = self._serving(change, None if state is None else state[0], bundle)
        if state is not None and state[0] is serving:
            memory = state[1]
            newer = change.since(memory.head)
            if newer is not None:
                newer.sort(key=lambda stored: stored.order)
                if memory.follows(newer):
                    memory.take(newer)
                    memory.head = change.head
                    return _Turn(change, serving, memory), False
        basis, profile = change.profile()
        memory = serving.folded(change.all_events(), basis, profile)
        memory.head = change.head
        return _Turn(change, serving, memory), basis != serving.basis

    def _serving(self, change: LogChange, before: Serving | None, bundle: Bundle | None) -> Serving:
        """What answers: as before where neither bundle nor catalogue has changed."""
        directory, digest = self._history.directory, change.head.bundle
        if bundle is None and before is not None and before.bundle.digest == digest and before.is_current(directory):
            return before
        opened = bundle_in_place(directory, digest, bundle)
        serving = serving_of(directory, opened, threads=self._threads)
        if opened.digest != digest:
            change.put_bundle(opened.digest)
        elif serving.catalogue.sequence < change.head.updates:
            raise older_catalogue(directory, serving.catalogue.sequence, change.head.updates)
        return serving
