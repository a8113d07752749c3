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
from made_documents import QUERIES, answers, made_documents
from tiny_bundle import write_tiny_bundle

from nearfar.edge import SearchIndex
from nearfar.edge.store.writer import writer_lock
from nearfar.errors import DataError, StoreError
from nearfar.sources.document import Document

LARGE = 5600
HERE = Path(__file__).parent
START = f"""
import os, signal, sys
sys.path.insert(0, {str(HERE)!r})
from made_documents import QUERIES, made_documents
from nearfar.edge import SearchIndex
from nearfar.errors import NearfarError
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


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    texts = [document.content for document in made_documents(300)]
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", texts=texts)


@pytest.fixture(scope="module")
def undisturbed(bundle, tmp_path_factory):
    with SearchIndex.build(bundle, made_documents(LARGE), tmp_path_factory.mktemp("u") / "i", threads=1) as index:
        return answers(index)


def graphs(path):
    return sorted(file.name for file in path.glob("*vectors-*"))


KILLED = {
    "while copying the bundle": "import shutil; shutil.copyfile = lambda *_: die()",
    "before the first document": "documents = (die() for _ in range(1))",
    "while reading the second batch": "documents = (d if n < 700 else die() for n, d in enumerate(documents))",
    "after the third batch": "progress = lambda stage, done: die() if done == 1536 else None",
    "before the graph": "progress = lambda stage, done: die() if stage == 'graph' else None",
    "while saving the graph": "os.fsync = lambda _: die()",
    "before naming the graph": "from nearfar.edge import graph\ngraph.GraphRecord = lambda **_: die()",
    "inside a transaction": """
from nearfar.edge.store import writer
calls = []
def quantise(vectors, real=writer.quantise_int8):
    calls.append(1)
    codes, scales = real(vectors)
    class Fatal(list):
        def tolist(self):
            yield from scales.tolist()[:100]
            die()
    return codes, Fatal() if len(calls) == 4 else scales
writer.quantise_int8 = quantise
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
    assert len(graphs(path)) == 1
    names = {child.name for child in path.iterdir()} - {"store.sqlite-wal", "store.sqlite-shm"}
    assert names == {"bundle", "store.sqlite", "writer.lock", *graphs(path)}


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
    assert report.changed == 152
    assert index.search("entirely new", 1, "keyword")[0].id == documents[0].id
    assert index.search(documents[2].text, 1, "keyword")[0].location == "moved.txt:1"
    again = SearchIndex.build(bundle, documents, path).report
    assert (again.changed, again.unchanged) == (0, 650)


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
    script = "from pathlib import Path\nfrom nearfar.edge.store.writer import writer_lock\nwith writer_lock(Path(path)): die()"
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
            connection.execute("UPDATE meta SET value = '2' WHERE key = 'format'")
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
