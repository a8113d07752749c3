"""What answers for a directory: its bundle, the catalogue as it is by now, and the scorer of both."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from nearfar.bundle import Bundle
from nearfar.edge.recommend.catalogue import Catalogue, recommender_of
from nearfar.edge.recommend.catalogue_store import CatalogueStore
from nearfar.edge.recommend.memory import Memory
from nearfar.edge.recommend.profile import PROFILE_VERSION, Profile
from nearfar.edge.recommend.scorer import Scorer
from nearfar.edge.recommend.stored_event import StoredEvent
from nearfar.edge.sealed.kept_bundle import bundle_folder, put_bundle
from nearfar.errors import NearfarError, StoreError

CatalogueFile = tuple[int, int, int] | None
"""What tells a file from the one that takes its place: inode, time in nanoseconds, size."""


class Serving:
    """A bundle with its catalogue.

    Args:
        bundle: a recommender.
        catalogue: the bundle's, or a later one.
        file: that the catalogue was read from.
        threads: CPU threads of a run.

    Attributes:
        bundle: the recommender.
        catalogue: what it recommends from.
        scorer: of both.
        basis: tells profiles of this bundle and catalogue from those of others.

    Raises:
        BundleError: the bundle is no recommender, or does not run.
    """

    def __init__(self, bundle: Bundle, catalogue: Catalogue, *, file: CatalogueFile = None, threads: int = 1) -> None:
        self.bundle, self.catalogue, self.file = bundle, catalogue, file
        self.scorer = Scorer(bundle, catalogue, threads=threads)
        self.basis = hashlib.sha256(f"{bundle.digest}\n{catalogue.digest}\n{PROFILE_VERSION}".encode()).hexdigest()

    def is_current(self, directory: Path) -> bool:
        """Whether the catalogue in a directory is still this one, and not one that an update has made since."""
        return self.file == file_of(directory)

    def folded(self, events: list[StoredEvent], basis: str = "", profile: bytes = b"") -> Memory:
        """What follows from events.

        Args:
            events: all of them, in their order.
            basis: of `profile`.
            profile: that was stored; used where it was made with this bundle and catalogue, otherwise all is folded.
        """
        known = basis == self.basis
        before = Profile.from_bytes(profile) if known else self.scorer.new_profile()
        memory = Memory(self.scorer.frontend, self.catalogue, before)
        memory.take(events, folded=known)
        return memory


def bundle_in_place(directory: Path, digest: str, given: Bundle | None) -> Bundle:
    """The bundle that lies beside a history.

    Args:
        directory: of the history.
        digest: that its head says.
        given: takes its place, where it is another one or that one is damaged; None to leave it as it is.

    Raises:
        StoreError: another one lies in its place.
        BundleError: it is missing or damaged, or `given` recommends nothing.
    """
    place = bundle_folder(directory, digest)
    if given is not None:
        recommender_of(given)
        if given.digest == digest:
            with suppress(NearfarError):
                return bundle_in_place(directory, digest, None)
        return put_bundle(directory, given)
    bundle = Bundle.open(place)
    if bundle.digest != digest:
        raise StoreError(
            f"{place}: is not the bundle that was put there; open the directory with the bundle that it should have (--bundle), or put the "
            "whole directory back from a backup"
        )
    return bundle


def serving_of(directory: Path, bundle: Bundle, *, threads: int) -> Serving:
    """What answers with a bundle and the updates that were applied beside it.

    Raises:
        BundleError: its files do not fit together.
        StoreError: the catalogue beside it is damaged.
    """
    file = file_of(directory)  # before it is read: what is replaced meanwhile is then read again
    return Serving(bundle, CatalogueStore(directory).load(bundle), file=file, threads=threads)


def file_of(directory: Path) -> CatalogueFile:
    """Which file an updated catalogue lies in; None where there is none."""
    try:
        found = CatalogueStore(directory).path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
