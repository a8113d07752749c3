"""A history and a catalogue that changes: what is new counts, what is gone is not recommended, and every process notices."""

from __future__ import annotations

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
from nearfar.edge.recommend.delta import make_delta, write_delta
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
    with Recommender.open(path) as recommender:
        assert acted(recommender) == ["film-010"]
