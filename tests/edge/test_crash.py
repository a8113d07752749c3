"""Nothing is lost and nothing comes back: killed writers, full disks, torn files, another bundle, readers meanwhile."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from made_documents import QUERIES, answers, made_documents
from tiny_bundle import write_tiny_bundle

from nearfar.edge import SearchIndex, derive
from nearfar.edge.doctor import doctor
from nearfar.errors import StoreError
from nearfar.sources.document import Document

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KILLS = 20
COUNT = 900


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    texts = [document.content for document in made_documents(300)]
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", texts=texts)


@pytest.fixture
def small(monkeypatch):
    """Derived files also for a small index."""
    monkeypatch.setattr(derive, "EXACT_UP_TO", 100)
    monkeypatch.setattr(derive, "SCAN_FROM_DIM", 1)
    monkeypatch.setattr(derive, "FTS5_UP_TO", 100)


def without_derived_files(path, copy):
    """What a copy of the index answers that has no derived file: every vector is compared, and FTS5 is asked."""
    shutil.copytree(path, copy)
    for file in copy.glob("derived-*"):
        file.unlink()
    with SearchIndex.open(copy) as index:
        return answers(index)


def check_same(found, right):
    """The same passages in the same order; BM25 is added up in another order without postings."""
    assert [[hit[:-1] for hit in hits] for hits in found] == [[hit[:-1] for hit in hits] for hits in right]
    scores = [[hit[-1] for answer in answers_ for hit in answer] for answers_ in (found, right)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_twenty_kills_lose_nothing_and_bring_nothing_back(bundle, tmp_path):
    """The writer of an index is killed in the middle of builds, upserts, deletes and derived files; another goes on.

    After each kill everything that was acknowledged is looked for in the store, by keyword and by embedding, and so is
    everything that was removed; an open reader searches all the while. See benchmarks/tools/crashing.py.
    """
    if not hasattr(os, "fork"):
        pytest.skip("the processes are forked")
    command = [sys.executable, "-m", "tools.crashing", bundle.path, tmp_path / "w", "--kills", KILLS, "--seed", 5]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["lost"], outcome["phantom"], outcome["broken"]) == (0, 0, 0), outcome["examples"]
    assert outcome["kills"] == KILLS
    assert outcome["searches"] > 0
    # How fast the machine is decides where a kill lands; that none lands in a write would be no test.
    assert outcome["in_transaction"] + outcome["in_derived_file"] > 0
    assert len(outcome["by_phase"]) >= 3


@pytest.mark.parametrize("seed", range(6))
def test_torn_derived_files_change_no_answer(bundle, tmp_path, small, seed):
    path = tmp_path / "i"
    with SearchIndex.build(bundle, made_documents(COUNT), path, threads=1, engine=("auto", "hnsw")[seed % 2]) as index:
        right = answers(index)
    exact = without_derived_files(path, tmp_path / "copy")
    rng = random.Random(seed)
    for file in path.glob("derived-*"):
        content = bytearray(file.read_bytes())
        match rng.choice(("cut", "empty", "longer", "header", "gone")):
            case "cut":
                del content[rng.randrange(1, len(content)) :]
            case "empty":
                content.clear()
            case "longer":
                content += rng.randbytes(100)
            case "header":
                content[:64] = rng.randbytes(64)
            case "gone":
                file.unlink()
                continue
        file.write_bytes(content)
    with SearchIndex.open(path) as index:
        assert index.engine == "exact"
        check_same(answers(index), exact)
    assert all(finding.effect == "speed" for finding in doctor(path).findings)
    assert doctor(path, repair=True).sound
    with SearchIndex.open(path) as index:
        assert index.engine != "exact"
        check_same(answers(index), right)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_that_changed_inside_a_derived_file_are_found_by_doctor(bundle, tmp_path, small, seed):
    """The size is right and the tables may be: a search still answers only with what is stored."""
    path = tmp_path / "i"
    with SearchIndex.build(bundle, made_documents(COUNT), path, threads=1) as index:
        right = answers(index)
    rng = random.Random(seed)
    for file in path.glob("derived-*"):
        content = bytearray(file.read_bytes())
        begin = rng.randrange(len(content) - 200)
        content[begin : begin + 200] = rng.randbytes(200)
        file.write_bytes(content)
    with SearchIndex.open(path) as index:
        for hits in answers(index):
            for id, _, text, *_ in hits:
                (made,) = made_documents(1, start=int(id.removeprefix("doc-")))
                assert text == made.text
    assert len(doctor(path).findings) == 2
    assert doctor(path, repair=True).sound
    with SearchIndex.open(path) as index:
        assert answers(index) == right


def test_a_graph_that_names_rows_which_are_not_there(bundle, tmp_path, small):
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(COUNT), path, threads=1, engine="hnsw").close()
    (graph,) = path.glob("*.graph")
    some = np.arange(100, 400, dtype=np.int64)
    before = graph.read_bytes()
    graph.write_bytes(before.replace(some.tobytes(), (some + 10_000).tobytes()))
    assert graph.read_bytes() != before
    with SearchIndex.open(path) as index:
        found = {hit[0] for hits in answers(index) for hit in hits}
    assert found <= {f"doc-{number}" for number in range(COUNT)}
    assert [finding.effect for finding in doctor(path).findings] == ["speed"]


FULL_EDIT = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from made_documents import made_documents
from nearfar.edge import SearchIndex
from nearfar.errors import NearfarError
path, limit = Path(sys.argv[2]), int(sys.argv[3])
acknowledged = 0
try:
    with SearchIndex.edit(path, threads=1) as editor:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        for start in range(1000, 9000, 20):
            editor.upsert(made_documents(20, start=start))
            editor.delete([f"doc-{acknowledged}"])
            acknowledged += 1
            print(acknowledged, flush=True)
except NearfarError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("more", [40_000, 400_000])
def test_a_disk_that_fills_up_while_editing_keeps_what_was_acknowledged(bundle, tmp_path, more):
    pytest.importorskip("resource")
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(300), path, threads=1).close()
    limit = (path / "store.sqlite").stat().st_size + more
    command = [sys.executable, "-c", FULL_EDIT, str(Path(__file__).parent), str(path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    *numbers, last = done.stdout.splitlines()
    assert last.startswith(f"StoreError {path}: the index could not be written"), done.stdout + done.stderr
    assert "make room" in last
    acknowledged = int(numbers[-1]) if numbers else 0
    stored = {f"doc-{n}" for n in range(acknowledged, 300)} | {
        f"doc-{n}" for n in range(1000, 1000 + 20 * acknowledged)
    }
    with SearchIndex.open(path) as index:
        found = {hit.id for hit in index.search(QUERIES[0], 9000, "dense")}
    # The call that failed may have stored its new documents, or half of its work: the upsert, and not the delete.
    assert stored - {f"doc-{acknowledged}"} <= found
    assert found - stored <= {f"doc-{n}" for n in range(1000 + 20 * acknowledged, 1020 + 20 * acknowledged)}
    assert all(finding.effect != "answers" for finding in doctor(path).findings)
    with SearchIndex.edit(path, threads=1) as editor:
        editor.upsert(made_documents(20, start=9000))
    assert doctor(path).findings == []


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(("-wal", "-shm"))]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_store_of_another_bundle_version_is_refused_and_not_touched(bundle, tmp_path):
    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(50), path, threads=1).close()
    newer = write_tiny_bundle(tmp_path / "newer", texts=[document.content for document in made_documents(300)], seed=1)
    before = contents(path)
    with pytest.raises(StoreError, match=r"was made with bundle .*--rebuild"):
        SearchIndex.build(newer, made_documents(60), path, threads=1)
    assert contents(path) == before
    with SearchIndex.open(path) as index:
        assert len(index) == 50


def test_a_store_of_a_later_format_is_refused_and_not_touched(bundle, tmp_path):
    import sqlite3

    path = tmp_path / "i"
    SearchIndex.build(bundle, made_documents(50), path, threads=1).close()
    with sqlite3.connect(path / "store.sqlite") as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    connection.close()
    before = contents(path)
    for use in (SearchIndex.open, SearchIndex.edit, lambda path: SearchIndex.build(bundle, made_documents(1), path)):
        with pytest.raises(StoreError, match="format 99"):
            use(path)
    assert contents(path) == before


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from made_documents import made_documents
from nearfar.edge import SearchIndex, derive
derive.EXACT_UP_TO, derive.SCAN_FROM_DIM = int(sys.argv[6]), 1
from nearfar.edge.store import writer
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[4] == "making":
    derive._signs = die
elif sys.argv[4] == "naming":
    writer.StoreWriter.set_derived = die
elif sys.argv[4] == "removing":
    writer.StoreWriter.remove_strangers = die
SearchIndex.build(sys.argv[3], made_documents(int(sys.argv[5])), sys.argv[2], threads=1)
"""


@pytest.mark.parametrize("moment", ["making", "naming", "removing"])
def test_a_kill_between_the_store_and_its_derived_files(bundle, tmp_path, monkeypatch, moment):
    monkeypatch.setattr(derive, "EXACT_UP_TO", COUNT)
    monkeypatch.setattr(derive, "SCAN_FROM_DIM", 1)
    path, fresh, grown = tmp_path / "i", tmp_path / "fresh", COUNT + 600
    SearchIndex.build(bundle, made_documents(COUNT), path, threads=1).close()
    arguments = (Path(__file__).parent, path, bundle.path, moment, grown, COUNT)
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    with SearchIndex.build(bundle, made_documents(grown), fresh, threads=1) as index:
        right = answers(index)
    exact = without_derived_files(fresh, tmp_path / "copy")
    with SearchIndex.open(path) as index:
        check_same(answers(index), right if moment == "removing" else exact)
    assert {finding.effect for finding in doctor(path).findings} <= {"speed", "room"}
    with SearchIndex.build(bundle, made_documents(grown), path, threads=1) as index:
        assert index.report.unchanged == grown
        assert answers(index) == right
    assert doctor(path).findings == []


READER = """
import re, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from made_documents import QUERIES
from nearfar.edge import SearchIndex
path, stop = Path(sys.argv[2]), Path(sys.argv[3])
print("ready", flush=True)
searches, seen = 0, set()
with SearchIndex.open(path) as index:
    while not stop.exists():
        seen.add(len(index))
        for query in QUERIES:
            for mode in ("dense", "keyword", "hybrid"):
                for hit in index.search(query, 10, mode):
                    assert hit.text.startswith(f"own{hit.id.removeprefix('doc-')}v"), (hit.id, hit.text)
                searches += 1
print(searches, len(seen))
"""


def test_a_reader_searches_all_the_while(bundle, tmp_path, small):
    """Documents come, change and go, derived files are replaced; each answer is of one state of the store."""

    def documents(round_):
        for document in made_documents(300 + 150 * (round_ % 3), start=20 * round_):
            number = document.id.removeprefix("doc-")
            yield Document(document.id, f"own{number}v{round_ // 2} {document.text}", title=document.title)

    path, stop = tmp_path / "i", tmp_path / "stop"
    SearchIndex.build(bundle, documents(0), path, threads=1).close()
    command = [sys.executable, "-c", READER, *map(str, (Path(__file__).parent, path, stop))]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for reader in readers:
            assert reader.stdout.readline() == "ready\n"
        for round_ in range(1, 7):
            SearchIndex.build(bundle, documents(round_), path, threads=1).close()
            with SearchIndex.edit(path, threads=1) as editor:
                editor.delete([f"doc-{20 * round_ + n}" for n in range(40)])
            time.sleep(0.05)
    finally:
        stop.touch()
        said = [reader.communicate(timeout=60) for reader in readers]
    for reader, (output, problems) in zip(readers, said, strict=True):
        assert reader.returncode == 0, problems
        searches, sizes = map(int, output.split())
        assert searches > 0
        assert sizes > 1, "it never saw a change"
