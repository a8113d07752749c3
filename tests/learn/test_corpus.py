"""The corpus: what is read, what belongs together, what is held out, and how much memory that takes."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.learn.data.corpus import PairCorpus, prepare_corpus
from nearfar.learn.data.pairings import span_and_rest
from nearfar.learn.data.split import TEST, TRAIN, VALIDATION
from nearfar.learn.data.textfile import TextFile, TokenFile, append_text
from nearfar.learn.heldout import retrieval_task
from nearfar.recipe.data import Data, SpansPairing
from nearfar.sources import FolderSource

Found = dict[str, set[str]]


def prepared(
    folder: Path,
    source: dict[str, Any],
    pairings: Sequence[str | dict[str, Any]] = ("columns",),
    *,
    split: dict[str, Any] | None = None,
    seed: int = 0,
    **rest: Any,
) -> PairCorpus:
    rules = [{"kind": rule} if isinstance(rule, str) else rule for rule in pairings]
    everything = {"validation": 0.0, "test": 0.0}
    data = Data.model_validate({"source": source, "pairings": rules, "split": split or everything, **rest})
    return prepare_corpus(data, folder / "data", seed)


def positives(corpus: PairCorpus) -> Found:
    """Query -> its positives, as texts."""
    return {
        corpus.query(q): {corpus.document(int(d)) for d in corpus.positives_of(q)}
        for q in range(len(corpus.query_texts))
    }


def negatives(corpus: PairCorpus) -> Found:
    return {
        corpus.query(q): {corpus.document(int(d)) for d in corpus.negatives_of(q)}
        for q in range(len(corpus.query_texts))
        if len(corpus.negatives_of(q))
    }


def write_lines(path: Path, rows: Sequence[dict[str, Any] | str]) -> dict[str, Any]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return {"kind": "jsonl", "path": path}


# --- tables ----------------------------------------------------------------------------------------------------------


def test_equal_texts_of_a_table_become_one(tmp_path: Path) -> None:
    source = write_lines(
        tmp_path / "pairs.jsonl",
        [
            {"query": "q1", "positive": ["a", "b"], "negative": ["c"]},
            {"query": "q2", "positive": "a", "negative": ["b", "d", "d"]},
            {"query": "q1", "positive": ["e", "a"]},
            {"query": "zwölf 日本 \ud800", "positive": "🙂"},
        ],
    )
    corpus = prepared(tmp_path, source, [{"kind": "columns", "negative": "negative"}])
    assert positives(corpus) == {"q1": {"a", "b", "e"}, "q2": {"a"}, "zwölf 日本 �": {"🙂"}}
    assert negatives(corpus) == {"q1": {"c"}, "q2": {"b", "d"}}
    assert len({corpus.document(d) for d in range(corpus.counts.documents)}) == corpus.counts.documents == 6
    assert (corpus.counts.queries, corpus.counts.train, corpus.counts.test) == (3, 3, 0)
    texts = list(corpus.training_texts())
    assert len(texts) == len(set(texts)) == 9
    reopened = PairCorpus.open(tmp_path / "data")
    assert positives(reopened) == positives(corpus)
    assert reopened.counts == corpus.counts


def test_a_csv_and_several_rules_over_one_table(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "text"])
        writer.writerow(["why?", "because, of\ncourse", "First part of it.\n\nThen the rest of it."])
        writer.writerow(["how?", "like this", "Only one part here."])
    corpus = prepared(
        tmp_path,
        {"kind": "csv", "path": tmp_path / "rows.csv"},
        [
            {"kind": "columns", "query": "question", "positive": "answer"},
            {"kind": "columns", "query": "answer", "positive": "question"},
            "lead_body",
        ],
    )
    assert positives(corpus) == {
        "why?": {"because, of\ncourse"},
        "because, of\ncourse": {"why?"},
        "how?": {"like this"},
        "like this": {"how?"},
        "First part of it.": {"Then the rest of it."},
    }


def test_rows_under_one_title_are_one_query_however_many(tmp_path: Path) -> None:
    """More than are looked at together."""
    source = write_lines(tmp_path / "rows.jsonl", [{"text": f"text {i}", "title": "all"} for i in range(1_500)])
    source["columns"] = {"title": "title"}
    corpus = prepared(tmp_path, source, ["title_body"])
    assert positives(corpus) == {"all": {f"text {i}" for i in range(1_500)}}


BAD = ["{broken", {"query": "q3"}, {"query": 3, "positive": "p"}, {"query": " ", "positive": "p"}]


def test_bad_rows_are_counted_or_refused(tmp_path: Path) -> None:
    good = [{"query": "q1", "positive": "p1"}, {"query": "q2", "positive": "p2"}]
    source = write_lines(tmp_path / "pairs.jsonl", [good[0], *BAD, good[1]])
    corpus = prepared(tmp_path, source, bad_rows="skip")
    assert positives(corpus) == {"q1": {"p1"}, "q2": {"p2"}}
    assert sum(corpus.counts.skipped.values()) == len(BAD)
    assert corpus.counts.examples[0].startswith(f"{tmp_path / 'pairs.jsonl'}:2: ")
    with pytest.raises(DataError, match=r"4 items .*pairs\.jsonl:2: .*set data\.bad_rows to skip"):
        prepared(tmp_path / "other", source, bad_rows="refuse")
    assert not (tmp_path / "other" / "data" / "corpus.json").exists()


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file to read"):
        prepared(tmp_path, {"kind": "folder", "path": tmp_path / "empty"}, ["heading_section"])
    (tmp_path / "empty" / "one.txt").write_text("Nothing but a line.", "utf-8")
    with pytest.raises(DataError, match=r"no pairs: 1 items were read .* but lead_body, spans found nothing"):
        prepared(tmp_path, {"kind": "folder", "path": tmp_path / "empty"}, ["lead_body", "spans"])


def test_an_attempt_that_broke_off_is_overwritten(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "pairs.jsonl", [{"query": "q", "positive": "p"}])
    (tmp_path / "data").mkdir()
    for name in ("texts.bin", "texts.ends", "corpus.npz"):
        (tmp_path / "data" / name).write_bytes(b"half of something longer than what comes now" * 10)
    assert positives(prepared(tmp_path, source)) == {"q": {"p"}}


# --- folders ---------------------------------------------------------------------------------------------------------

MARKDOWN = "# Guide\n\nAbout it all here.\n\n## Install\n\nGet it first now.\n\nThen run the thing.\n"
RESTRUCTURED = "Manual\n======\n\nRead me first please.\n\nIt is not long.\n"
HYPERTEXT = "<title>Page</title><h1>Head</h1><p>One two three four.</p><p>Five six seven.</p>"
PLAIN = "Note\nall that was said there.\n\nand what was not said."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "docs"
    (place / "deep").mkdir(parents=True)
    (place / "guide.md").write_text(MARKDOWN, "utf-8")
    (place / "deep" / "manual.rst").write_text(RESTRUCTURED, "utf-8")
    (place / "page.html").write_text(HYPERTEXT, "utf-8")
    (place / "note.txt").write_text(PLAIN, "utf-8")
    return place


def test_each_rule_over_a_folder(tmp_path: Path, folder: Path) -> None:
    def found(rule: str | dict[str, Any]) -> Found:
        corpus = prepared(tmp_path, {"kind": "folder", "path": folder}, [rule])
        return {q: {" ".join(text.split()) for text in texts} for q, texts in positives(corpus).items()}

    install, manual = "Get it first now. Then run the thing.", "Read me first please. It is not long."
    page, note = "One two three four. Five six seven.", "all that was said there. and what was not said."
    assert found("heading_section") == {
        "Guide": {"About it all here."},
        "Install": {install},
        "Manual": {manual},
        "Head": {page},
        "Note": {note},
    }
    assert found("title_body") == {
        "Guide": {"About it all here.", install},
        "Manual": {manual},
        "Page": {page},
        "Note": {note},
    }
    assert found("lead_body") == {
        "Get it first now.": {"Then run the thing."},
        "Read me first please.": {"It is not long."},
        "One two three four.": {"Five six seven."},
        "all that was said there.": {"and what was not said."},
    }
    assert "Get it first now." not in found({"kind": "lead_body", "min_words": 5})


def test_spans_are_drawn_from_training_documents_only(tmp_path: Path, folder: Path) -> None:
    corpus = prepared(tmp_path, {"kind": "folder", "path": folder}, [{"kind": "spans", "min_tokens": 2}])
    assert corpus.counts.queries == 0  # nothing is held out, so nothing needs a fixed pair
    drawn = {corpus.document(int(d)) for d in corpus.span_documents}
    assert drawn == {d.content for d in FolderSource(folder).documents()}
    assert set(corpus.training_texts()) == drawn


def write_marked_folder(place: Path, files: int = 40) -> Path:
    """Sections whose words occur nowhere else (but a heading that some files share), so that a leak can be seen."""
    place.mkdir()
    for number in range(files):
        sections = []
        for part in range(3):
            mark = f"f{number}s{part}"
            heading = "Overview" if part == 1 and number < 4 else f"Heading {mark}"
            paragraphs = [" ".join(f"{mark}w{10 * p + i}" for i in range(8)) for p in range(3)]
            sections.append(f"## {heading}\n\n" + "\n\n".join(paragraphs) + "\n")
        (place / f"{number:03}.md").write_text(f"# File f{number}\n\n" + "\n".join(sections), "utf-8")
    return place


def marks(texts: Sequence[str]) -> set[str]:
    """The sections (f..s..) that words of these texts come from."""
    words = {word for text in texts for word in text.split()}
    return {word.partition("w")[0] for word in words if word.startswith("f") and "w" in word}


MIXES: list[list[str | dict[str, Any]]] = [
    ["heading_section", "spans"],
    ["spans"],
    ["lead_body", {"kind": "spans", "keep": 0.5}],
    ["heading_section", {"kind": "spans", "measure": False}],
    ["title_body", "heading_section"],
    ["lead_body", "title_body", "heading_section", "spans"],
]


@pytest.mark.parametrize("by", ["random", "group"])
@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: "+".join(r if isinstance(r, str) else r["kind"] for r in mix))
def test_no_text_of_a_held_out_document_is_trained_on(tmp_path: Path, mix: list[Any], by: str) -> None:
    source = {"kind": "folder", "path": write_marked_folder(tmp_path / "docs")}
    split = {"by": by, "validation": 0.15, "test": 0.25}
    corpus = prepared(tmp_path, source, mix, split=split)
    trained = marks(list(corpus.training_texts()))
    held_out = {}
    for side in (VALIDATION, TEST):
        queries = corpus.queries_of(side)
        assert len(queries) > 0
        texts = [corpus.query(int(q)) for q in queries]
        texts += [corpus.document(int(d)) for q in queries for d in corpus.positives_of(int(q))]
        held_out[side] = marks(texts)
        assert held_out[side]
        assert not held_out[side] & trained
    assert not held_out[VALIDATION] & held_out[TEST]
    whole = marks([d.text for d in FolderSource(tmp_path / "docs").documents()])
    assert len(trained) > 0.4 * len(whole)
    if by == "group":  # whole files
        files = {mark.partition("s")[0] for mark in trained}
        assert not files & {mark.partition("s")[0] for side in held_out.values() for mark in side}


def test_a_rule_that_is_not_measured_gives_neither_queries_nor_candidates(tmp_path: Path) -> None:
    source = {"kind": "folder", "path": write_marked_folder(tmp_path / "docs")}
    split = {"validation": 0.2, "test": 0.3}
    mix = ["heading_section", {"kind": "spans", "measure": False}]
    corpus = prepared(tmp_path, source, mix, split=split)
    sections = {d.text for d in FolderSource(tmp_path / "docs").documents()}
    task = retrieval_task(corpus, TEST, max_queries=1_000, max_documents=10_000, seed=0)
    assert task is not None
    assert set(task.documents[:]) <= sections
    assert all(query.startswith(("Heading", "File", "Overview")) for query in task.queries[:])
    assert corpus.counts.span_documents > 0


def test_explicit_negatives_do_not_tie_queries_together(tmp_path: Path) -> None:
    """Hard negatives are the positives of other queries: were they links, everything would hang together."""
    rows = [{"query": f"q{i}", "positive": f"p{i}", "negative": f"p{(i + 1) % 200}"} for i in range(200)]
    source = write_lines(tmp_path / "pairs.jsonl", rows)
    rule = [{"kind": "columns", "negative": "negative"}]
    corpus = prepared(tmp_path, source, rule, split={"validation": 0.1, "test": 0.2})
    assert 20 <= corpus.counts.test <= 60
    assert len(set(corpus.component.tolist())) == 200


def test_pairs_that_share_a_text_stay_on_one_side(tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "positive": [f"p{i // 3}", f"own{i}"]} for i in range(300)]
    source = write_lines(tmp_path / "pairs.jsonl", rows)
    corpus = prepared(tmp_path, source, split={"validation": 0.2, "test": 0.2})
    side = {corpus.query(q): int(corpus.side[q]) for q in range(300)}
    assert all(side[f"q{i}"] == side[f"q{i - i % 3}"] for i in range(300))
    assert {*side.values()} == {TRAIN, VALIDATION, TEST}
    again = prepared(tmp_path / "again", source, split={"validation": 0.2, "test": 0.2})
    assert again.counts.fingerprint == corpus.counts.fingerprint
    assert again.side.tolist() == corpus.side.tolist()
    other = prepared(tmp_path / "other", source, split={"validation": 0.2, "test": 0.2}, seed=1)
    assert other.side.tolist() != corpus.side.tolist()


def test_a_split_by_group_needs_groups(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "pairs.jsonl", [{"query": f"q{i}", "positive": f"p{i}"} for i in range(20)])
    with pytest.raises(DataError, match=r"all pairs are of one group.*data\.source\.columns\.group"):
        prepared(tmp_path, source, split={"by": "group"})


def test_a_near_duplicate_of_a_training_text_is_not_measured(tmp_path: Path) -> None:
    text = " ".join(f"word{i}" for i in range(60))
    rows = [{"query": f"q{i}", "positive": f"{text} {i}", "group": f"g{i}"} for i in range(10)]
    rows += [
        {"query": f"r{i}", "positive": " ".join(f"t{i}x{j}" for j in range(40)), "group": f"h{i}"} for i in range(30)
    ]
    source = write_lines(tmp_path / "pairs.jsonl", rows)
    source["columns"] = {"group": "group"}
    corpus = prepared(tmp_path, source, split={"by": "group", "validation": 0.2, "test": 0.3})
    measured = {corpus.query(int(q)) for side in (VALIDATION, TEST) for q in corpus.queries_of(side)}
    assert measured
    assert all(query.startswith("r") for query in measured)
    counts = corpus.counts
    assert counts.near_duplicates_dropped > 0
    assert counts.train + counts.validation + counts.test + counts.near_duplicates_dropped == 40


# --- the held-out task -----------------------------------------------------------------------------------------------


def test_the_task_has_every_positive_and_a_sample_of_the_rest(tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "positive": [f"p{i}", f"o{i}"]} for i in range(300)]
    corpus = prepared(tmp_path, write_lines(tmp_path / "p.jsonl", rows), split={"validation": 0.1, "test": 0.2})
    whole = retrieval_task(corpus, TEST, max_queries=10_000, max_documents=10_000, seed=0)
    assert whole is not None
    assert (len(whole.queries), len(whole.documents)) == (corpus.counts.test, 600)
    few = retrieval_task(corpus, TEST, max_queries=10, max_documents=100, seed=0)
    assert few is not None
    assert (len(few.queries), len(few.documents)) == (10, 100)
    for task in (whole, few):
        for query, judged in zip(task.queries, task.qrels, strict=True):
            assert {task.documents[d] for d in judged} == {f"p{query[1:]}", f"o{query[1:]}"}
    assert retrieval_task(corpus, TEST, max_queries=10, max_documents=100, seed=1).queries[:] != few.queries[:]  # type: ignore[union-attr]
    nothing = prepared(tmp_path / "none", write_lines(tmp_path / "p.jsonl", rows))
    assert retrieval_task(nothing, TEST, max_queries=10, max_documents=100, seed=0) is None


# --- spans, files, memory --------------------------------------------------------------------------------------------


@given(st.lists(st.text(alphabet="abcé", min_size=1, max_size=4), max_size=40), st.integers(0, 9), st.booleans())
def test_a_span_and_the_rest_are_the_text(words: list[str], seed: int, keep: bool) -> None:
    settings = SpansPairing(kind="spans", min_tokens=2, max_tokens=6, keep=float(keep))
    text = "\n ".join(words)
    made = span_and_rest(text, settings, seed)
    assert made == span_and_rest(text, settings, seed)
    if made is None:
        assert len(words) < 4
        return
    span, rest = (part.split() for part in made)
    assert 2 <= len(span) <= min(6, len(words) // 2)
    if keep:
        assert rest == words
    cuts = [words[:i] + words[i + len(span) :] for i in range(len(words)) if words[i : i + len(span)] == span]
    assert keep or rest in cuts


@given(st.lists(st.text(max_size=20), max_size=20))
def test_texts_come_back_from_the_file(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    stem = tmp_path_factory.mktemp("texts") / "texts"
    with TextFile.writer(stem) as writer:
        assert [append_text(writer, text) for text in texts] == list(range(len(texts)))
    held = TextFile(stem)
    assert list(held) == texts
    assert held[1:-1] == texts[1:-1]
    with pytest.raises(IndexError):
        held[len(texts)]
    records = [np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<i4") for text in texts]
    tokens = TokenFile.write(stem.with_name("tokens"), records)
    assert [tokens[i].tolist() for i in range(len(tokens))] == [record.tolist() for record in records]
    assert tokens.lengths().tolist() == [len(record) for record in records]


def test_memory_grows_by_numbers_and_not_by_texts(tmp_path: Path) -> None:
    """Four times as many pairs of 8 kB each: 24 MB more text may cost only a fraction of that at the peak."""
    peaks = []
    for count in (1_000, 4_000):
        place = tmp_path / str(count)
        place.mkdir()
        with (place / "pairs.jsonl").open("w", encoding="utf-8") as file:
            for i in range(count):
                file.write(json.dumps({"query": f"query {i}", "positive": f"{i} " + "lorem ipsum " * 680}) + "\n")
        tracemalloc.start()
        corpus = prepared(
            place, {"kind": "jsonl", "path": place / "pairs.jsonl"}, split={"validation": 0.1, "test": 0.1}
        )
        characters = sum(map(len, corpus.training_texts()))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert characters > 0.7 * count * 8_000
    assert (peaks[1] - peaks[0]) / 3_000 < 1_000  # bytes a pair, of 8,200
