"""A history and a catalogue that changes: what is new counts, what is gone is not recommended, and every process notices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.edge.tiny_recommender_bundle import made_vectors, write_tiny_recommender_bundle

pytest.importorskip("cryptography")

from nearfar.bundle import Bundle
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.catalogue_files import fact_line, round_vectors
from nearfar.edge.recommend.catalogue_store import CATALOGUE_FILE, CatalogueStore
from nearfar.edge.recommend.delta import catalogue_statement, make_delta, write_delta
from nearfar.edge.recommend.recommender import Recommender
from nearfar.edge.recommend.signing import Publisher
from nearfar.errors import DataError, StoreError

PUBLISHER = Publisher(bytes(range(32)))
NOW = 2e9


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("films") / "bundle"
    return write_tiny_recommender_bundle(folder, signed_by=PUBLISHER.public_key)


@pytest.fixture(scope="module")
def update(bundle: Bundle) -> bytes:
    """The first four films are gone, so that all numbers are others, and a new one is there."""
    before = Catalogue.open(bundle)
    kept = np.arange(4, len(before))
    codes, scales = round_vectors(np.concatenate([before.vectors(kept), made_vectors(1, before.dim, seed=7)]))
    after = Catalogue(
        (*before.names[4:], "new"),
        codes,
        scales,
        np.append(before.popularity[kept], np.float16(-9)),
        None,
        (*before.fact_lines[4:], fact_line({"title": "New", "year": 2025})),
    )
    return write_delta(make_delta(bundle, before, after)[0], PUBLISHER)


def acted(recommender: Recommender) -> list[str]:
    serving, memory = recommender._current()
    return [serving.catalogue.names[number] for number in memory.profile.items]


def recommended(recommender: Recommender) -> set[str]:
    return {one.item for one in recommender.recommend(100)}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_profile_is_that_of_the_new_catalogue(
    bundle: Bundle, update: bytes, tmp_path: Path, elsewhere: bool
) -> None:
    """Also where another process applies the update while this one has the history open."""
    path, key = tmp_path / "mine", f"file:{tmp_path / 'key'}"
    with Recommender.create(path, bundle, key=key, clock=lambda: NOW) as recommender:
        recommender.record_many(
            [Event("film-001", time=1e9), Event("film-010", time=1.1e9), Event("new", time=1.2e9), Event("old")]
        )
        assert acted(recommender) == ["film-001", "film-010"]
        assert {"film-000", "film-002"} <= recommended(recommender)
        if elsewhere:
            CatalogueStore(path).apply(bundle, update)
        else:
            assert recommender.update(update) == 1
        assert acted(recommender) == ["film-010", "new"]
        assert recommended(recommender) == {f"film-{number:03}" for number in range(4, 60)} - {"film-010"}
        assert recommender.record(Event("film-030"))
        answers = recommender.recommend(10)
        assert recommender.update(update) == 1
        assert recommender.recommend(10) == answers
    with Recommender.open(path, clock=lambda: NOW) as recommender:
        assert acted(recommender) == ["film-010", "new", "film-030"]
        assert recommender.recommend(10) == answers
        with pytest.raises(DataError):
            recommender.update(update[:-1])
        assert recommender.recommend(10) == answers


def test_a_damaged_catalogue_is_told_apart_from_a_damaged_history(
    bundle: Bundle, update: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "mine"
    with Recommender.create(path, bundle, key=f"file:{tmp_path / 'key'}") as recommender:
        recommender.record(Event("film-010"))
        recommender.update(update)
    whole = (path / CATALOGUE_FILE).read_bytes()
    (path / CATALOGUE_FILE).write_bytes(whole[:-20])
    with pytest.raises(StoreError, match=CATALOGUE_FILE):
        Recommender.open(path)
    (path / CATALOGUE_FILE).unlink()
    CatalogueStore(path).apply(bundle, update)
    with Recommender.open(path) as recommender:
        assert acted(recommender) == ["film-010"]


def next_update(bundle: Bundle, path: Path) -> bytes:
    """One more item is gone."""
    before = CatalogueStore(path).load(bundle)
    rows = (before.codes[1:], before.scales[1:], before.popularity[1:])
    after = Catalogue(before.names[1:], *rows, None, before.fact_lines[1:])
    return write_delta(make_delta(bundle, before, after)[0], PUBLISHER)


@pytest.mark.parametrize("how", ["put back", "taken away"])
@pytest.mark.parametrize("is_open", [False, True])
def test_an_older_catalogue_is_not_taken(
    bundle: Bundle, update: bytes, tmp_path: Path, how: str, is_open: bool
) -> None:
    """It was genuine once, so only the history can tell; it is mended by the updates, without the key, or by a newer bundle."""
    path = tmp_path / "mine"
    recommender = Recommender.create(path, bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: NOW)
    recommender.record(Event("film-010"))
    recommender.update(update)
    old = (path / CATALOGUE_FILE).read_bytes()
    second = next_update(bundle, path)
    recommender.update(second)
    answers = recommender.recommend(5)
    if how == "put back":
        (path / CATALOGUE_FILE).write_bytes(old)
    else:
        (path / CATALOGUE_FILE).unlink()
    if is_open:
        for act in (recommender.recommend, lambda: recommender.record(Event("film-020"))):
            with pytest.raises(
                StoreError, match=r"update 2 was in use here before, so an older one was put back; apply"
            ):
                act()
    else:
        recommender.close()
        with pytest.raises(StoreError, match="an older one was put back"):
            Recommender.open(path)
    newer = write_tiny_recommender_bundle(tmp_path / "newer", seed=3, signed_by=PUBLISHER.public_key)
    for one in [update, second][how == "put back" :]:
        CatalogueStore(path).apply(bundle, one)
    with Recommender.open(path, clock=lambda: NOW) as other:
        assert other.recommend(5) == answers
    (path / CATALOGUE_FILE).unlink()
    with Recommender.open(path, newer, clock=lambda: NOW) as other:
        assert len(other.recommend(5)) == 5
    recommender.close()


def test_a_forged_catalogue_is_not_taken(bundle: Bundle, update: bytes, tmp_path: Path) -> None:
    """Who may write the folder can make every digest right, and not the signature."""
    path, thief = tmp_path / "mine", Publisher(bytes(32))
    with Recommender.create(path, bundle, key=f"file:{tmp_path / 'key'}") as recommender:
        recommender.update(update)
    store = CatalogueStore(path)
    known = store.load(bundle)
    better = replace(known, popularity=np.full_like(known.popularity, 9), sequence=2)
    statement = catalogue_statement(bundle.digest, better.sequence, better.digest)
    genuine = PUBLISHER.sign(catalogue_statement(bundle.digest, known.sequence, known.digest))
    for signature in (b"", bytes(64), thief.sign(statement), genuine):
        store.keep(bundle, better, signature)
        for take in (lambda: Recommender.open(path), lambda: store.apply(bundle, update)):
            with pytest.raises(StoreError, match="its publisher has not signed it"):
                take()
    store.keep(bundle, known, genuine)
    Recommender.open(path).close()


def test_a_kill_between_catalogue_and_history(bundle: Bundle, update: bytes, tmp_path: Path) -> None:
    """The catalogue is new and the profile of the old one: numbers of items are others, and no answer is taken by them."""
    path, whole = tmp_path / "mine", tmp_path / "whole"
    for place in (path, whole):
        Recommender.create(place, bundle, key=f"file:{tmp_path / 'key'}", clock=lambda: NOW).close()
        with Recommender.open(place, clock=lambda: NOW) as recommender:
            recommender.record_many([Event(f"film-{number:03}", time=1e9 + 100 * number) for number in (2, 9, 30)])
            if place == whole:
                recommender.update(update)
                expected = recommender.recommend(5), recommender.explain("new"), acted(recommender)
    CatalogueStore(path).apply(bundle, update)
    with Recommender.open(path, clock=lambda: NOW) as recommender:
        assert (recommender.recommend(5), recommender.explain("new"), acted(recommender)) == expected
