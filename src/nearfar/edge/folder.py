"""The folder of an index: made, locked, opened for writing, with its bundle and its key."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nearfar.bundle.bundle import Bundle
from nearfar.edge.keys import Ask, Key, ask_at_terminal, create_key, key_if_any
from nearfar.edge.store.failures import explained
from nearfar.edge.store.lock import writer_lock
from nearfar.edge.store.reader import StoreReader
from nearfar.edge.store.schema import BUNDLE_FOLDER, DERIVED_PATTERN, KEY_FILE, LOCK_FILE, STORE_FILE, store_path
from nearfar.edge.store.writer import StoreWriter
from nearfar.errors import BundleError, StoreError
from nearfar.sources.cut import Cutting


@contextmanager
def opened_writer(
    directory: Path,
    bundle: Bundle,
    dim: int,
    *,
    rebuild: bool = False,
    encrypt: str | None = None,
    ask: Ask | Key | None = None,
    synced: bool = False,
) -> Iterator[StoreWriter]:
    """Be the writer of the index in `directory`, made where there is none.

    Args:
        directory: of the index; new, empty, or an index.
        bundle: what embeds; a copy is kept in the index.
        dim: components that the index keeps.
        rebuild: throw away the index that is there.
        encrypt: of a new index, where its key is kept, as `keys.create_key` takes it.
        ask: gives a passphrase.
        synced: each batch survives a power cut once it is stored; else the last ones may have to be made again.

    Raises:
        StoreError: another process writes it, or it belongs to another bundle, or it cannot be written.
    """
    _prepare_folder(directory)
    with writer_lock(directory):
        new = rebuild or not store_path(directory).exists()
        key = _key(directory, encrypt, ask, new=new)  # before anything is removed
        if rebuild:
            _remove_store(directory)
        if new:
            # Before the store: whoever sees a store finds the bundle beside it.
            _keep_bundle(directory, bundle)
        writer = StoreWriter(directory, bundle_digest=bundle.digest, dim=dim, key=key, synced=synced)
        try:
            _keep_bundle(directory, bundle)
            yield writer
        finally:
            writer.close()


def stored_dim(directory: Path, key: Key | None = None) -> int:
    """Components of the vectors of the index in `directory`."""
    reader = StoreReader(directory, key=key)
    reader.close()
    return reader.dim


@contextmanager
def known_stamps(
    directory: Path, *, rebuild: bool = False, ask: Ask | Key | None = None
) -> Iterator[Callable[[str, str], bool] | None]:
    """What a source may ask whether the index in `directory` knows a document with this stamp; None without an index."""
    if rebuild or not store_path(directory).exists():
        yield None
        return
    reader = StoreReader(directory, key=key_if_any(directory, ask=ask))
    try:
        yield lambda id, stamp: bool(stamp) and reader.stamp_of(id) == stamp
    finally:
        reader.close()


def known_cutting(directory: Path, key: Key | None = None) -> Cutting | None:
    """How the documents of the index in `directory` were cut when it was built last; None without an index."""
    if not store_path(directory).exists():
        return None
    reader = StoreReader(directory, key=key)
    reader.close()
    return reader.cutting


def _key(directory: Path, encrypt: str | None, ask: Ask | Key | None, *, new: bool) -> Key | None:
    """The key of an encrypted index, made where a new one shall be encrypted."""
    record = directory / KEY_FILE
    if new and encrypt is not None:
        # In the place of an older key, which may be known to nobody any more: it goes with the store.
        former = record.read_bytes() if record.exists() else None
        record.unlink(missing_ok=True)
        try:
            return create_key(directory, encrypt, ask=ask_at_terminal if ask is None or isinstance(ask, Key) else ask)
        except BaseException:
            if former is not None:
                record.write_bytes(former)
            raise
    key = key_if_any(directory, ask=ask)
    if key is None and encrypt is not None:
        raise StoreError(
            f"{directory}: the index is not encrypted, and cannot become so in place; use another folder (-o), or "
            "--rebuild to replace it"
        )
    return key


def _prepare_folder(directory: Path) -> None:
    """Make the folder; refuse one that holds something else, so that nothing of the user's is mixed with an index."""
    if directory.exists() and not directory.is_dir():
        raise StoreError(f"{directory}: an index is a folder, and this is a file; choose another name")
    with explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in directory.iterdir()}
    if names and not names & {STORE_FILE, LOCK_FILE, KEY_FILE}:
        raise StoreError(
            f"{directory}: the folder is not empty and is not a search index (it holds {min(names)}); "
            "choose a new or an empty folder"
        )


def _remove_store(directory: Path) -> None:
    """Delete everything but the lock, the key, and the bundle, which may be the very one to build with."""
    with explained(directory):
        # The store first: from then on the folder holds no index, whenever this is interrupted. SQLite discards a
        # journal that has no database.
        for name in (STORE_FILE, f"{STORE_FILE}-wal", f"{STORE_FILE}-shm"):
            (directory / name).unlink(missing_ok=True)
        for pattern in (DERIVED_PATTERN, f".{DERIVED_PATTERN}.part"):
            for file in directory.glob(pattern):
                file.unlink()


def _keep_bundle(directory: Path, bundle: Bundle) -> None:
    """Copy the bundle into the index, unless a sound copy is there."""
    target, part = directory / BUNDLE_FOLDER, directory / f".{BUNDLE_FOLDER}.part"
    try:
        if Bundle.open(target).digest == bundle.digest:
            return
    except BundleError:
        pass
    with explained(directory):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            for file in sorted(bundle.path.iterdir()):
                shutil.copyfile(file, part / file.name)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
