"""`doctor`: every fault is found, named and mended, and no document is lost on the way."""

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from made_documents import QUERIES, answers, made_documents
from tiny_bundle import write_tiny_bundle

from nearfar.edge import SearchIndex, derive
from nearfar.edge.doctor import doctor
from nearfar.edge.store.lock import writer_lock
from nearfar.errors import StoreError
from nearfar.sources.document import Document

COUNT = 120


def documents():
    for number, document in enumerate(made_documents(COUNT)):
        yield Document(
            document.id, document.text, document.title, metadata={"year": 2000 + number % 20, "tags": ("a", f"t{number % 3}")}
        )  # fmt: skip


def small(patch):
    """A small index has derived files too."""
    patch.setattr(derive, "EXACT_UP_TO", 50)
    patch.setattr(derive, "SCAN_FROM_DIM", 1)
    patch.setattr(derive, "FTS5_UP_TO", 50)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", texts=[d.content for d in made_documents(300)])


@pytest.fixture(scope="module")
def built(bundle, tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "i"
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        SearchIndex.build(bundle, documents(), path, threads=1).close()
    return path


@pytest.fixture(scope="module")
def right(built):
    with SearchIndex.open(built) as index:
        return answers(index)


@pytest.fixture
def index(built, tmp_path, monkeypatch):
    small(monkeypatch)
    return shutil.copytree(built, tmp_path / "i")


def change(index, *statements):
    with closing(sqlite3.connect(index / "store.sqlite")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def in_any_order(found):
    """Documents that were stored anew follow others with the same score."""
    return [sorted(hits) for hits in found]


def contents(folder):
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix not in {".sqlite-wal", ".sqlite-shm"}]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_sound_index(index):
    before = contents(index)
    found = doctor(index)
    assert found.sound
    assert found.findings == []
    assert (found.documents, found.passages) == (COUNT, COUNT)
    assert found.bundle.startswith("tiny ")
    doctor(index, repair=True)
    assert contents(index) == before


MENDABLE = {
    "passages that belong to no document": (
        "DROP TRIGGER documents_removed",
        "INSERT INTO documents VALUES (5000, 'extra', '', '', '', x'', '{}')",
        "INSERT INTO passages VALUES (9000, 5000, 1, '', 'kaloka', '', NULL, 0, 6)",
        "DELETE FROM documents WHERE doc = 5000",
        """CREATE TRIGGER documents_removed AFTER DELETE ON documents BEGIN
               DELETE FROM attributes WHERE doc = old.doc; DELETE FROM passages WHERE doc = old.doc; END""",
    ),
    "vectors that belong to no passage": ("INSERT INTO vectors SELECT 9000, code FROM vectors WHERE row = 1",),
    "values of metadata that belong to no document": ("INSERT INTO attributes VALUES ('year', 1999, 9000)",),
    "marked as removed and are there": ("INSERT INTO removed SELECT row FROM passages LIMIT 40",),
    "--where does not find": ("DELETE FROM attributes WHERE doc < 30",),
    "files that cover rows": ("UPDATE sqlite_sequence SET seq = 7 WHERE name = 'passages'",),
    "no vector, or a damaged one": (
        "DELETE FROM vectors WHERE row % 7 = 0",
        "UPDATE vectors SET code = x'00' WHERE row % 7 = 1",
        "UPDATE vectors SET code = CAST(x'0000c07f' || substr(code, 5) AS BLOB) WHERE row % 7 = 2",
    ),
    "keywords are not those": ("DELETE FROM keywords_docsize WHERE id = 3",),
    "keywords are not": ("INSERT INTO keywords (keywords, rowid, heading, text) VALUES ('delete', 5, 'ka', 'loka')",),
    "SQLite finds its file damaged": (
        "PRAGMA writable_schema = ON",
        """UPDATE sqlite_master SET sql = replace(sql, '(doc, number)', '(number, doc)')
           WHERE name = 'passages_of_document'""",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", MENDABLE)
def test_a_fault_is_named_and_mended(index, right, fault):
    change(index, *MENDABLE[fault])
    found = doctor(index)
    assert not found.sound
    assert any(fault in finding.what and "--repair" in finding.mend for finding in found.findings), found.findings
    mended = doctor(index, repair=True)
    assert mended.sound, mended.findings
    assert mended.documents == COUNT
    assert doctor(index).findings == []
    with SearchIndex.open(index) as opened:
        assert answers(opened) == right
        assert opened.search(QUERIES[0], COUNT, where="year = 2003")


def test_a_text_that_was_changed_behind_the_store_is_noticed(index):
    change(index, "UPDATE passages SET text = replace(text, 'a', 'o') WHERE row = 4")
    assert "keywords" in doctor(index).findings[0].what


@pytest.mark.parametrize(
    ("fault", "statement"),
    [
        ("lack some of their passages", "DELETE FROM passages WHERE doc IN (3, 4)"),
        ("of another length", "UPDATE passages SET ends = ends + 1 WHERE doc = 9"),
    ],
)
def test_what_only_the_source_has_is_taken_anew_from_there(bundle, index, right, fault, statement):
    change(index, statement)
    mended = doctor(index, repair=True)
    assert not mended.sound
    (finding,) = mended.findings
    assert fault in finding.what
    assert "(doc-" in finding.what
    assert "nearfar index again" in finding.mend
    with SearchIndex.build(bundle, documents(), index, threads=1) as opened:
        assert 1 <= opened.report.updated <= 2
        assert in_any_order(answers(opened)) == in_any_order(right)
    assert doctor(index).findings == []


def test_metadata_that_cannot_be_read(bundle, index):
    change(index, "UPDATE documents SET metadata = '{broken' WHERE doc = 3")
    assert "metadata that cannot be read" in doctor(index).findings[0].what
    doctor(index, repair=True)
    SearchIndex.build(bundle, documents(), index, threads=1).close()
    assert doctor(index).findings == []


@pytest.mark.parametrize("spoil", ["missing", "torn", "altered"])
@pytest.mark.parametrize("kind", ["signs", "postings"])
def test_derived_files(index, right, kind, spoil):
    (file,) = index.glob(f"*.{kind}")
    content = bytearray(file.read_bytes())
    if spoil == "missing":
        file.unlink()
    elif spoil == "torn":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[-20] ^= 0x55
        file.write_bytes(content)
    found = doctor(index)
    assert [finding.effect for finding in found.findings] == ["speed"]
    assert file.name in found.findings[0].what
    assert doctor(index, repair=True).sound
    assert doctor(index).findings == []
    with SearchIndex.open(index) as opened:
        assert answers(opened) == right


def test_a_kill_before_the_derived_files_were_made(index, right):
    change(index, "DELETE FROM meta WHERE key LIKE 'derived.%'")
    found = doctor(index)
    assert {finding.effect for finding in found.findings} == {"speed", "room"}
    assert doctor(index, repair=True).sound
    with SearchIndex.open(index) as opened:
        assert answers(opened) == right
        assert opened.engine == "scan"


def test_a_repair_that_is_stopped_halfway_can_be_made_again(index, right, monkeypatch):
    change(index, "DELETE FROM vectors WHERE row < 9", "INSERT INTO removed SELECT row FROM passages LIMIT 40")
    with monkeypatch.context() as patch:
        patch.setattr(derive, "_signs", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(StoreError, match="could not be written"):
            doctor(index, repair=True)
    with SearchIndex.open(index) as opened:
        assert len(opened) == COUNT
    assert doctor(index, repair=True).sound
    with SearchIndex.open(index) as opened:
        assert answers(opened) == right


def test_what_killed_runs_leave_behind(index):
    (index / "derived-1.signs").write_bytes(b"old")
    (index / ".derived-99.graph.part").write_bytes(b"part")
    (index / ".bundle.part").mkdir()
    (found,) = doctor(index).findings
    assert found.effect == "room"
    assert all(name in found.what for name in ("derived-1.signs", ".derived-99.graph.part", ".bundle.part"))
    assert doctor(index, repair=True).sound
    assert doctor(index).findings == []
    assert not (index / ".bundle.part").exists()


def test_the_bundle_beside_the_store(bundle, index, tmp_path, right):
    shutil.rmtree(index / "bundle")
    change(index, "DELETE FROM vectors WHERE row = 1")
    found = doctor(index, repair=True)
    assert not found.sound
    assert ["bundle" in finding.what + finding.mend for finding in found.findings] == [True, True]
    write_tiny_bundle(index / "bundle", texts=["another one"], seed=5)
    assert "was made with" in doctor(index).findings[0].what
    SearchIndex.build(bundle, documents(), index, threads=1).close()
    assert doctor(index, repair=True).sound
    with SearchIndex.open(index) as opened:
        assert answers(opened) == right


@pytest.mark.parametrize("damage", ["header", "pages", "empty", "no meta"])
def test_a_file_that_cannot_be_mended_is_left_alone(index, damage):
    path = index / "store.sqlite"
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:40] = bytes(40)
    elif damage == "pages":
        content[20_000:60_000] = b"\x5a" * 40_000
    elif damage == "empty":
        content.clear()
    if damage == "no meta":
        change(index, "DROP TABLE meta")
    else:
        path.write_bytes(content)
    before = contents(index)
    for repair in (False, True):
        found = doctor(index, repair=repair)
        assert not found.sound
        assert any(word in found.findings[0].mend for word in ("--rebuild", "nearfar index again"))
    assert contents(index) == before


def test_what_is_no_index_or_is_being_written_is_refused(index, tmp_path):
    with pytest.raises(StoreError, match="no search index here"):
        doctor(tmp_path)
    with writer_lock(index), pytest.raises(StoreError, match="is indexing here"):
        doctor(index)
    change(index, "UPDATE meta SET value = '99' WHERE key = 'format'")
    with pytest.raises(StoreError, match="format 99"):
        doctor(index)


def test_an_encrypted_index(bundle, tmp_path, monkeypatch):
    pytest.importorskip("sqlcipher3")
    pytest.importorskip("cryptography")
    small(monkeypatch)
    path, secret = tmp_path / "i", tmp_path / "k"
    with SearchIndex.build(bundle, documents(), path, encrypt=f"file:{secret}", threads=1) as opened:
        expected = answers(opened)
    assert doctor(path).sound
    (signs,) = path.glob("*.signs")
    signs.write_bytes(signs.read_bytes()[:-1] + b"x")
    assert [finding.effect for finding in doctor(path).findings] == ["speed"]
    assert doctor(path, repair=True).sound
    with SearchIndex.open(path) as opened:
        assert answers(opened) == expected
    (path / "key.json").rename(tmp_path / "key.json")
    assert "key.json is missing" in doctor(path).findings[0].what


def test_findings_can_be_written_as_json(index):
    from dataclasses import asdict

    change(index, "DELETE FROM vectors WHERE row = 1")
    assert json.loads(json.dumps(asdict(doctor(index))))["findings"][0]["effect"] == "answers"
