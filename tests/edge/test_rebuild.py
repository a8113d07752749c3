"""Building an index anew: nothing is removed for nothing, and readers see what has taken its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from nearfar.bundle import Bundle
from nearfar.edge import SearchIndex
from nearfar.errors import DataError, KeyUnavailableError, StoreError
from nearfar.sources import Document, open_documents
from nearfar.sources.cut import Cutting


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


def documents(*ids: str) -> list[Document]:
    return [Document(id, f"The text of {id} is about taps.", title=id) for id in ids]


def found(index: SearchIndex) -> set[str]:
    return {hit.id for hit in index.search("taps", 100, "dense", distinct="none")}


def built(path: Path) -> set[str]:
    with SearchIndex.open(path) as index:
        return found(index)


def test_a_source_that_holds_nothing_costs_nothing(bundle: Bundle, tmp_path: Path) -> None:
    path, empty = tmp_path / "i", tmp_path / "empty"
    empty.mkdir()
    SearchIndex.build(bundle, documents("a", "b"), path).close()
    for source in (open_documents(empty, whole=True).documents(), iter([])):
        with pytest.raises(DataError):
            SearchIndex.build(bundle, source, path, rebuild=True)
        if isinstance(source, type(iter([]))):
            continue
        assert built(path) == {"a", "b"}


def test_a_key_that_cannot_be_had_costs_nothing(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("sqlcipher3")
    path = tmp_path / "i"

    def ask(passphrase: str):  # type: ignore[no-untyped-def]
        return lambda _which: passphrase

    SearchIndex.build(bundle, documents("a"), path, encrypt="passphrase", ask=ask("correct horse battery")).close()
    record = (path / "key.json").read_bytes()
    with pytest.raises(KeyUnavailableError):
        SearchIndex.build(bundle, documents("b"), path, rebuild=True, ask=ask("wrong horse battery"))
    with pytest.raises(KeyUnavailableError):
        SearchIndex.build(bundle, documents("b"), path, rebuild=True, encrypt=f"file:{path / 'inside'}")
    assert (path / "key.json").read_bytes() == record
    with SearchIndex.open(path, ask=ask("correct horse battery")) as index:
        assert found(index) == {"a"}
    # A lost passphrase is no reason to keep what nobody can read.
    new = ask("another horse battery")
    SearchIndex.build(bundle, documents("b"), path, rebuild=True, encrypt="passphrase", ask=new).close()
    with SearchIndex.open(path, ask=new) as index:
        assert found(index) == {"b"}


def test_a_reader_that_is_open_follows(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "i"
    with SearchIndex.build(bundle, documents("a", "b"), path) as index:
        assert found(index) == {"a", "b"}
        SearchIndex.build(bundle, documents("c"), path, rebuild=True).close()
        assert found(index) == {"c"}
        assert len(index) == 1


def test_a_reader_does_not_mix_two_bundles(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "i"
    other = write_tiny_bundle(tmp_path / "other", seed=7)
    assert other.digest != bundle.digest
    with SearchIndex.build(bundle, documents("a"), path) as index:
        SearchIndex.build(other, documents("a"), path, rebuild=True).close()
        for _ in range(2):
            with pytest.raises(StoreError, match="open it again"):
                index.search("taps")


def test_a_reader_stays_with_the_old_one_while_the_new_one_is_not_there(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "i"
    with SearchIndex.build(bundle, documents("a"), path) as index:
        store, aside = path / "store.sqlite", path / "aside"
        store.rename(aside)
        assert found(index) == {"a"}
        store.write_bytes(b"")
        assert found(index) == {"a"}
        store.unlink()
        aside.rename(store)
        assert found(index) == {"a"}


def test_how_documents_are_cut_is_remembered(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "i"
    long = Document("long", " ".join(f"word{number}." for number in range(60)))
    with SearchIndex.build(bundle, [long], path, cutting=Cutting(20, 0)) as index:
        assert index.passages == 3
    with SearchIndex.edit(path) as editor:
        editor.upsert([Document("later", long.text + " And more.")])
    with SearchIndex.build(bundle, [long], path) as index:
        assert index.passages == 3
        assert index.report is not None
        assert index.report.unchanged == 1


@pytest.mark.parametrize(
    "wrong",
    [
        "a text",
        {},
        Document(5, "text"),  # type: ignore[arg-type]
        Document("a", None),  # type: ignore[arg-type]
        Document("a", "text", metadata={1: "x"}),  # type: ignore[dict-item]
        Document("a", "text", metadata={"x": {"nested": 1}}),  # type: ignore[dict-item]
    ],
)
def test_what_is_no_document_is_told(bundle: Bundle, tmp_path: Path, wrong: object) -> None:
    with pytest.raises(DataError):
        SearchIndex.build(bundle, [wrong], tmp_path / "i")  # type: ignore[list-item]


@pytest.mark.parametrize(
    "options", [{"k": 2.5}, {"k": "5"}, {"min_score": "x"}, {"min_score": float("nan")}, {"diversity": 2}]
)
def test_numbers_that_make_no_sense_are_told(bundle: Bundle, tmp_path: Path, options: dict[str, object]) -> None:
    with (
        SearchIndex.build(bundle, documents("a"), tmp_path / "i") as index,
        pytest.raises(DataError, match=next(iter(options))),
    ):
        index.search("taps", **options)  # type: ignore[arg-type]
