"""Documents that a teacher has embedded before the index goes to a device, which has the query encoder alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from made_documents import PARAGRAPHS, QUERIES, made_documents
from tiny_bundle import tiny_graph, tiny_manifest, write_tiny_bundle
from tiny_image_bundle import write_tiny_image_bundle
from tiny_reranker import write_tiny_reranker

from nearfar.bundle import Bundle, BundleWriter, Manifest, TeacherRecord, render_card
from nearfar.bundle.manifest import read_manifest
from nearfar.edge import SearchIndex
from nearfar.edge.encoder import Encoder
from nearfar.edge.keys import Key, key_if_any
from nearfar.edge.store import StoreReader
from nearfar.edge.teacher import BySide, check_teacher
from nearfar.embedder import Side
from nearfar.errors import BundleError, NearfarError, StoreError
from nearfar.frontend import TextFrontend
from nearfar.sources.document import Document

DIM = 32
DOCUMENTS = list(made_documents(40))
TEXTS = [document.content for document in made_documents(60)]


def write_student(folder: Path, teacher: Bundle, *, seed: int = 1, dim: int = DIM) -> Bundle:
    """A bundle for queries to a teacher; with another seed its own space has nothing to do with the teacher's."""
    frontend = TextFrontend.train(TEXTS, vocab_size=512, max_query_tokens=32, max_document_tokens=64)
    record = TeacherRecord(name=teacher.manifest.name, digest=teacher.digest)
    manifest = tiny_manifest(frontend, dim=dim, name="student").model_copy(update={"teacher": record})
    with BundleWriter(folder) as writer:
        writer.add("encoder.onnx", tiny_graph(frontend.vocab_size, dim, seed).SerializeToString())
        writer.add("tokenizer.json", frontend.to_bytes())
        return writer.finish(manifest, render_card(manifest))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("teacher") / "b", dim=DIM, texts=TEXTS, name="teacher")


@pytest.fixture(scope="module")
def student(teacher: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_student(tmp_path_factory.mktemp("student") / "b", teacher)


def build(bundle: Bundle, path: Path, documents: Sequence[Document] = DOCUMENTS, **options: object) -> SearchIndex:
    return SearchIndex.build(bundle, documents, path, cutting=PARAGRAPHS, threads=1, **options)  # type: ignore[arg-type]


def stored(path: Path, key: Key | None = None) -> dict[str, npt.NDArray[np.float32]]:
    """The vector of the first passage of each document."""
    reader = StoreReader(path, key=key)
    with reader.snapshot():
        passages = [passage for passage in reader.passages_after(0, 10**6) if passage.number == 1]
        codes = reader.codes_of([passage.row for passage in passages])
        vectors = dict(zip(codes.rows.tolist(), codes.vectors(), strict=True))
    reader.close()
    return {passage.id: vectors[passage.row] for passage in passages}


def embedded_by(bundle: Bundle, documents: Sequence[Document]) -> dict[str, npt.NDArray[np.float32]]:
    vectors = Encoder.open(bundle).embed([document.content for document in documents])
    return {document.id: vector for document, vector in zip(documents, vectors, strict=True)}


def assert_alike(found: dict[str, npt.NDArray[np.float32]], expected: dict[str, npt.NDArray[np.float32]]) -> None:
    """But for 8 bits a component."""
    assert found.keys() == expected.keys()
    for id, vector in expected.items():
        assert float(found[id] @ vector) / float(np.linalg.norm(found[id])) > 0.999, id


def test_documents_are_the_teachers_and_queries_the_bundles(teacher: Bundle, student: Bundle, tmp_path: Path) -> None:
    with build(student, tmp_path / "i", teacher=Encoder.open(teacher)) as index:
        expected = embedded_by(teacher, DOCUMENTS)
        assert_alike(stored(tmp_path / "i"), expected)
        queries = Encoder.open(student).embed(QUERIES, "query")
        for query, vector in zip(QUERIES, queries, strict=True):
            cosines = {id: float(vector @ other) for id, other in expected.items()}
            hits = index.search(query, 5, "dense")
            for hit in hits:
                assert hit.score == pytest.approx(cosines[hit.id], abs=0.02)
            assert hits[0].score == pytest.approx(max(cosines.values()), abs=0.02)


def test_a_device_needs_neither_teacher_nor_network(teacher: Bundle, student: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(teacher.path, tmp_path / "teacher"))
    build(student, tmp_path / "i", teacher=Encoder.open(copy)).close()
    shutil.rmtree(copy)
    with SearchIndex.open(tmp_path / "i") as index:
        assert len(index.search(QUERIES[0], 5)) == 5
        assert index.bundle.manifest.teacher == TeacherRecord(name="teacher", digest=teacher.digest)


def test_search_is_as_good_as_the_space_they_share(teacher: Bundle, tmp_path: Path) -> None:
    """A query encoder with the teacher's own table finds what the teacher finds; one of another space nothing."""
    twin = write_student(tmp_path / "twin", teacher, seed=0)
    other = write_student(tmp_path / "other", teacher, seed=7)
    found = {}
    for name, bundle in (("twin", twin), ("other", other)):
        with build(bundle, tmp_path / f"{name}.index", teacher=Encoder.open(teacher)) as index:
            asked = [" ".join(document.text.split()[:6]) for document in DOCUMENTS]
            best = [index.search(query, 1, "dense")[0].id for query in asked]
            found[name] = np.mean([id == document.id for id, document in zip(best, DOCUMENTS, strict=True)])
    assert found["twin"] > 0.9
    assert found["other"] < 0.3


# --- which teacher -----------------------------------------------------------------------------------------------------


def test_another_teacher_is_refused_before_anything_is_written(
    teacher: Bundle, student: Bundle, tmp_path: Path
) -> None:
    stranger = write_tiny_bundle(tmp_path / "stranger", dim=DIM, texts=TEXTS, seed=5)
    with pytest.raises(
        BundleError, match=r"was trained for the vectors of teacher \([0-9a-f]{16}\), not for those of .*stranger"
    ):
        build(student, tmp_path / "i", teacher=Encoder.open(stranger))
    assert not (tmp_path / "i").exists()


def test_a_bundle_without_a_teacher_takes_none(teacher: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="was not trained for documents that a teacher embeds: leave the teacher out"):
        build(teacher, tmp_path / "i", teacher=Encoder.open(teacher))


def test_fewer_dimensions_than_the_teacher_has_cannot_be_kept(teacher: Bundle, student: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the teacher gives 32 dimensions, so the index cannot keep 16"):
        build(student, tmp_path / "i", dim=16, teacher=Encoder.open(teacher))
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("kind", ["pictures", "pairs"])
def test_what_embeds_no_texts_is_no_teacher(student: Bundle, tmp_path: Path, kind: str) -> None:
    write = write_tiny_image_bundle if kind == "pictures" else write_tiny_reranker
    other = write(tmp_path / "other")
    with pytest.raises(NearfarError):
        build(student, tmp_path / "i", teacher=Encoder.open(other))
    assert not (tmp_path / "i").exists()


class Counting:
    """Any embedder may stand for the teacher: one on another machine, say."""

    def __init__(self, embedder: Encoder) -> None:
        self.embedder, self.texts = embedder, []  # type: ignore[var-annotated]
        self.dim = embedder.dim

    def embed(self, items: Sequence[str], side: Side = "document") -> npt.NDArray[np.float32]:
        assert side == "document"
        self.texts.extend(items)
        return self.embedder.embed(items, side)


def test_an_embedder_of_ones_own_may_stand_for_the_teacher(teacher: Bundle, student: Bundle, tmp_path: Path) -> None:
    mine = Counting(Encoder.open(teacher))
    check_teacher(student, mine, DIM)
    build(student, tmp_path / "i", teacher=mine).close()
    assert_alike(stored(tmp_path / "i"), embedded_by(teacher, DOCUMENTS))
    assert len(mine.texts) == len(DOCUMENTS)
    build(student, tmp_path / "i", teacher=mine).close()
    assert len(mine.texts) == len(DOCUMENTS), "what is there is not embedded again"


# --- what an index remembers -------------------------------------------------------------------------------------------


def test_an_index_without_the_teacher_does_not_get_one_later(teacher: Bundle, student: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "i"
    build(student, path).close()
    assert_alike(stored(path), embedded_by(student, DOCUMENTS))
    with pytest.raises(
        StoreError, match=r"were embedded by the bundle, not by the teacher: build it anew \(--rebuild\)"
    ):
        build(student, path, teacher=Encoder.open(teacher))
    assert_alike(stored(path), embedded_by(student, DOCUMENTS))
    build(student, path, rebuild=True, teacher=Encoder.open(teacher)).close()
    assert_alike(stored(path), embedded_by(teacher, DOCUMENTS))


def test_what_a_device_adds_goes_through_the_bundle_and_the_rest_stays(
    teacher: Bundle, student: Bundle, tmp_path: Path
) -> None:
    path, more = tmp_path / "i", list(made_documents(5, start=100))
    build(student, path, teacher=Encoder.open(teacher)).close()
    with build(student, path, [*DOCUMENTS[5:], *more]) as index:
        assert index.report is not None
        assert (index.report.added, index.report.removed) == (5, 5)
    expected = embedded_by(teacher, DOCUMENTS[5:]) | embedded_by(student, more)
    assert_alike(stored(path), expected)
    changed = [Document(DOCUMENTS[9].id, "something else altogether", title="New")]
    with SearchIndex.edit(path) as editor:
        editor.upsert(changed)
        editor.delete([DOCUMENTS[8].id])
    expected.pop(DOCUMENTS[8].id)
    assert_alike(stored(path), expected | embedded_by(student, changed))
    again = [*DOCUMENTS[10:], *made_documents(3, start=200)]
    build(student, path, again, teacher=Encoder.open(teacher)).close()
    assert_alike(stored(path), embedded_by(teacher, again))


def test_an_index_that_broke_off_goes_on_with_the_teacher(teacher: Bundle, student: Bundle, tmp_path: Path) -> None:
    class Breaks(Counting):
        def embed(self, items: Sequence[str], side: Side = "document") -> npt.NDArray[np.float32]:
            raise MemoryError

    with pytest.raises(MemoryError):
        build(student, tmp_path / "i", teacher=Breaks(Encoder.open(teacher)))
    build(student, tmp_path / "i", teacher=Encoder.open(teacher)).close()
    assert_alike(stored(tmp_path / "i"), embedded_by(teacher, DOCUMENTS))


def test_an_encrypted_index_has_a_teacher_like_any_other(teacher: Bundle, student: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "i"
    place = f"file:{tmp_path / 'key'}"
    build(student, path, encrypt=place, teacher=Encoder.open(teacher)).close()
    key = key_if_any(path)
    assert key is not None
    assert_alike(stored(path, key), embedded_by(teacher, DOCUMENTS))
    build(student, path, [*DOCUMENTS, *made_documents(2, start=300)], teacher=Encoder.open(teacher)).close()
    assert len(stored(path, key)) == len(DOCUMENTS) + 2
    plain = tmp_path / "plain"
    build(student, plain, encrypt=f"file:{tmp_path / 'other'}").close()
    with pytest.raises(StoreError, match="were embedded by the bundle, not by the teacher"):
        build(student, plain, teacher=Encoder.open(teacher))


# --- two embedders as one ----------------------------------------------------------------------------------------------


def test_queries_through_one_documents_through_the_other(teacher: Bundle, student: Bundle) -> None:
    one, other = Encoder.open(student), Encoder.open(teacher)
    both = BySide(one, other)
    assert both.dim == DIM
    np.testing.assert_array_equal(both.embed(QUERIES, "query"), one.embed(QUERIES, "query"))
    np.testing.assert_array_equal(both.embed(QUERIES), other.embed(QUERIES, "document"))


def test_two_spaces_of_different_dimensions_are_not_one(student: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="queries have 32 dimensions, documents 16"):
        BySide(Encoder.open(student), Encoder.open(write_tiny_bundle(tmp_path / "b", dim=16)))


# --- manifests ---------------------------------------------------------------------------------------------------------


def test_a_manifest_from_before_has_no_teacher(teacher: Bundle) -> None:
    old = json.loads((teacher.path / "manifest.json").read_text("utf-8"))
    for key in ("teacher", "compression", "agreement"):
        old.pop(key, None)
    assert read_manifest(json.dumps(old).encode(), "manifest.json").teacher is None


def test_a_manifest_with_a_teacher_reads_back_and_a_damaged_one_is_refused(student: Bundle) -> None:
    content = (student.path / "manifest.json").read_bytes()
    manifest: Manifest = read_manifest(content, "manifest.json")
    assert manifest == student.manifest
    for broken in ({"name": "x"}, "x", {"name": "x", "digest": 3}):
        with pytest.raises(BundleError, match="teacher"):
            read_manifest(json.dumps({**json.loads(content), "teacher": broken}).encode(), "manifest.json")
