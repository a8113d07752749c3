"""What is left in the files of a vault of templates that were revoked or renewed: nothing that was written of them."""

from __future__ import annotations

import random
import secrets
import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from people_bundle import people_bundle
from tests.edge.traces import parts, traces

pytest.importorskip("cryptography")

from nearfar.bundle import Bundle
from nearfar.edge.keys import open_key
from nearfar.edge.sealed.database import SealedDatabase
from nearfar.edge.verify import Verifier
from nearfar.edge.verify.record import Record
from nearfar.edge.verify.vault import Vault
from nearfar.errors import StoreError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return people_bundle(tmp_path_factory.mktemp("people") / "bundle")


def person(name: str, rng: random.Random, version: int = 1) -> Record:
    template = np.frombuffer(rng.randbytes(32), dtype=np.int8)
    return Record(name, version, rng.randbytes(32), template, 1e9, 3, None)


class People:
    """Made people in a vault, of whom some are revoked."""

    def __init__(self, path: Path, seed: int) -> None:
        self.vault = Vault(path, open_key(path))
        self.vault.check()
        self.rng, self.numbers = random.Random(seed), count()
        self.names, self.written = list[str](), set[bytes]()

    def enroll(self) -> None:
        """Somebody new; names of many lengths, so that rows are, and SQLite has more to put in order."""
        self.names.append(f"{next(self.numbers)}" + "\N{BLACK STAR}" * self.rng.choice([1, 1, 1, 190]))
        self._put(self.names[-1], 1)

    def renew(self) -> None:
        self._put(self.rng.choice(self.names), 2)

    def revoke(self) -> None:
        name = self.names.pop(self.rng.randrange(len(self.names)))
        with self.vault.change() as change:
            change.remove(self.vault.seal.tag(name))
            change.log("revoke", self.vault.seal.tag(name), "done")

    def _put(self, name: str, version: int) -> None:
        tag = self.vault.seal.tag(name)
        with self.vault.change() as change:
            change.put(tag, person(name, self.rng, version))
            change.log("enroll", tag, "done")
        self.written |= parts(self.vault.directory / "vault.sqlite")

    def traces(self) -> int:
        return traces(self.vault.directory / "vault.sqlite", self.written)

    def close(self) -> None:
        self.vault.close()


@pytest.fixture
def people(bundle: Bundle, tmp_path: Path) -> Iterator[People]:
    Verifier.create(tmp_path / "v", bundle, key=f"file:{tmp_path / 'key'}").close()
    people = People(tmp_path / "v", 1)
    for _ in range(10):
        people.enroll()
    yield people
    people.close()


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_of_who_was_revoked_or_renewed_is_left(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Not in SQLite's log, not in free pages, and not between the rows of pages that SQLite has put in order.

    Where it puts them is up to the tags, which are the same in each run here.
    """
    monkeypatch.setattr(secrets, "token_bytes", random.Random(seed).randbytes)
    path = tmp_path / "v"
    Verifier.create(path, bundle, key=f"file:{tmp_path / 'key'}").close()
    people = People(path, seed)
    for _ in range(60):
        people.enroll()
    for _ in range(3):
        for _ in range(15):
            people.revoke()
        assert not people.traces()
    people.renew()
    assert not people.traces()
    people.close()


def test_revoking_that_was_interrupted_ends_when_the_vault_is_opened(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: SealedDatabase) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SealedDatabase, "_write_over", interrupted)
        with pytest.raises(KeyboardInterrupt):
            people.revoke()
    assert people.traces()
    opened = People(people.vault.directory, 1)
    assert not people.traces()
    opened.close()


def test_a_reader_that_does_not_end_is_told_of(people: People) -> None:
    """The template is of no use at once; its row lies in the file as long as another process reads of before."""
    reader = sqlite3.connect(people.vault.directory / "vault.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM templates").fetchone()
    people.vault.connection.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(StoreError, match=r"is revoked or renewed, but rows of it, sealed, .*; open the vault again"):
        people.revoke()
    with people.vault.change() as change:
        assert len(change.enrolled) == 9
    assert people.traces()
    reader.close()
    opened = People(people.vault.directory, 1)
    assert not people.traces()
    opened.close()
