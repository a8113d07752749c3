"""What happens to an index when things go wrong: killed writers, full disks, read-only media, two at once."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from made_documents import PARAGRAPHS, QUERIES, answers, made_documents, made_long_documents
from tiny_bundle import write_tiny_bundle

from nearfar.edge import Encoder, SearchIndex, derive
from nearfar.edge.build import build_index
from nearfar.edge.folder import known_stamps, opened_writer
from nearfar.edge.store import StoreReader
from nearfar.edge.store.lock import writer_lock
from nearfar.errors import DataError, StoreError
from nearfar.sources.cut import Cutting
from nearfar.sources.document import Document, Passage, Unchanged

LARGE, EXACT_UP_TO = 1700, 800
"""With fewer passages compared one by one than by default, an index is large, and has derived files, earlier."""
HERE = Path(__file__).parent
START = f"""
import os, signal, sys
sys.path.insert(0, {str(HERE)!r})
from made_documents import QUERIES, made_documents
from nearfar.edge import SearchIndex, derive
from nearfar.errors import NearfarError
derive.EXACT_UP_TO, derive.SCAN_FROM_DIM = {EXACT_UP_TO}, 1
bundle, path = sys.argv[1:3]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run(script, *arguments, **options):
    command = [sys.executable, "-c", START + script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def start(script, *arguments):
    command = [sys.executable, "-c", START + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module", autouse=True)
def earlier_large():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derive, "EXACT_UP_TO", EXACT_UP_TO)
        patch.setattr(derive, "SCAN_FROM_DIM", 1)
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    texts = [document.content for document in made_documents(300)]
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", texts=texts)


@pytest.fixture(scope="module")
def undisturbed(bundle, tmp_path_factory):
    with SearchIndex.build(bundle, made_documents(LARGE), tmp_path_factory.mktemp("u") / "i", threads=1) as index:
        return answers(index)


def derived(path):
    return sorted(file.name for file in path.iterdir() if "derived-" in file.name)


def kinds(path):
    return [Path(name).suffix for name in derived(path)]


KILLED = {
    "while copying the bundle": "import shutil; shutil.copyfile = lambda *_: die()",
    "before the first document": "documents = (die() for _ in range(1))",
    "while reading the second batch": "documents = (d if n < 700 else die() for n, d in enumerate(documents))",
    "after the third batch": "progress = lambda stage, done: die() if done == 1536 else None",
    "before the derived files": "progress = lambda stage, done: die() if stage == 'graph' else None",
    "while saving a derived file": "os.fsync = lambda _: die()",
    "before naming the derived files": """
from nearfar.edge.store.writer import StoreWriter
StoreWriter.set_derived = lambda *_, **__: die()
""",
    "inside a transaction": """
from nearfar.edge.store import writer
calls = []
def packed(vectors, real=writer.packed):
    calls.append(1)
    return (code if number < 100 or len(calls) < 4 else die() for number, code in enumerate(real(vectors)))
writer.packed = packed
""",
}


@pytest.mark.parametrize("moment", KILLED)
def test_killed_at_a_moment_and_run_again_it_is_as_if_undisturbed(bundle, undisturbed, tmp_path, moment):
    path = tmp_path / "i"
    script = f"documents, progress = made_documents({LARGE}), None\n{KILLED[moment]}\n"
    done = run(script + "SearchIndex.build(bundle, documents, path, threads=1, progress=progress)", bundle.path, path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with SearchIndex.build(bundle, made_documents(LARGE), path, threads=1) as index:
        assert index.report.added + index.report.unchanged == LARGE
        assert (index.report.updated, index.report.removed, index.report.skipped) == (0, 0, 0)
        if moment == "after the third batch":
            assert index.report.unchanged == 1536
        if moment == "inside a transaction":
            assert index.report.unchanged == 3 * 512
        assert answers(index) == undisturbed
    assert kinds(path) == [".postings", ".signs"]
    names = {child.name for child in path.iterdir()} - {"store.sqlite-wal", "store.sqlite-shm"}
    assert names - {"writer.lock.owner"} == {"bundle", "store.sqlite", "writer.lock", *derived(path)}


def test_killed_at_any_time_and_run_again_it_is_as_if_undisturbed(bundle, undisturbed, tmp_path):
    path = tmp_path / "i"
    script = f"SearchIndex.build(bundle, made_documents({LARGE}), path, threads=1, progress=lambda *a: print(*a, flush=True))"
    for wait in (0.0, 0.003, 0.01, 0.03, 0.1):
        process = start(script, bundle.path, path)
        process.stdout.readline()
        time.sleep(wait)
        process.kill()
        process.communicate()
        with SearchIndex.open(path) as index:
            assert len(index.search(QUERIES[0], LARGE, "dense")) == len(index) >= 512
    with SearchIndex.build(bundle, made_documents(LARGE), path, threads=1) as index:
        assert index.report.unchanged >= 512
        assert answers(index) == undisturbed


def test_killed_while_updating(bundle, tmp_path):
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(2000), path, threads=1).close()
    change = "documents = [replace(d, text=d.text + ' zuzu') for d in list(made_documents(2500))[1000:]]"
    script = (
        f"from dataclasses import replace\n{change}\nprogress = lambda stage, done: die() if done == 1024 else None\n"
    )
    done = run(script + "SearchIndex.build(bundle, documents, path, progress=progress)", bundle.path, path)
    assert done.returncode == -signal.SIGKILL
    with SearchIndex.open(path) as index:
        assert len(index) == 2000 + 24  # the first 1,000 are only removed when all was read
    documents = [replace(document, text=document.text + " zuzu") for document in list(made_documents(2500))[1000:]]
    with SearchIndex.build(bundle, documents, path, threads=1) as index:
        assert index.report.removed == 1000
        assert index.report.unchanged == 1024
        fresh = SearchIndex.build(bundle, documents, tmp_path / "fresh", threads=1)
        assert answers(index) == answers(fresh)


def test_counts_of_an_update(bundle, tmp_path):
    path = tmp_path / "i"
    first = SearchIndex.build(bundle, made_documents(600), path).report
    assert (first.added, first.updated, first.unchanged, first.removed) == (600, 0, 0, 0)
    documents = list(made_documents(700))[50:]
    documents[0] = replace(documents[0], text="entirely new")
    documents[1] = replace(documents[1], title="another title")
    documents[2] = replace(documents[2], location="moved.txt:1")
    index = SearchIndex.build(bundle, documents, path)
    report = index.report
    assert (report.added, report.updated, report.unchanged, report.removed) == (100, 2, 548, 50)
    assert index.search("entirely new", 1, "keyword")[0].id == documents[0].id
    assert index.search(documents[2].text, 1, "keyword")[0].location == "moved.txt:1"
    again = SearchIndex.build(bundle, documents, path).report
    assert (again.added, again.updated, again.removed, again.unchanged, again.passages) == (0, 0, 0, 650, 0)


def test_unusable_documents_are_counted_and_named(bundle, tmp_path):
    documents = [
        Document(id="a", text="first"),
        Document(id="b", text=" \n", location="x.md:3"),
        Document(id="a", text="second", location="x.md:7"),
        Document(id="c", text="lone \ud800 surrogate"),
        *made_documents(600),
        Document(id="a", text="third"),
    ]
    index = SearchIndex.build(bundle, documents, tmp_path / "i")
    assert (index.report.added, index.report.skipped) == (602, 3)
    assert index.report.examples[:2] == ["x.md:3: it has no text", "x.md:7: another document has the id 'a'"]
    assert index.search("surrogate", mode="keyword")[0].id == "c"
    assert index.search("first", mode="keyword")[0].text == "first"


def test_a_source_that_gives_nothing_or_fails_removes_nothing(bundle, tmp_path):
    path = tmp_path / "i"
    expected = answers(SearchIndex.build(bundle, made_documents(100), path))
    for documents in ([], [Document(id="x", text="")]):
        with pytest.raises(DataError, match="nothing to index"):
            SearchIndex.build(bundle, documents, path)

    def failing():
        yield from made_documents(10)
        raise DataError("broken at line 11")

    with pytest.raises(DataError, match="line 11"):
        SearchIndex.build(bundle, failing(), path)
    assert answers(SearchIndex.open(path)) == expected


SEARCHER = """
from pathlib import Path
index = SearchIndex.open(path)
stay = [d for d in made_documents(300)]
stop, rounds, sizes = Path(sys.argv[3]), 0, set()
while not stop.exists() or not rounds:
    for mode in ("dense", "keyword", "hybrid"):
        wanted = stay[rounds % 300]
        hits = index.search(wanted.content, 5, mode)
        assert hits[0].id == wanted.id, (mode, rounds, hits)
    everything = index.search(wanted.content, 10**6, "dense")
    assert len({hit.id for hit in everything}) == len(everything)
    sizes.add(len(everything))
    rounds += 1
    print(rounds, flush=True)
print("sizes", len(sizes))
"""


def test_two_processes_search_while_one_indexes(bundle, tmp_path):
    path, stop = tmp_path / "i", tmp_path / "stop"
    SearchIndex.build(bundle, made_documents(300), path, threads=1).close()
    searchers = [start(SEARCHER, bundle.path, path, stop) for _ in range(2)]
    try:
        for searcher in searchers:
            searcher.stdout.readline()
        for size in (LARGE, 1000, LARGE + 500):
            SearchIndex.build(bundle, made_documents(size), path, threads=1).close()
    finally:
        stop.touch()
        said = [searcher.communicate(timeout=60) for searcher in searchers]
    for searcher, (output, problems) in zip(searchers, said, strict=True):
        assert searcher.returncode == 0, problems
        assert int(output.split()[-1]) > 1, "it never saw a change"
    with SearchIndex.open(path) as index:
        assert len(index) == LARGE + 500


def test_a_second_writer_is_told_who_writes(bundle, tmp_path):
    path = tmp_path / "i"
    script = """
def documents():
    yield from made_documents(600)
    print("indexing", flush=True)
    sys.stdin.read()
SearchIndex.build(bundle, documents(), path)
"""
    command = [sys.executable, "-c", START + script, str(bundle.path), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "indexing\n"
        with pytest.raises(StoreError, match=f"process {first.pid} on .* is indexing here"):
            SearchIndex.build(bundle, made_documents(5), path)
        first.stdin.close()
        assert first.wait(60) == 0
    assert SearchIndex.build(bundle, made_documents(5), path).report.removed == 595


def test_the_lock_of_a_killed_writer_is_free(tmp_path, bundle):
    script = (
        "from pathlib import Path\nfrom nearfar.edge.store.lock import writer_lock\nwith writer_lock(Path(path)): die()"
    )
    assert run(script, bundle.path, tmp_path).returncode == -signal.SIGKILL
    with writer_lock(tmp_path), pytest.raises(StoreError, match="is indexing here"), writer_lock(tmp_path):
        pass


def test_an_index_of_another_bundle_is_refused_until_rebuilt(bundle, tmp_path):
    path = tmp_path / "i"
    other = write_tiny_bundle(tmp_path / "other", seed=5)
    SearchIndex.build(bundle, made_documents(50), path).close()
    with pytest.raises(StoreError) as caught:
        SearchIndex.build(other, made_documents(50), path)
    assert bundle.digest[:16] in str(caught.value)
    assert other.digest[:16] in str(caught.value)
    assert "--rebuild" in str(caught.value)
    with SearchIndex.open(path) as index:
        assert index.bundle.digest == bundle.digest
    with SearchIndex.build(other, made_documents(40), path, rebuild=True) as index:
        assert (index.report.added, index.report.removed) == (40, 0)
        assert index.bundle.digest == other.digest
    with SearchIndex.open(path) as index:
        assert len(index) == 40


def test_rebuilding_with_the_bundle_inside_the_index(bundle, tmp_path):
    path = tmp_path / "i"
    expected = answers(SearchIndex.build(bundle, made_documents(50), path, threads=1))
    with SearchIndex.build(path / "bundle", made_documents(50), path, rebuild=True, threads=1) as index:
        assert answers(index) == expected


def test_a_store_that_does_not_fit_the_bundle_beside_it(bundle, tmp_path):
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(5), path).close()
    shutil.rmtree(path / "bundle")
    write_tiny_bundle(path / "bundle", seed=5)
    with pytest.raises(StoreError, match="--rebuild"):
        SearchIndex.open(path)
    SearchIndex.build(bundle, made_documents(5), path).close()
    SearchIndex.open(path).close()


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "other database", "newer"])
def test_a_damaged_store_is_named_and_can_be_rebuilt(bundle, tmp_path, damage):
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(300), path).close()
    store = path / "store.sqlite"
    content = store.read_bytes()
    store.unlink()
    if damage in {"empty", "text", "truncated"}:
        store.write_bytes(
            {"empty": b"", "text": b"hello" * 999, "truncated": content[: len(content) // 4096 // 3 * 4096]}[damage]
        )
    elif damage == "other database":
        sqlite3.connect(store).execute("CREATE TABLE notes (text)").connection.close()
    elif damage == "newer":
        store.write_bytes(content)
        with sqlite3.connect(store) as connection:
            connection.execute("UPDATE meta SET value = '3' WHERE key = 'format'")
        connection.close()

    def use():
        with SearchIndex.open(path) as index:
            for query in QUERIES:
                index.search(query, 300, "hybrid")

    with pytest.raises(StoreError, match=str(path)):
        use()
    SearchIndex.build(bundle, made_documents(300), path, rebuild=True).close()
    use()


def test_a_folder_that_is_no_index_is_left_alone(bundle, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"thesis\.txt"):
        SearchIndex.build(bundle, made_documents(1), tmp_path, rebuild=True)
    with pytest.raises(StoreError, match="this is a file"):
        SearchIndex.build(bundle, made_documents(1), tmp_path / "thesis.txt")
    with pytest.raises(StoreError, match="no search index"):
        SearchIndex.open(tmp_path / "absent")
    assert [child.name for child in tmp_path.iterdir()] == ["thesis.txt"]


READ_ONLY = """
import nearfar.edge.search, nearfar.edge.encoder, nearfar.edge.build, faiss
if os.geteuid() == 0:
    os.setuid(65534)
index = SearchIndex.open(path)
print([hit.id for mode in ("dense", "keyword", "hybrid") for hit in index.search(QUERIES[0], 5, mode)])
try:
    SearchIndex.build(bundle, made_documents(3), path)
except NearfarError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def open_folder():
    """A folder that any user can reach; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="nearfar-test-"))
    folder.chmod(0o755)
    yield folder
    for child in folder.rglob("*"):
        if child.is_dir():
            child.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("count", [100, LARGE])
def test_a_read_only_folder_can_be_searched(bundle, open_folder, count):
    path, own = open_folder / "i", open_folder / "b"
    shutil.copytree(bundle.path, own)
    with SearchIndex.build(own, made_documents(count), path, threads=1) as index:
        expected = [hit.id for mode in ("dense", "keyword", "hybrid") for hit in index.search(QUERIES[0], 5, mode)]
    for child in [*path.rglob("*"), *own.rglob("*"), path, own]:
        child.chmod(0o555 if child.is_dir() else 0o444)
    done = run(READ_ONLY, own, path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == str(expected)
    assert second.startswith(f"StoreError {path}: ")


def test_an_unfinished_journal_on_a_read_only_folder_is_not_passed_over(bundle, open_folder):
    path, own = open_folder / "i", open_folder / "b"
    shutil.copytree(bundle.path, own)
    script = "SearchIndex.build(bundle, made_documents(1500), path, progress=lambda stage, done: die())"
    assert run(script, own, path).returncode == -signal.SIGKILL
    assert (path / "store.sqlite-wal").stat().st_size > 0
    (path / "store.sqlite-shm").unlink()
    for child in [*path.rglob("*"), *own.rglob("*"), path, own]:
        child.chmod(0o555 if child.is_dir() else 0o444)
    done = run(READ_ONLY, own, path)
    assert "StoreError" in done.stderr.splitlines()[-1]
    assert "did not finish" in done.stderr


FULL = """
limit = int(sys.argv[3])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    SearchIndex.build(bundle, made_documents(int(sys.argv[4])), path, threads=1)
except NearfarError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("limit", [60_000, 900_000, 1_400_000])
def test_a_full_disk_loses_nothing_that_was_stored(bundle, undisturbed, tmp_path, limit):
    pytest.importorskip("resource")
    path = tmp_path / "i"
    done = run(FULL, bundle.path, path, limit, LARGE)
    assert done.stdout.startswith(f"StoreError {path}: the index could not be written"), done.stdout + done.stderr
    if limit > 100_000:
        with SearchIndex.open(path) as index:
            assert 512 <= len(index) == len(index.search(QUERIES[0], LARGE, "dense"))
    with SearchIndex.build(bundle, made_documents(LARGE), path, threads=1) as index:
        assert answers(index) == undisturbed


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root on Linux")
def test_a_full_tmpfs(bundle, undisturbed, tmp_path):
    mount = tmp_path / "m"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        path = mount / "i"
        done = run(FULL, bundle.path, path, 0, LARGE)
        assert "could not be written" in done.stdout, done.stdout + done.stderr
        with SearchIndex.open(path) as index:
            assert 512 <= len(index) == len(index.search(QUERIES[0], LARGE, "dense"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        with SearchIndex.build(bundle, made_documents(LARGE), path, threads=1) as index:
            assert answers(index) == undisturbed
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_opening_loads_only_what_a_query_needs(bundle, tmp_path):
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(100), path).close()
    script = """
heavy = ("onnxruntime", "faiss", "torch")
with SearchIndex.open(path) as index:
    index.search(QUERIES[0], mode="keyword")
    print([name for name in heavy if name in sys.modules])
    index.search(QUERIES[0], mode="dense")
    print([name for name in heavy if name in sys.modules])
"""
    done = run(script, bundle.path, path)
    assert done.stdout.splitlines() == ["[]", "['onnxruntime']"], done.stderr


# What is stored, and what is not made again


class Counting:
    """An encoder that remembers what it was given."""

    def __init__(self, encoder):
        self.encoder, self.dim, self.given = encoder, encoder.dim, []

    def embed(self, items, side="document"):
        self.given.extend(items)
        return self.encoder.embed(items, side=side)


@pytest.fixture
def build(bundle, tmp_path):
    """Builds an index and says what was embedded for it, and the report."""

    def build(documents, cutting=PARAGRAPHS):
        encoder = Counting(Encoder.open(bundle))
        with opened_writer(tmp_path / "i", bundle, encoder.dim) as writer:
            report = build_index(writer, encoder, documents, cutting=cutting, threads=1)
        return encoder.given, report

    return build


def contents(path):
    """All documents and passages of an index, without row numbers."""
    reader = StoreReader(path)
    with reader.snapshot():
        found = [
            (p.id, p.number, p.title, p.heading, p.text, p.location, p.page, p.begin, p.end, dict(p.metadata))
            for p in reader.passages_after(0, 10**6)
        ]
    reader.close()
    return sorted(found, key=lambda passage: passage[:2])


def sound(path):
    """Everything in the tables belongs together."""
    connection = sqlite3.connect(path / "store.sqlite")
    run = connection.execute
    assert run("PRAGMA integrity_check").fetchall() == [("ok",)]
    run("INSERT INTO keywords (keywords, rank) VALUES ('integrity-check', 1)")
    for sql in (
        "SELECT row FROM passages WHERE row NOT IN (SELECT row FROM vectors)",
        "SELECT row FROM vectors WHERE row NOT IN (SELECT row FROM passages)",
        "SELECT doc FROM passages WHERE doc NOT IN (SELECT doc FROM documents)",
        "SELECT doc FROM attributes WHERE doc NOT IN (SELECT doc FROM documents)",
        "SELECT doc FROM documents WHERE doc NOT IN (SELECT doc FROM passages)",
        "SELECT row FROM removed WHERE row IN (SELECT row FROM passages)",
    ):
        assert run(sql).fetchall() == [], sql
    connection.close()


def test_a_document_is_cut_and_every_passage_embedded_under_its_title(build, tmp_path):
    documents = list(made_long_documents(20))
    given, report = build(documents)
    assert (report.added, report.passages) == (20, 60)
    assert given == [f"{d.title}\n{part}" for d in documents for part in d.text.split("\n\n")]
    stored = contents(tmp_path / "i")
    assert len(stored) == 60
    by_id = {document.id: document for document in documents}
    for id, number, title, heading, text, location, page, begin, end, metadata in stored:
        document = by_id[id]
        assert text == document.text[begin:end] == document.text.split("\n\n")[number - 1]
        assert (title, heading, location, page) == (document.title, document.title, document.location, None)
        assert metadata == document.metadata
    sound(tmp_path / "i")


def test_passages_bring_their_own_heading_location_and_page(build, tmp_path, bundle):
    passages = (Passage(0, 4, "First", "a.md:3", 1), Passage(5, 9, page=2), Passage(2, 9, "First", "a.md:7", 2))
    given, _ = build([Document("a.md", "kaka lolo", title="Title", location="a.md", passages=passages)])
    assert given == ["First\nkaka", "Title\nlolo", "First\nka lolo"]
    assert [passage[3:7] for passage in contents(tmp_path / "i")] == [
        ("First", "kaka", "a.md:3", 1),
        ("Title", "lolo", "a.md", 2),
        ("First", "ka lolo", "a.md:7", 2),
    ]
    with SearchIndex.open(tmp_path / "i") as index:
        hits = {hit.passage: hit for hit in index.search("kaka lolo", mode="keyword", distinct="none")}
    assert [hits[number].heading for number in (1, 2, 3)] == ["First", "", "First"]
    assert [hits[number].page for number in (1, 2, 3)] == [1, 2, 2]


def test_a_document_of_nothing_but_a_title_is_found_by_it(build, tmp_path):
    given, report = build([Document("t", "", title="kaka lolo"), *made_documents(3)])
    assert (report.added, report.skipped) == (4, 0)
    assert "kaka lolo" in {text.strip() for text in given}
    with SearchIndex.open(tmp_path / "i") as index:
        for mode in ("dense", "keyword", "hybrid"):
            assert index.search("kaka lolo", 1, mode)[0].id == "t"


def test_only_changed_passages_are_embedded_again(build, tmp_path):
    documents = list(made_long_documents(30))
    build(documents)
    before = {(p[0], p[1]): p for p in contents(tmp_path / "i")}
    first, second, third = documents[4].text.split("\n\n")
    documents[4] = replace(documents[4], text=f"{first}\n\n{third}\n\nsomething entirely new here")
    given, report = build(documents)
    assert given == [f"{documents[4].title}\nsomething entirely new here"]
    assert (report.added, report.updated, report.unchanged, report.passages) == (0, 1, 29, 1)
    after = {(p[0], p[1]): p for p in contents(tmp_path / "i")}
    assert {key for key in before if before[key] != after[key]} == {("long-4", 2), ("long-4", 3)}
    with SearchIndex.open(tmp_path / "i") as index:
        assert index.search(f"{documents[4].title} {third}", 1, "dense")[0].passage == 2
        assert index.search(second, 1, "keyword")[0].text != second
    sound(tmp_path / "i")


def test_vectors_that_are_kept_are_the_same_as_new_ones(build, bundle, tmp_path):
    documents = list(made_long_documents(30))
    build(documents)
    for turn in range(4):
        documents = [replace(d, text=f"{d.text}\n\nturn {turn}") for d in documents]
        build(documents)
    SearchIndex.build(bundle, documents, tmp_path / "fresh", threads=1, cutting=PARAGRAPHS).close()
    with SearchIndex.open(tmp_path / "i") as index, SearchIndex.open(tmp_path / "fresh") as fresh:
        assert answers(index) == answers(fresh)
    sound(tmp_path / "i")


def test_a_document_that_shrinks_loses_its_last_passages(build, tmp_path):
    documents = list(made_long_documents(10, paragraphs=6))
    build(documents)
    documents[3] = replace(documents[3], text=documents[3].text.split("\n\n")[0])
    given, report = build(documents)
    assert (given, report.updated) == ([], 1)
    assert [p[1] for p in contents(tmp_path / "i") if p[0] == "long-3"] == [1]
    assert len(contents(tmp_path / "i")) == 9 * 6 + 1
    sound(tmp_path / "i")


def test_another_cutting_is_another_document(build, tmp_path):
    documents = list(made_long_documents(10))
    build(documents)
    _, report = build(documents, Cutting(words=26, overlap=0))
    assert report.updated == 10
    assert [p[1] for p in contents(tmp_path / "i") if p[0] == "long-3"] == [1, 2]


def test_where_only_metadata_or_place_changed_nothing_is_embedded(build, tmp_path):
    documents = list(made_long_documents(30))
    build(documents)
    documents[4] = replace(documents[4], metadata={"number": 4000, "kind": "violet"})
    documents[5] = replace(documents[5], location="moved.txt")
    documents[6] = replace(documents[6], metadata={})
    with SearchIndex.open(tmp_path / "i") as reader:
        assert len(reader.search("kaka", 100, "dense", where="draft = true", distinct="document")) == 15
        given, report = build(documents)
        assert (given, report.unchanged, report.updated, report.passages) == ([], 30, 0, 0)

        def found(where):
            return {hit.id for hit in reader.search("kaka", 100, "dense", where=where)}

        assert found("kind = 'violet' AND number > 3000") == {"long-4"}
        assert len(found("draft = true")) == 13
        assert not found("number IN (4, 6)")
        stored = contents(tmp_path / "i")
        assert {p[5] for p in stored if p[0] == "long-5"} == {"moved.txt"}
        assert {str(p[9]) for p in stored if p[0] == "long-6"} == {"{}"}
    sound(tmp_path / "i")


def test_what_has_not_changed_by_its_stamp_is_kept_without_being_read(build, tmp_path):
    documents = list(made_long_documents(30))
    build(documents)
    with known_stamps(tmp_path / "i") as known:
        assert known("long-3", "s3")
        assert not known("long-3", "s4")
        assert not known("long-99", "s3")
        assert not known("long-3", "")
        source = [Unchanged(d.id) if known(d.id, d.stamp) and n != 7 else d for n, d in enumerate(documents)]
    source[9] = replace(documents[9], text="another text", stamp="later")
    del source[20]
    given, report = build([*source, Unchanged("never heard of")])
    assert given == [f"{documents[9].title}\nanother text"]
    assert (report.added, report.updated, report.unchanged, report.removed) == (0, 1, 28, 1)
    with known_stamps(tmp_path / "i") as known:
        assert known("long-9", "later")
        assert not known("long-20", "s20")
    with known_stamps(tmp_path / "none") as known:
        assert known is None


def test_documents_without_an_id_are_known_by_their_content(build, tmp_path):
    documents = [replace(document, id="") for document in made_documents(10)]
    build(documents)
    given, report = build([*documents[1:], replace(documents[3], text="new here")])
    assert (len(given), report.added, report.unchanged, report.removed) == (1, 1, 9, 1)
    assert all(p[0].startswith("sha256:") for p in contents(tmp_path / "i"))


ODD_TEXTS = (
    "a\0b kaka",
    "\0",
    "lone \ud800 surrogate",
    "\x01\x1f\x7f",
    "\u2028 line",
    "é e\u0301 ＡＢ",
    "😀" * 9,
    "a" * 70_000,
)


def test_odd_texts_are_stored_updated_and_removed(build, tmp_path):
    odd = [Document(f"{n} {text[:20]}", text, title=text[:9], location=text[:9]) for n, text in enumerate(ODD_TEXTS)]
    for documents in (odd, odd, [replace(d, text=f"{d.text} zuzu") for d in odd], [*made_documents(2)]):
        _, report = build(documents)
        sound(tmp_path / "i")
    assert report.removed == len(odd)


ODD_VALUES = {
    "nan": float("nan"), "inf": float("inf"), "huge": 2**70, "small": -(2**63), "empty": "", "none left": (), "nul": "a\0b",
    "lone": "\ud800", "many": tuple(range(300)), "mixed": (1, "one", True, 1.5), 'a "quoted" key': 1, "": 2,
}  # fmt: skip


def test_odd_metadata_is_kept_or_left_out_and_can_be_changed(build, tmp_path):
    documents = [Document(f"d{n}", "kaka", metadata={key: value}) for n, (key, value) in enumerate(ODD_VALUES.items())]
    build([*documents, *made_documents(2)])
    build([*(replace(d, metadata={**d.metadata, "more": 1}) for d in documents), *made_documents(2)])
    sound(tmp_path / "i")
    with SearchIndex.open(tmp_path / "i") as index:
        assert len(index.search("kaka", 50, "keyword", where="more = 1", distinct="none")) == len(documents)
        assert len(index.search("kaka", 50, "keyword", where="many = 299", distinct="none")) == 1
        for hit in index.search("kaka", 50, "keyword", distinct="none"):
            assert hit.metadata is not None


def test_metadata_of_another_kind_is_named(build):
    with pytest.raises(DataError, match=r"d1: the metadata 'when' is \{"):
        build([Document("d1", "kaka", metadata={"when": {"year": 1}})])
