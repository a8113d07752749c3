"""For this person, on this device: what they do is recorded, sealed, and what they may want next is told from it."""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from nearfar.bundle import Bundle
from nearfar.edge.keys import Ask, Key, ask_at_terminal, create_key
from nearfar.edge.keys.ladder import parse_spec
from nearfar.edge.recommend.answers import Explanation, Recommendation
from nearfar.edge.recommend.catalogue import Catalogue, Ints
from nearfar.edge.recommend.catalogue_store import CatalogueStore
from nearfar.edge.recommend.choose import choose_with_fresh, in_order
from nearfar.edge.recommend.explain import explain
from nearfar.edge.recommend.history import History, create_history
from nearfar.edge.recommend.history_file import HISTORY_FILE
from nearfar.edge.recommend.profile import Profile
from nearfar.edge.recommend.remembering import Remembering
from nearfar.edge.recommend.serving import Serving
from nearfar.edge.sealed.kept_bundle import put_bundle
from nearfar.edge.sealed.key_place import unlock
from nearfar.edge.sealed.new_folder import is_free, new_folder
from nearfar.edge.where import Condition, parse
from nearfar.errors import StoreError


class Recommender(Remembering):
    """Records what its user does, and recommends; threads and processes may share a directory.

    What `record` has returned from is on the medium. The same event given twice is one, so what was in doubt (after a crash, say) is
    simply given again. After `forget` everything is, to the bit, as if the device had never seen what was forgotten. Nothing leaves the
    directory.

    Use `Recommender.create` and `Recommender.open`.
    """

    @classmethod
    def create(
        cls,
        directory: str | Path,
        bundle: str | Path | Bundle,
        *,
        key: str = "passphrase",
        ask: Ask = ask_at_terminal,
        threads: int = 1,
        clock: Callable[[], float] = clocks.time,
    ) -> Self:
        """Make a directory with an empty history and a copy of the bundle, and open it.

        Args:
            directory: must not be there, or be empty.
            bundle: a recommender.
            key: where the key is kept: `keystore:NAME`, `credential:NAME`, `passphrase` or `file:PATH`.
            ask: called for the passphrase.
            threads: CPU threads of the encoder.
            clock: seconds since 1970.

        Raises:
            StoreError: there is something already, or it cannot be written.
            BundleError: the bundle is damaged, or recommends nothing.
            KeyUnavailableError: the key cannot be kept there.
            MissingExtraError: the packages of the extra `encryption` are not installed.
        """
        target = Path(directory).absolute()
        opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        Serving(opened, Catalogue.open(opened))  # what does not run is refused before anything is written
        parse_spec(key, target)
        with new_folder(target, "history") as part:
            secret = create_key(part, key, ask=ask)
            put_bundle(part, opened)
            create_history(part, secret, opened.digest).close()
        return cls._opened(target, secret, None, threads=threads, clock=clock)

    @classmethod
    def open(
        cls,
        directory: str | Path,
        bundle: str | Path | Bundle | None = None,
        *,
        key: str | None = None,
        ask: Ask | Key = ask_at_terminal,
        threads: int = 1,
        clock: Callable[[], float] = clocks.time,
    ) -> Self:
        """Open a directory, and hold everything in its history to what was written.

        Args:
            directory: that `create` made.
            bundle: takes the place of the one in the directory where it is another one; the profile is made anew from the history.
            key: where the key must be kept, as it was given to `create`. Without it the directory says itself where its key is, and who
                may write its medium can put one of his own there, with a key of his own.
            ask: called for the passphrase where that is what unlocks the key; or the key itself.
            threads: as in `create`.
            clock: as in `create`.

        Raises:
            StoreError: there is no history, it is damaged, or was tampered with.
            BundleError: the bundle is damaged, or recommends nothing.
            KeyUnavailableError: the key cannot be unlocked, or is kept elsewhere than `key` says.
            MissingExtraError: the packages of the extra `encryption` are not installed.
        """
        target = Path(directory).absolute()
        if is_free(target):
            raise StoreError(
                f"{target}: there is no history here; the first event makes one: nearfar record DIR ITEM --bundle BUNDLE"
            )
        secret = unlock(
            target,
            HISTORY_FILE,
            key,
            ask,
            noun="history",
            otherwise="begin another one elsewhere: nearfar record DIR ITEM --bundle BUNDLE",
        )
        given = Bundle.open(bundle) if isinstance(bundle, str | Path) else bundle
        return cls._opened(target, secret, given, threads=threads, clock=clock)

    @classmethod
    def _opened(
        cls, target: Path, key: Key, bundle: Bundle | None, *, threads: int, clock: Callable[[], float]
    ) -> Self:
        history = History(target, key)
        try:
            return cls(history, bundle, threads=threads, clock=clock)
        except BaseException:
            history.close()
            raise

    @property
    def bundle(self) -> Bundle:
        """The recommender; a copy in the directory."""
        return self._current()[0].bundle

    @property
    def catalogue(self) -> Catalogue:
        """What is recommended from."""
        return self._current()[0].catalogue

    @property
    def profile_bytes(self) -> int:
        """Size of the profile that everything is ranked by."""
        return len(self._current()[1].profile.to_bytes())

    @property
    def is_new(self) -> bool:
        """Whether nothing is known of the user yet: recommended is then what is popular."""
        return not len(self._current()[1].profile)

    def recommend(
        self,
        k: int = 10,
        *,
        context: Mapping[str, Any] | None = None,
        exclude: Iterable[str] = (),
        where: str | Condition | None = None,
        diversity: float = 0.0,
        fresh: int = 0,
        seen: bool = False,
    ) -> list[Recommendation]:
        """What the user may want next, the best first; of a new user what is popular.

        Args:
            k: how many; fewer where fewer may be shown.
            context: what is known of the moment, by column, where the bundle was learned with a context.
            exclude: name of an item that is not wanted now, or names.
            where: what the facts of an item must satisfy, as in `genres = 'drama' and year >= 1990`.
            diversity: from 0 (by score alone) to 1 (unlike each other above all).
            fresh: how many of them, at least, are items that nobody had acted on when the bundle was made, or that an update brought:
                known by their content, they hardly come forward by themselves. They take the last places.
            seen: recommend also what the user has acted on; what they dislike is never recommended.

        Raises:
            DataError: `k`, `context`, `where`, `diversity` or `fresh` cannot be.
            StoreError: the history was tampered with.
        """
        condition = parse(where) if isinstance(where, str) else where
        serving, profile, hidden = self._snapshot(seen=seen)
        catalogue = serving.catalogue
        scores = serving.scorer.scores(profile, self._clock(), context)
        scores[hidden] = -float("inf")
        for name in _names(exclude):
            if (number := catalogue.number_of(name)) is not None:
                scores[number] = -float("inf")
        found = choose_with_fresh(scores, catalogue, k, fresh, where=condition, diversity=diversity)
        return [_answer(catalogue, int(number), float(scores[number])) for number in found]

    def rank(self, candidates: Sequence[str], *, context: Mapping[str, Any] | None = None) -> list[Recommendation]:
        """Order items that somebody else has chosen, the best first; also those that were seen.

        Args:
            candidates: names of items.
            context: as in `recommend`.

        Raises:
            DataError: some are not in the catalogue; the message names them.
            StoreError: the history was tampered with.
        """
        serving, profile, _ = self._snapshot()
        catalogue = serving.catalogue
        numbers = catalogue.numbers_of(dict.fromkeys(_names(candidates)))
        scores = serving.scorer.scores(profile, self._clock(), context)
        return [
            _answer(catalogue, int(number), float(scores[number])) for number in in_order(scores, catalogue, numbers)
        ]

    def explain(self, item: str, *, context: Mapping[str, Any] | None = None) -> Explanation:
        """Why an item has its score, and which past actions speak for it.

        Args:
            item: its name.
            context: as in `recommend`.

        Raises:
            DataError: it is not in the catalogue.
            StoreError: the history was tampered with.
        """
        serving, profile, hidden = self._snapshot()
        (number,) = serving.catalogue.numbers_of([item])
        return explain(serving.scorer, profile, int(number), self._clock(), context, hidden=hidden)

    def update(self, update: bytes | str | Path) -> int:
        """Take a signed update of the catalogue; the profile is made anew from the history.

        Args:
            update: the file, or its content. One that was taken before changes nothing.

        Returns:
            The number of the latest update that the catalogue has.

        Raises:
            DataError: it is no update for this bundle, not signed by its publisher, too old, or one between is missing.
            BundleError: the bundle takes no updates.
            StoreError: the directory cannot be written, or the history was tampered with.
        """
        CatalogueStore(self._history.directory).apply(self.bundle, update)
        with self._changing() as turn:
            return turn.serving.catalogue.sequence

    def _snapshot(self, *, seen: bool = False) -> tuple[Serving, Profile, Ints]:
        """What an answer is made of; other threads may record meanwhile."""
        with self._lock:
            serving, memory = self._current()
            return serving, memory.profile, memory.hidden(seen=seen)


def _names(given: Iterable[str]) -> Iterable[str]:
    """Names of items; one that is given by itself is not its letters."""
    return [given] if isinstance(given, str) else given


def _answer(catalogue: Catalogue, number: int, score: float) -> Recommendation:
    facts = catalogue.facts_of(number)
    others = {name: value for name, value in facts.items() if name != "title"}
    return Recommendation(catalogue.names[number], score, str(facts.get("title") or ""), others)
