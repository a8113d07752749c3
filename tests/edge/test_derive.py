"""When derived files are made, made again, and deleted; and that whatever happens to them the answers stay."""

import shutil

import numpy as np
import pytest
from made_documents import QUERIES, answers, made_documents
from tiny_bundle import write_tiny_bundle

from nearfar.edge import SearchIndex, derive
from nearfar.edge.folder import opened_writer
from nearfar.edge.store import StoreReader
from nearfar.errors import DataError

LARGE = 400
DIM = 384


@pytest.fixture(scope="module", autouse=True)
def small_numbers():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "EXACT_UP_TO": 200,
            "FTS5_UP_TO": 100,
            "SCAN_UP_TO": 1000,
            "_TAIL_ROWS": 50,
            "MAX_NEWER": 120,
        }.items():
            patch.setattr(derive, name, value)
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    texts = [document.content for document in made_documents(300)]
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", dim=DIM, texts=texts)


@pytest.fixture(scope="module")
def large(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "i"
    SearchIndex.build(bundle, made_documents(LARGE), path, threads=1).close()
    return path


@pytest.fixture
def path(large, tmp_path):
    shutil.copytree(large, tmp_path / "i")
    return tmp_path / "i"


@pytest.fixture
def build(bundle, path):
    """Indexes documents by number and says what was made."""

    def build(numbers, **options):
        documents = [document for number in numbers for document in made_documents(1, start=number)]
        with SearchIndex.build(bundle, documents, path, threads=1, **options) as index:
            return index.report.derived

    return build


@pytest.fixture
def writer(bundle, path):
    with opened_writer(path, bundle, DIM) as writer:
        yield writer


def files(path):
    return sorted(file.name for file in path.glob("derived-*"))


def kinds(path):
    return sorted(file.suffix[1:] for file in path.glob("derived-*"))


def removed(path):
    reader = StoreReader(path)
    rows = reader.removed().tolist()
    reader.close()
    return rows


@pytest.mark.parametrize(
    ("engine", "passages", "kinds"),
    [
        ("auto", 0, ()),
        ("auto", 100, ()),
        ("auto", 101, ("postings",)),
        ("auto", 200, ("postings",)),
        ("auto", 201, ("signs", "postings")),
        ("auto", 1000, ("signs", "postings")),
        ("auto", 1001, ("graph", "postings")),
        ("scan", 200, ("postings",)),
        ("scan", 10**7, ("signs", "postings")),
        ("hnsw", 200, ("postings",)),
        ("hnsw", 201, ("graph", "postings")),
    ],
)
def test_the_number_of_passages_and_the_engine_decide_which_files_there_should_be(engine, passages, kinds):
    assert derive.wanted(engine, passages, 256) == kinds


def test_short_vectors_are_scanned_by_signs_only_where_that_is_asked_for():
    few = derive.SCAN_FROM_DIM - 1
    assert derive.wanted("auto", 201, few) == ("graph", "postings")
    assert derive.wanted("scan", 201, few) == ("signs", "postings")


def test_there_is_no_other_engine():
    assert derive.check_engine("hnsw") == "hnsw"
    with pytest.raises(DataError, match=r"'annoy'; choose one of auto, scan, hnsw"):
        derive.check_engine("annoy")


def test_the_store_knows_its_files(path):
    reader = StoreReader(path)
    for kind in ("signs", "postings"):
        record = reader.derived(kind)
        assert (record.kind, record.rows, record.last_row) == (kind, LARGE, LARGE)
        assert (path / record.file).stat().st_size == record.bytes
        assert type(record).parse(record.dump()) == record
    assert reader.derived("graph") is None
    reader.close()
    assert kinds(path) == ["postings", "signs"]


def test_few_changes_leave_the_files_as_they_are(build, path):
    before = files(path)
    assert build(range(LARGE)) == []
    assert build([*range(20, LARGE), *range(1000, 1050)]) == []
    assert files(path) == before
    assert removed(path) == list(range(1, 21))


def test_many_new_passages_make_the_files_again_each_by_its_own_measure(build, path):
    assert build(range(LARGE + 50)) == []
    assert build(range(LARGE + 55)) == ["signs"], "more than 50 and than a tenth"
    assert build(range(LARGE + 61)) == ["postings"], "more than half of what is read in memory"
    assert kinds(path) == ["postings", "signs"]


def test_many_removed_passages_make_both_files_again_and_are_forgotten(build, path):
    assert build(range(80, LARGE)) == []
    assert len(removed(path)) == 80
    assert sorted(build(range(81, LARGE))) == ["postings", "signs"]
    assert removed(path) == []


def test_removed_rows_are_remembered_as_long_as_one_file_covers_them(build, path):
    assert build([*range(20, LARGE), *range(1000, 1055)]) == ["signs"]
    assert removed(path) == list(range(1, 21)), "the postings still hold them"
    assert build([*range(20, LARGE), *range(1000, 1062)]) == ["postings"]
    assert removed(path) == list(range(1, 21)), "nobody knows that the signs do not"
    assert sorted(build([*range(120, LARGE), *range(1000, 1062)])) == ["postings", "signs"]
    assert removed(path) == []


def test_a_store_that_shrinks_has_no_files_and_one_that_grows_has_another_kind(build, path):
    assert build(range(150)) == ["postings"]
    assert kinds(path) == ["postings"], "keywords want them earlier"
    assert build(range(90)) == []
    assert kinds(path) == []
    assert removed(path) == []
    assert build(range(1100)) == ["graph", "postings"]
    assert build(range(900)) == ["signs"]
    assert kinds(path) == ["postings", "signs"]


@pytest.mark.parametrize("kind", ["signs", "graph", "postings"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "replaced"])
def test_a_file_that_cannot_be_used_is_made_again(build, path, kind, damage):
    if kind == "graph":
        assert build(range(LARGE), engine="hnsw") == ["graph"]
    (file,) = path.glob(f"*.{kind}")
    size = file.stat().st_size
    others = set(files(path)) - {file.name}
    file.unlink() if damage == "missing" else file.write_bytes(b"\7" * (size if damage == "replaced" else size // 2))
    assert build(range(LARGE)) == [kind]
    assert set(files(path)) > others
    assert not file.exists()


@pytest.mark.parametrize("kind", ["signs", "postings"])
def test_a_flipped_bit_is_found_when_files_are_read_whole(writer, path, kind):
    (file,) = path.glob(f"*.{kind}")
    content = bytearray(file.read_bytes())
    assert derive.problems(writer) == []
    content[-5] ^= 1
    file.write_bytes(content)
    (problem,) = derive.problems(writer)
    assert file.name in problem
    assert derive.renew_derived(writer, threads=1) == [], "its tables are sound"
    assert derive.renew_derived(writer, threads=1, check=True) == [kind]
    assert derive.problems(writer) == []


def test_a_file_of_another_index_of_the_same_size_is_found_when_read_whole(bundle, writer, path, tmp_path):
    SearchIndex.build(bundle, made_documents(LARGE, start=5000), tmp_path / "other", threads=1).close()
    (file,), (foreign,) = path.glob("*.signs"), (tmp_path / "other").glob("*.signs")
    assert foreign.stat().st_size == file.stat().st_size
    shutil.copy(foreign, file)
    assert [file.name in problem for problem in derive.problems(writer)] == [True]
    assert derive.renew_derived(writer, threads=1, check=True) == ["signs"]


def test_rows_that_only_a_file_knows_are_no_answers(bundle, build, path):
    """Such as those of another index's file of the same size."""
    build(range(40, LARGE))
    (file,) = path.glob("*.postings")
    with SearchIndex.open(path) as index:
        for mode in ("dense", "keyword", "hybrid"):
            assert len(index.search(QUERIES[0], 5, mode)) == 5
    with opened_writer(path, bundle, DIM) as writer:
        writer._connection.execute("DELETE FROM removed")
        writer._connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
    with SearchIndex.open(path) as index:
        for number in range(40):
            document = next(made_documents(1, start=number))
            for mode in ("dense", "keyword", "hybrid"):
                assert document.id not in {hit.id for hit in index.search(document.content, 20, mode)}
    assert file.exists()


def test_strangers_are_deleted(build, path):
    strangers = ("derived-99.signs", ".derived-7.graph.part", "derived-1.postings")
    for name in strangers:
        (path / name).write_bytes(b"left over")
    (path / "notes.txt").write_text("mine")
    before = set(files(path)) - set(strangers)
    assert build(range(LARGE)) == []
    assert set(files(path)) == before
    assert not (path / strangers[1]).exists()
    assert (path / "notes.txt").read_text() == "mine"


def test_a_graph_grows_by_what_is_new_until_too_much_of_it_is_gone(build, path, monkeypatch):
    built = []
    real = derive.HnswIndex.build
    monkeypatch.setattr(derive.HnswIndex, "build", lambda *a, **n: built.append(1) or real(*a, **n))
    assert build(range(LARGE), engine="hnsw") == ["graph"]
    assert len(built) == 1
    assert "graph" in build(range(10, LARGE + 60))
    assert len(built) == 1, "linked into the one that was there"
    reader = StoreReader(path)
    record = reader.derived("graph")
    reader.close()
    assert (record.rows, record.last_row) == (LARGE + 60, LARGE + 60)
    assert set(removed(path)) >= set(range(1, 11)), "the graph still holds them"
    with SearchIndex.open(path) as index:
        assert index.engine == "hnsw"
        assert {hit.id for hit in index.search(QUERIES[0], 60, "dense")} & {f"doc-{n}" for n in range(10)} == set()
    assert "graph" in build(range(150, LARGE + 60))
    assert len(built) == 2
    assert removed(path) == []


def test_an_encrypted_graph_is_built_anew(bundle, tmp_path):
    path, place = tmp_path / "i", f"file:{tmp_path / 'key'}"
    SearchIndex.build(bundle, made_documents(LARGE), path, engine="hnsw", encrypt=place, threads=1).close()
    with SearchIndex.build(bundle, made_documents(LARGE + 60), path, threads=1) as index:
        assert "graph" in index.report.derived
        assert index.engine == "hnsw"
        newest = next(made_documents(1, start=LARGE + 59))
        assert index.search(newest.content, 1, "dense")[0].id == newest.id


@pytest.mark.parametrize("engine", ["scan", "hnsw"])
def test_the_sample_is_of_the_rows_that_there_are(bundle, tmp_path, monkeypatch, engine):
    """After many changes the last row number is far beyond the number of rows."""
    monkeypatch.setattr(derive, "_SAMPLE", 100)
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(300), path, engine=engine, threads=1).close()
    with opened_writer(path, bundle, DIM) as writer:
        writer._connection.execute("UPDATE sqlite_sequence SET seq = 1000000 WHERE name = 'passages'")
    with SearchIndex.build(bundle, made_documents(300, start=7000), path, threads=1) as index:
        assert index.engine == engine
        overlaps = []
        for query in QUERIES:
            exact = [hit.id for hit in index.search(query, 300, "dense")[:10]]
            overlaps.append(len(set(exact) & {hit.id for hit in index.search(query, 10, "dense")}) / 10)
        assert np.mean(overlaps) >= 0.9
    with opened_writer(path, bundle, DIM) as writer:
        assert 100 <= len(derive._sample(writer)) <= 300


def test_one_thread_makes_the_same_files_twice(bundle, large, tmp_path):
    with (
        SearchIndex.build(bundle, made_documents(LARGE), tmp_path / "i", threads=1) as index,
        SearchIndex.open(large) as other,
    ):
        assert answers(index) == answers(other)
    for name in files(large):
        assert (tmp_path / "i" / name).read_bytes() == (large / name).read_bytes()
