"""One index of texts, pictures, recordings, series and rows."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_joint import (
    COLOURS,
    RATE,
    TOWERS,
    colour_documents,
    picture,
    row,
    samples,
    tone,
    write_colours,
    write_joint_bundle,
)
from tiny_audio_bundle import write_tiny_audio_bundle
from tiny_bundle import write_tiny_bundle
from tiny_image_bundle import write_tiny_image_bundle
from tiny_recommender_bundle import write_tiny_recommender_bundle

from nearfar.bundle import Bundle
from nearfar.edge import Encoder, SearchIndex
from nearfar.edge.doctor import doctor
from nearfar.edge.towers import Towers
from nearfar.errors import BundleError, DataError
from nearfar.sources.document import Document


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_joint_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def made(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of one item of each colour and tower."""
    folder = tmp_path_factory.mktemp("made")
    SearchIndex.build(bundle, colour_documents(folder / "pictures"), folder / "i", threads=1).close()
    return folder / "i"


def ids(hits) -> list[str]:
    return [hit.id for hit in hits]


def test_an_encoder_of_each_tower(bundle: Bundle) -> None:
    text, image = Encoder.open(bundle, tower="text"), Encoder.open(bundle, tower="image", dim=4)
    assert (text.dim, image.dim) == (8, 4)
    for side in ("query", "document"):
        assert text.embed(["red", "blue"], side) @ text.embed(["red"]).T == pytest.approx(
            np.array([[1], [0.39]]), abs=0.01
        )
    with pytest.raises(BundleError, match=r"say which tower, one of text \(text\), image \(image\)"):
        Encoder.open(bundle)
    with pytest.raises(BundleError, match=r"no tower 'imgae'; choose one of text \(text\)"):
        Encoder.open(bundle, tower="imgae")


def test_other_bundles_have_no_towers(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="tower 'text' was asked for, but this bundle is of kind text-dual-encoder"):
        Encoder.open(write_tiny_bundle(tmp_path / "b"), tower="text")


def test_every_query_finds_its_colour_in_every_tower(made: Path, tmp_path: Path) -> None:
    picture(COLOURS["blue"], 7).save(tmp_path / "q.jpg")
    (tmp_path / "q.csv").write_text(samples("blue"))
    queries = {
        "text": "something blue",
        "image": tmp_path / "q.jpg",
        "audio": (tone("blue"), RATE),
        "series": tmp_path / "q.csv",
        "table": row("blue"),
    }
    with SearchIndex.open(made) as index:
        assert index.towers == {name: name for name in TOWERS}
        for tower, query in queries.items():
            hits = index.search(query, 5, tower=tower)
            assert {hit.id for hit in hits} == {f"blue-{name}" for name in TOWERS}, tower
            assert {hit.modality for hit in hits} == set(TOWERS)
            assert all(hit.score > 2 for hit in hits)
        assert ids(index.search("blue", 5)) == ids(index.search("blue", 5, tower="text"))
        several = index.search_many([row("red"), row("green")], 5, tower="table", among=("image",))
        assert [hits[0].id for hits in several] == ["red-image", "green-image"]


def test_cosines_put_the_own_tower_first_and_scales_do_not(made: Path) -> None:
    with SearchIndex.open(made) as index:
        plain = index.search("red", 15, fair=False)
        fair = index.search("red", 15)
        assert {hit.modality for hit in plain[5:7]} == {
            "text"
        }  # texts of other colours come before nothing but pictures of them
        assert plain[0].score == pytest.approx(1, abs=0.02)
        assert sorted(hit.id for hit in fair[:5]) == sorted(f"red-{name}" for name in TOWERS)
        assert fair[0].score > 2.5 > 0.5 > fair[5].score
        assert [hit.score for hit in fair] == sorted((hit.score for hit in fair), reverse=True)
        one = index.search("red", 3, among=("image",))
        assert one[0].score == pytest.approx(fair[4].score, abs=0.02)  # on one scale, whatever else may be found
        assert index.search("red", 3, among=("image",), fair=False)[0].score == pytest.approx(0.61, abs=0.02)
        with_where = index.search("red", 9, where="modality in ('image', 'audio')")
        assert {hit.modality for hit in with_where} == {"image", "audio"}
        assert index.search("red", 9, where="modality = 'image'", among=("audio",)) == []
        assert len(index.search("red", 9, min_score=2.0)) == 5


def test_without_scales_cosines_rank(tmp_path: Path) -> None:
    bundle = write_joint_bundle(tmp_path / "b", scaled=False)
    with SearchIndex.build(bundle, colour_documents(tmp_path / "p"), tmp_path / "i", threads=1) as index:
        hits = index.search("red", 15)
        assert hits[0].score == pytest.approx(1, abs=0.02)
        assert hits == index.search("red", 15, fair=False)


def test_pages_go_deeper_without_repeating(bundle: Bundle, tmp_path: Path) -> None:
    documents = [
        Document(f"{number}", "", title="same.png", modality="image", item=np.asarray(picture(COLOURS["red"], number)))
        for number in range(60)
    ]
    with SearchIndex.build(bundle, documents, tmp_path / "i", threads=1) as index:
        found = ids(index.search("red", 60))
        assert len(set(found)) == 60  # pictures of one title are no copies of each other
        assert found[:20] == ids(index.search("red", 20))


def test_thumbnails(made: Path, tmp_path: Path) -> None:
    with SearchIndex.open(made) as index:
        hits = {hit.modality: hit.thumbnail for hit in index.search("red", 5)}
    assert hits.pop("image").startswith((b"\x89PNG", b"\xff\xd8\xff"))
    assert set(hits.values()) == {b""}


def test_words_and_modes(made: Path) -> None:
    with SearchIndex.open(made) as index:
        assert ids(index.search("red", 5, "keyword")) == ["red-text", "red-image"]  # a name of a file is words, too
        assert "red-text" in ids(index.search("red", 5, "hybrid"))
        with pytest.raises(DataError, match="mode hybrid looks for words, and the query is no text"):
            index.search(row("red"), 5, "hybrid", tower="table")
        with pytest.raises(DataError, match="leave out rerank"):
            index.search(row("red"), 5, tower="table", rerank="some.bundle")


def test_wrong_questions(made: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    with SearchIndex.open(made) as index:
        with pytest.raises(DataError, match=r"there is no tower 'video'; it has text \(text\), image"):
            index.search("red", tower="video")
        with pytest.raises(DataError, match="there is no tower 'video'"):
            index.search("red", among=("video",))
        with pytest.raises(DataError, match="say which tower a query is for that is no text"):
            index.search(row("red"))
        with pytest.raises(DataError, match=r"bad\.png: .*(damaged|no picture)"):
            index.search(tmp_path / "bad.png", tower="image")
        with pytest.raises(DataError, match="cannot be read"):
            index.search(tmp_path / "none.png", tower="image")
        with pytest.raises(DataError, match="the query is empty"):
            index.search("  ")


def test_an_index_of_texts_knows_no_towers(tmp_path: Path) -> None:
    with SearchIndex.build(
        write_tiny_bundle(tmp_path / "b"), [Document("a", "wool")], tmp_path / "i", threads=1
    ) as index:
        assert index.towers == {}
        assert index.tower_for("text") is None
        (hit,) = index.search("wool")
        assert (hit.modality, hit.thumbnail, hit.metadata) == ("", b"", {})
        with pytest.raises(DataError, match="of texts alone"):
            index.search("wool", tower="text")
        with pytest.raises(DataError, match="no tower takes items of kind image"):
            index.tower_for("image")


def test_bringing_up_to_date(bundle: Bundle, tmp_path: Path) -> None:
    paths = write_colours(tmp_path / "p", 1)
    documents = [Document(path.name, "", title=path.name, modality="image", item=path) for path in paths]
    index = tmp_path / "i"

    def build(documents: list[Document]):
        with SearchIndex.build(bundle, documents, index, threads=1) as built:
            return built.report

    assert build(documents).added == 3
    report = build(documents)
    assert (report.unchanged, report.passages) == (3, 0)
    # The same name, title and text, and another picture.
    picture(COLOURS["green"], 3).save(paths[0])
    report = build(documents)
    assert (report.updated, report.unchanged, report.passages) == (1, 2, 1)
    with SearchIndex.open(index) as opened:
        assert {hit.id for hit in opened.search("green", 2)} == {"red-0.png", "green-0.png"}
    # The same content under another path is no change.
    moved = paths[1].rename(tmp_path / "moved.png")
    report = build([documents[0], replace(documents[1], item=moved, location="there"), documents[2]])
    assert (report.updated, report.unchanged) == (0, 3)
    # A text takes the place of a picture of the same title and text, and must not have its vector.
    report = build([documents[0], Document("green-0.png", "", title="green-0.png"), documents[2]])
    assert (report.updated, report.passages) == (1, 1)
    with SearchIndex.open(index) as opened:
        assert [hit.modality for hit in opened.search("green", 5) if hit.id == "green-0.png"] == ["text"]
        assert [hit.thumbnail for hit in opened.search("green", 5) if hit.id == "green-0.png"] == [b""]
    report = build(documents[:1])
    assert report.removed == 2
    with sqlite3.connect(index / "store.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM thumbnails").fetchone() == (1,)
    connection.close()
    assert doctor(index).sound


def test_what_cannot_be_used_is_skipped_and_told(bundle: Bundle, tmp_path: Path) -> None:
    (good,) = write_colours(tmp_path / "p", 1)[:1]
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:60])
    documents = [
        Document("cut", "", modality="image", item=tmp_path / "cut.png", location="cut.png"),
        Document("good", "", modality="image", item=good),
        Document("none", "", modality="image", item=tmp_path / "none.png"),
        Document("wave", "", modality="audio", item=b"RIFF"),
    ]
    with SearchIndex.build(bundle, documents, tmp_path / "i", threads=1) as index:
        assert (index.report.added, index.report.skipped) == (1, 3)
        assert any(line.startswith("cut.png: ") for line in index.report.examples)
        assert ids(index.search("red")) == ["good"]
    with SearchIndex.build(bundle, documents[1:2], tmp_path / "i", threads=1) as index:
        assert index.report.unchanged == 1
    with pytest.raises(DataError, match="none of which can be used"):
        SearchIndex.build(bundle, documents[:1], tmp_path / "j", threads=1)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (Document("a", "x", modality="video", item=b"1"), "there is no tower 'video'"),
        (Document("a", "x", item=b"1"), "say which tower its item is for"),
        (Document("a", "x", modality="image"), "has no item for a tower of image"),
        (Document("a", "x", modality="text", item="x"), "a text is given as the text of a document"),
        (Document("a", "x", modality="image", item=object()), "none of which can be used"),
    ],
)
def test_documents_that_no_tower_takes(bundle: Bundle, tmp_path: Path, document: Document, said: str) -> None:
    with pytest.raises(DataError, match=said):
        SearchIndex.build(bundle, [document], tmp_path / "i", threads=1)


def test_editing(bundle: Bundle, made: Path, tmp_path: Path) -> None:
    index = shutil.copytree(made, tmp_path / "i")
    with SearchIndex.edit(index, threads=1) as editor:
        editor.upsert([Document("new", "", modality="table", item=row("red")), Document("words", "so red")])
        assert editor.delete(["red-image"]) == 1
        assert editor.delete_where("modality = 'audio'") == 3
    assert (editor.report.added, editor.report.removed) == (2, 4)
    with SearchIndex.open(index) as opened:
        assert set(ids(opened.search("red", 5))) == {"new", "words", "red-text", "red-table", "red-series"}


def test_an_item_without_an_id_has_that_of_its_content(bundle: Bundle, tmp_path: Path) -> None:
    documents = [Document("", "", modality="table", item=row(colour)) for colour in ("red", "green", "red")]
    with SearchIndex.build(bundle, documents, tmp_path / "i", threads=1) as index:
        assert (index.report.added, index.report.skipped) == (2, 1)


def test_an_index_without_a_table_of_thumbnails(bundle: Bundle, made: Path, tmp_path: Path) -> None:
    """A store that is older than thumbnails is read as it is, and gets the table with the first picture."""
    index = shutil.copytree(made, tmp_path / "i")
    with sqlite3.connect(index / "store.sqlite") as connection:
        connection.execute("DROP TRIGGER thumbnails_removed")
        connection.execute("DROP TABLE thumbnails")
    connection.close()
    with SearchIndex.open(index) as opened:
        assert {hit.thumbnail for hit in opened.search("red", 15)} == {b""}
        with SearchIndex.edit(index, threads=1) as editor:
            editor.upsert([Document("new", "", modality="image", item=np.asarray(picture(COLOURS["red"])))])
        assert len([hit for hit in opened.search("red", 16) if hit.thumbnail]) == 1


def test_doctor_marks_items_whose_vectors_are_lost(bundle: Bundle, made: Path, tmp_path: Path) -> None:
    index = shutil.copytree(made, tmp_path / "i")
    with sqlite3.connect(index / "store.sqlite") as connection:
        connection.execute(
            "DELETE FROM vectors WHERE row IN (SELECT p.row FROM passages p JOIN documents d ON d.doc = p.doc WHERE d.doc_id LIKE 'red-%')"
        )
    connection.close()
    found = doctor(index, repair=True)
    assert sorted((finding.what.partition(":")[0], finding.mended) for finding in found.findings) == [
        ("items with no vector, or a damaged one", False),
        ("passages with no vector, or a damaged one", True),
    ]
    with SearchIndex.build(bundle, colour_documents(tmp_path / "again"), index, threads=1) as built:
        assert (built.report.updated, built.report.unchanged) == (4, 11)
    assert doctor(index).sound


def test_encoders_of_pictures_and_of_sound_make_an_index_too(tmp_path: Path) -> None:
    paths = write_colours(tmp_path / "p", 2)
    documents = [Document(path.name, "", title=path.name, item=path) for path in paths]
    with SearchIndex.build(write_tiny_image_bundle(tmp_path / "b"), documents, tmp_path / "i", threads=1) as index:
        assert index.towers == {"image": "image"}
        hits = index.search(paths[3], 3)
        assert (hits[0].id, hits[0].modality) == (paths[3].name, "image")
        assert hits[0].score == pytest.approx(1, abs=0.01)
        with pytest.raises(DataError, match=r"is a text, and no tower|has no item for a tower of image"):
            SearchIndex.edit(tmp_path / "i").upsert([Document("t", "a text")])
    sounds = [Document(colour, "", item=tone(colour)) for colour in COLOURS]
    with SearchIndex.build(write_tiny_audio_bundle(tmp_path / "s"), sounds, tmp_path / "j", threads=1) as index:
        assert index.search(tone("green"), 1)[0].id == "green"


def test_what_cannot_be_searched_by_cosine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="this bundle is a recommender"):
        Towers.of_bundle(write_tiny_recommender_bundle(tmp_path / "b"))


def test_pictures_of_one_caption_are_no_copies(bundle: Bundle, tmp_path: Path) -> None:
    pixels = [np.asarray(picture(COLOURS["red"], number)) for number in range(3)]
    documents = [Document(f"{number}", "a red thing", modality="image", item=one) for number, one in enumerate(pixels)]
    documents += [Document("a", "a red thing"), Document("b", "a red thing")]
    with SearchIndex.build(bundle, documents, tmp_path / "i", threads=1) as index:
        assert sorted(ids(index.search("red", 9))) == ["0", "1", "2", "a"]
        assert len(index.search("red", 9, distinct="none")) == 5


def test_an_encrypted_index_keeps_thumbnails_to_itself(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("sqlcipher3")
    documents = colour_documents(tmp_path / "p")
    place = f"file:{tmp_path / 'key'}"
    with SearchIndex.build(bundle, documents, tmp_path / "i", threads=1, encrypt=place) as index:
        hits = index.search("red", 15)
        small = next(hit.thumbnail for hit in hits if hit.modality == "image")
        assert len(hits) == 15
    stored = b"".join(file.read_bytes() for file in (tmp_path / "i").glob("store.sqlite*"))
    assert small[16:64] not in stored
    assert b"red-0.png" not in stored


def test_sources_for_a_language_model_are_texts(made: Path) -> None:
    with SearchIndex.open(made) as index:
        found = index.retrieve("what is red", 500)
        assert {source.id for source in found.passages} == {"red-text", "green-text", "blue-text"}
        narrowed = index.retrieve("what is red", 500, where="modality = 'image' or modality = 'text'")
        assert len(narrowed.passages) == 3
