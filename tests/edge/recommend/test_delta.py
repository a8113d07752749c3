"""Signed updates of a catalogue: what they change, and everything that is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.edge.tiny_recommender_bundle import made_facts, made_names, made_vectors, write_tiny_recommender_bundle

import nearfar.edge.recommend.delta as delta_module
from nearfar.bundle import Bundle
from nearfar.edge.recommend.catalogue import Catalogue
from nearfar.edge.recommend.catalogue_files import fact_line, packed_lines, round_vectors
from nearfar.edge.recommend.catalogue_store import CATALOGUE_FILE, CatalogueStore
from nearfar.edge.recommend.delta import LARGEST, make_delta, read_delta, write_delta
from nearfar.edge.recommend.scorer import Scorer
from nearfar.edge.recommend.signing import Publisher
from nearfar.errors import BundleError, DataError, KeyUnavailableError, StoreError

PUBLISHER, THIEF = Publisher(bytes(range(32))), Publisher(bytes(32))
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return write_tiny_recommender_bundle(tmp_path_factory.mktemp("films") / "bundle", signed_by=PUBLISHER.public_key)


def changed(
    catalogue: Catalogue, *, removed: tuple[str, ...] = (), added: int = 0, other: tuple[str, ...] = ()
) -> Catalogue:
    """The catalogue as its publisher wants it next."""
    kept = [n for n, name in enumerate(catalogue.names) if name not in removed]
    table = catalogue.vectors(np.arange(len(catalogue)))[kept]
    for name in other:
        table[kept.index(catalogue.number_of(name))] *= -1.0
    new = [f"new-{catalogue.sequence}-{n}" for n in range(added)]
    codes, scales = round_vectors(np.concatenate([table, made_vectors(added, catalogue.dim, seed=7)]))
    facts = [catalogue.fact_lines[n] for n in kept] + [fact_line({"title": name, "year": 2025}) for name in new]
    popularity = np.concatenate([catalogue.popularity[kept], np.full(added, -9, dtype=np.float16)])
    names = [catalogue.names[n] for n in kept] + new
    return Catalogue(tuple(names), codes, scales, popularity, None, tuple(facts))


def update(bundle: Bundle, before: Catalogue, **what: object) -> tuple[bytes, Catalogue]:
    delta, after = make_delta(bundle, before, changed(before, **what))
    return write_delta(delta, PUBLISHER), after


def same(one: Catalogue, other: Catalogue) -> bool:
    return one.digest == other.digest and one.names == other.names and one.fact_lines == other.fact_lines


def test_a_device_has_afterwards_what_its_publisher_has(tmp_path, bundle):
    before = Catalogue.open(bundle)
    content, after = update(bundle, before, removed=("film-003", "film-040"), added=3, other=("film-010",))
    store = CatalogueStore(tmp_path)
    assert same(store.load(bundle), before)
    found = store.apply(bundle, content)
    assert same(found, after)
    assert same(CatalogueStore(tmp_path).load(bundle), after)
    assert (len(found), found.sequence) == (61, 1)
    assert found.number_of("film-003") is None
    assert found.facts_of(found.number_of("new-0-2")) == {"title": "new-0-2", "year": 2025}
    old, new = before.number_of("film-010"), found.number_of("film-010")
    np.testing.assert_array_equal(found.codes[new], -before.codes[old])
    for name in before.names:
        if name not in ("film-003", "film-040", "film-010"):
            np.testing.assert_array_equal(found.vector(found.number_of(name)), before.vector(before.number_of(name)))


def test_the_prior_of_what_stays_is_what_it_was(bundle):
    before = Catalogue.open(bundle)
    _, after = update(bundle, before, removed=("film-003",), added=1)

    def expected(catalogue: Catalogue, name: str) -> dict[str, float]:
        numbers, strengths = catalogue.prior.row(catalogue.number_of(name))
        return {catalogue.names[n]: strength for n, strength in zip(numbers, strengths, strict=True)}

    assert expected(after, "film-007") == expected(before, "film-007")
    assert set(expected(after, "film-002")) == {"film-004"}  # film-003 is no more
    assert not expected(after, "new-0-0")


def test_updates_are_taken_in_their_order_and_rank(tmp_path, bundle):
    store, catalogue = CatalogueStore(tmp_path), Catalogue.open(bundle)
    for what in ({"added": 2}, {"removed": ("new-0-0",)}, {"other": ("film-001", "film-002")}):
        content, catalogue = update(bundle, catalogue, **what)
        assert same(store.apply(bundle, content), catalogue)
    scorer = Scorer(bundle, store.load(bundle))
    profile = scorer.new_profile().after(60, 1.0, 1.0, catalogue.vector(60))
    assert np.isfinite(scorer.scores(profile, 2.0)).all()
    assert len(scorer.scores(profile, 2.0)) == 61


def test_the_same_update_twice_is_one(tmp_path, bundle):
    content, after = update(bundle, Catalogue.open(bundle), added=1)
    store = CatalogueStore(tmp_path)
    store.apply(bundle, content)
    written = (tmp_path / CATALOGUE_FILE).stat().st_mtime_ns
    assert same(store.apply(bundle, content), after)
    assert (tmp_path / CATALOGUE_FILE).stat().st_mtime_ns == written


def test_older_ones_and_gaps_are_refused(tmp_path, bundle):
    first, one = update(bundle, Catalogue.open(bundle), added=1)
    second, two = update(bundle, one, added=1)
    third, _ = update(bundle, two, removed=("film-009",))
    store = CatalogueStore(tmp_path)
    with pytest.raises(DataError, match="is update 3, and this catalogue lacks updates 1 to 2: apply what is missing"):
        store.apply(bundle, third)
    store.apply(bundle, first)
    with pytest.raises(DataError, match="lacks update 2:"):
        store.apply(bundle, third)
    store.apply(bundle, second)
    with pytest.raises(DataError, match="is update 1, and this catalogue has had 2: older ones are not taken"):
        store.apply(bundle, first)
    assert same(store.load(bundle), two)


def test_an_update_of_another_line_is_refused(tmp_path, bundle):
    first, _ = update(bundle, Catalogue.open(bundle), added=1)
    _, other = update(bundle, Catalogue.open(bundle), added=2)
    second, _ = update(bundle, other, added=1)
    store = CatalogueStore(tmp_path)
    store.apply(bundle, first)
    with pytest.raises(DataError, match="changes another catalogue than the one here"):
        store.apply(bundle, second)


def test_a_promise_that_is_not_kept_is_refused(tmp_path, bundle):
    before = Catalogue.open(bundle)
    delta, _ = make_delta(bundle, before, changed(before, added=1))
    broken = write_delta(replace(delta, result="0" * 64), PUBLISHER)
    with pytest.raises(DataError, match="does not give the catalogue that it promises"):
        CatalogueStore(tmp_path).apply(bundle, broken)


def test_every_flipped_byte_is_noticed(tmp_path, bundle):
    content, _ = update(bundle, Catalogue.open(bundle), removed=("film-000",), added=1)
    store = CatalogueStore(tmp_path)
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(DataError, match=r"not signed by the publisher|not an update of a catalogue"):
            store.apply(bundle, bytes(flipped))
    for length in (0, 5, 40, len(content) // 2, len(content) - 1):
        with pytest.raises(DataError, match=r"not signed by the publisher|not an update of a catalogue"):
            store.apply(bundle, content[:length])
    assert not (tmp_path / CATALOGUE_FILE).exists()


def test_only_the_publisher_of_the_bundle_may_change_it(tmp_path, bundle):
    before = Catalogue.open(bundle)
    delta, _ = make_delta(bundle, before, changed(before, added=1))
    with pytest.raises(DataError, match="is not signed by the publisher"):
        CatalogueStore(tmp_path).apply(bundle, write_delta(delta, THIEF))
    unsigned = write_tiny_recommender_bundle(tmp_path / "unsigned")
    with pytest.raises(BundleError, match=r"names nobody who may change its catalogue: set recommend\.signed_by"):
        CatalogueStore(tmp_path).apply(unsigned, write_delta(delta, PUBLISHER))
    odd = write_tiny_recommender_bundle(tmp_path / "odd", signed_by="no key")
    with pytest.raises(BundleError, match="'no key' is no public key"):
        CatalogueStore(tmp_path).apply(odd, write_delta(delta, PUBLISHER))


ODD = {
    "the vector is not of finite numbers": lambda delta: replace(delta, scales=np.full_like(delta.scales, np.nan)),
    "the popularity is not of finite": lambda delta: replace(delta, popularity=np.full_like(delta.popularity, np.inf)),
    "its facts are no JSON object": lambda delta: replace(delta, fact_lines=("[1]",)),
    "facts are no JSON object: '{'": lambda delta: replace(delta, fact_lines=("{",)),
    "facts are no JSON object: '\\[\\[": lambda delta: replace(delta, fact_lines=("[" * 10**4,)),
    "cannot be the name": lambda delta: replace(delta, names=("a\0b",)),
    "has 2 lines for 1 items": lambda delta: replace(delta, names=("a\nb",)),
    "vectors of 7 components, where the bundle has 16": lambda delta: replace(delta, codes=delta.codes[:, :7]),
    "is the name of two items": lambda delta: replace(
        delta,
        names=delta.names * 2,
        codes=delta.codes.repeat(2, axis=0),
        scales=delta.scales.repeat(2),
        popularity=delta.popularity.repeat(2),
        fact_lines=delta.fact_lines * 2,
    ),
    "not in the catalogue of 60 items: 'film-999'": lambda delta: replace(delta, removed=("film-999",)),
}


@pytest.mark.parametrize("why", ODD)
def test_what_a_careless_publisher_signs_is_refused(tmp_path, bundle, why):
    """No device ends with a catalogue that it cannot rank or show."""
    before = Catalogue.open(bundle)
    delta, _ = make_delta(bundle, before, changed(before, added=1))
    with pytest.raises(DataError, match=why):
        CatalogueStore(tmp_path).apply(bundle, write_delta(ODD[why](delta), PUBLISHER))
    assert not (tmp_path / CATALOGUE_FILE).exists()


@pytest.mark.parametrize("text", [b"\n" * 2**27, b"x" * (2**27 - 1) + b"\n"])
def test_a_small_update_does_not_unfold_into_a_large_one(tmp_path, bundle, text, monkeypatch):
    before = Catalogue.open(bundle)
    delta, _ = make_delta(bundle, before, changed(before, added=1))
    bomb = zlib.compress(text, 9)
    monkeypatch.setattr(delta_module, "packed_lines", lambda lines: bomb if lines else packed_lines(lines))
    content = write_delta(replace(delta, removed=()), PUBLISHER)
    assert len(content) < 2**20
    tracemalloc.start()
    with pytest.raises(DataError, match="larger than 65,536 bytes"):
        CatalogueStore(tmp_path).apply(bundle, content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_a_publisher_is_told_before_it_signs(bundle):
    before = Catalogue.open(bundle)
    after = changed(before, added=1)
    after.popularity[-1] = np.nan
    with pytest.raises(DataError, match="item 'new-0-0': the popularity is not of finite numbers"):
        make_delta(bundle, before, after)


def test_names_of_a_thousand_letters_and_of_all_signs_are_taken(tmp_path, bundle):
    before = Catalogue.open(bundle)
    names = ["x" * 1000, "tab\there", "\r", "\u2028", "\ud800", "🎬", " "]
    codes, scales = round_vectors(made_vectors(len(names), before.dim))
    popularity = np.zeros(len(names), dtype=np.float16)
    after = Catalogue(tuple(names), codes, scales, popularity)
    delta, _ = make_delta(bundle, before, after)
    found = CatalogueStore(tmp_path).apply(bundle, write_delta(delta, PUBLISHER))
    assert found.names == tuple(names)
    assert same(CatalogueStore(tmp_path).load(bundle), found)


def test_an_update_for_another_bundle_is_refused(tmp_path, bundle):
    other = write_tiny_recommender_bundle(tmp_path / "other", seed=1, signed_by=PUBLISHER.public_key)
    content, _ = update(bundle, Catalogue.open(bundle), added=1)
    with pytest.raises(DataError, match="is an update for another bundle"):
        CatalogueStore(tmp_path).apply(other, content)


def test_a_new_bundle_begins_with_its_own_catalogue(tmp_path, bundle):
    other = write_tiny_recommender_bundle(tmp_path / "other", seed=1, signed_by=PUBLISHER.public_key)
    store = CatalogueStore(tmp_path)
    store.apply(bundle, update(bundle, Catalogue.open(bundle), added=1)[0])
    assert same(store.load(other), Catalogue.open(other))


def test_a_file_that_is_too_large_is_not_read(tmp_path, bundle):
    with (tmp_path / "huge.nfd").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(DataError, match=r"huge\.nfd: 268,435,457 bytes are too large"):
        CatalogueStore(tmp_path).apply(bundle, tmp_path / "huge.nfd")
    with pytest.raises(DataError, match=r"none\.nfd: cannot be read"):
        CatalogueStore(tmp_path).apply(bundle, tmp_path / "none.nfd")


def test_nothing_to_change_is_no_update(bundle):
    with pytest.raises(DataError, match="nothing differs"):
        make_delta(bundle, Catalogue.open(bundle), changed(Catalogue.open(bundle)))


def test_a_catalogue_is_never_empty(bundle):
    before = Catalogue.open(bundle)
    with pytest.raises(DataError, match="nothing would be left to recommend"):
        make_delta(bundle, before, changed(before, removed=before.names))


def test_an_update_is_no_larger_than_what_it_changes(tmp_path):
    bundle = write_tiny_recommender_bundle(tmp_path / "bundle", items=5000, signed_by=PUBLISHER.public_key)
    content, _ = update(bundle, Catalogue.open(bundle), added=10)
    assert len(content) < 3000


def test_a_damaged_catalogue_is_noticed_and_says_what_to_do(tmp_path, bundle):
    store = CatalogueStore(tmp_path)
    store.apply(bundle, update(bundle, Catalogue.open(bundle), added=1)[0])
    content = store.path.read_bytes()
    header_end = content.index(b"}") + 1
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 64
        store.path.write_bytes(flipped)
        with pytest.raises(StoreError, match=r"catalogue\.bin: is damaged .*: remove it, and apply the updates again"):
            store.load(bundle)
    for length in (0, 3, 11, header_end, len(content) - 1):
        store.path.write_bytes(content[:length])
        with pytest.raises(StoreError, match="is damaged"):
            store.load(bundle)


def test_devices_of_one_folder_may_apply_at_once(tmp_path, bundle):
    first, one = update(bundle, Catalogue.open(bundle), added=5)
    failed: list[BaseException] = []

    def apply() -> None:
        try:
            CatalogueStore(tmp_path).apply(bundle, first)
        except BaseException as error:  # told by the test
            failed.append(error)

    threads = [threading.Thread(target=apply) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert same(CatalogueStore(tmp_path).load(bundle), one)


_APPLY = """
    import os, signal, sys
    from pathlib import Path
    from nearfar.bundle import Bundle
    from nearfar.edge.recommend import catalogue_store
    from nearfar.index import derived_file

    at = int(sys.argv[4])
    calls = 0
    def counted(function):
        def call(*given, **named):
            global calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **named)
        return call
    os.fsync = counted(os.fsync)
    Path.replace = counted(Path.replace)
    derived_file.sync_folder = counted(derived_file.sync_folder)
    catalogue_store.CatalogueStore(sys.argv[1]).apply(Bundle.open(sys.argv[2]), sys.argv[3])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_kill_leaves_the_old_catalogue_or_the_new_one(tmp_path, bundle, at):
    content, after = update(bundle, Catalogue.open(bundle), removed=("film-001",), added=2)
    (tmp_path / "update.nfd").write_bytes(content)
    command = [sys.executable, "-c", textwrap.dedent(_APPLY), tmp_path, bundle.path, tmp_path / "update.nfd", str(at)]
    done = subprocess.run(
        [str(part) for part in command], env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    store = CatalogueStore(tmp_path)
    assert same(store.load(bundle), after if at > 2 else Catalogue.open(bundle))
    assert same(store.apply(bundle, content), after)


def test_keys_are_made_once_and_kept_from_others(tmp_path):
    path = tmp_path / "publisher.key"
    made = Publisher.open(path, create=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Publisher.open(path).public_key == made.public_key
    assert len(bytes.fromhex(made.public_key)) == 32
    path.chmod(0o644)
    with pytest.raises(KeyUnavailableError, match="others may read or change it"):
        Publisher.open(path)
    with pytest.raises(KeyUnavailableError, match="there is no such file"):
        Publisher.open(tmp_path / "none.key")


def test_a_catalogue_of_a_bundle_says_what_was_written(bundle):
    catalogue = Catalogue.open(bundle)
    assert list(catalogue.names) == made_names(60)
    assert [dict(catalogue.facts_of(n)) for n in range(60)] == made_facts(60)
    assert catalogue.title_of(5) == "Film 5"
    assert read_delta(update(bundle, catalogue, added=1)[0], bundle, "x").sequence == 1
