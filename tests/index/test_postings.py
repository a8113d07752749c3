import io
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import StoreError
from nearfar.index.bm25 import Bm25
from nearfar.index.derived_file import derived_file
from nearfar.index.postings import Postings
from nearfar.index.postings_format import aligned, pack_header, read_header
from nearfar.index.postings_writer import write_postings

WORDS = [a + b for a in "klmnprstvz" for b in ("a", "e", "ö", "語")]


def written(texts: dict[int, list[str]], *, piece: int = 1000, last_row: int | None = None) -> bytes:
    """The file of postings of some texts, given by row as lists of words."""
    found = sorted((word.encode(), row) for row, words in texts.items() for word in words)
    counts = sorted(Counter(word for word, _ in found).items())
    rows = np.array([row for _, row in found], dtype=np.int64)
    pieces = (rows[begin : begin + piece] for begin in range(0, len(rows), piece))
    file = io.BytesIO()
    write_postings(file, np.array(sorted(texts), dtype=np.int64), counts, pieces, last_row=last_row)
    return file.getvalue()


def expected(texts: dict[int, list[str]], query: list[str]) -> dict[int, float]:
    """BM25 from its formula in float64, for the texts that hold a word of the query."""
    mean = max(sum(map(len, texts.values())), 1) / len(texts)
    scores = dict.fromkeys(texts, 0.0)
    for word in query:
        held = sum(word in words for words in texts.values())
        idf = max(math.log((len(texts) - held + 0.5) / (held + 0.5)), 1e-6)
        for row, words in texts.items():
            often = words.count(word)
            scores[row] += idf * often * 2.2 / (often + 1.2 * (0.25 + 0.75 * len(words) / mean))
    return {row: score for row, score in scores.items() if score > 0}


def made_texts(count: int, *, start: int = 1, step: int = 1, seed: int = 0) -> dict[int, list[str]]:
    rng = random.Random(seed)
    return {start + step * n: rng.choices(WORDS, k=rng.randrange(0, 12)) for n in range(count)}


texts_by_row = st.dictionaries(
    st.integers(0, 10**12), st.lists(st.sampled_from(WORDS[:12]), max_size=8), min_size=1, max_size=30
)


@given(texts=texts_by_row, query=st.lists(st.sampled_from(WORDS[:14]), min_size=1, max_size=5), data=st.data())
@settings(max_examples=150, deadline=None)
def test_scores_are_the_formula_over_all_parts_without_what_is_gone(texts, query, data):
    rows = sorted(texts)
    cut = data.draw(st.integers(0, len(rows)))
    gone = data.draw(st.sets(st.sampled_from(rows), max_size=len(rows) - 1))
    parts = [Postings(written({row: texts[row] for row in part})) for part in (rows[:cut], rows[cut:])]
    bm25 = Bm25(parts, np.array(sorted(gone), dtype=np.int64))
    here = {row: words for row, words in texts.items() if row not in gone}
    reference = expected(here, query)
    found, scores = bm25.best(query, 100)
    assert set(found.tolist()) == set(reference)
    np.testing.assert_allclose(scores, [reference[row] for row in found.tolist()], rtol=1e-5)
    assert (np.diff(scores) <= 0).all()
    asked = np.array([*rows, 10**13], dtype=np.int64)
    np.testing.assert_allclose(
        bm25.scores_of(query, asked), [reference.get(row, 0) for row in asked.tolist()], rtol=1e-5
    )
    assert bm25.total == len(here)
    assert bm25.holders(query[0]) == sum(query[0] in words for words in here.values())


def test_many_passages_in_several_blocks_with_gaps_between_the_rows():
    # Three blocks of 65,536 passages; the words lie anywhere in them, some passages hold none.
    texts = {5 + 3 * n: [] for n in range(140_000)}
    rng = random.Random(3)
    for row in rng.sample(sorted(texts), 3000):
        texts[row] = rng.choices(WORDS, k=5)
    texts[5 + 3 * 65_535] = texts[5 + 3 * 65_536] = ["ka"] * 300
    bm25 = Bm25([Postings(written(texts))])
    holders = {row for row, words in texts.items() if "ka" in words}
    assert set(bm25.best(["ka"], 10_000)[0].tolist()) == holders
    rows, scores = bm25.best(["ka", "lö", "never"], 50)
    order = sorted(expected(texts, ["ka", "lö"]).items(), key=lambda pair: (-pair[1], pair[0]))[:50]
    np.testing.assert_allclose(scores, [score for _, score in order], rtol=1e-5)
    assert {5 + 3 * 65_535, 5 + 3 * 65_536} <= set(rows.tolist())


def test_common_words_score_the_same_however_many_of_them_were_asked_for():
    # Each word is in a tenth of the passages. The scores of some 60 of the 80 are kept from one query to the next.
    rng = random.Random(5)
    common = [f"w{number}" for number in range(80)]
    texts = {row: rng.choices(common, k=8) for row in range(60_000)}
    texts[60_000] = ["rare", *common[:3]]
    bm25 = Bm25([Postings(written(texts, piece=10**5))], np.arange(0, 60_000, 1000, dtype=np.int64))
    query = ["rare", *common[:3]]
    here = {row: words for row, words in texts.items() if row % 1000 or row == 60_000}
    reference = sorted(expected(here, query).items(), key=lambda pair: (-pair[1], pair[0]))[:20]
    for others in (common[3:6], common, common[::-1]):
        rows, scores = bm25.best(query, 20)
        assert rows[0] == 60_000
        np.testing.assert_allclose(scores, [score for _, score in reference], rtol=1e-5)
        bm25.best(others, 5)


@pytest.mark.parametrize("k", [1, 3, 10, 300, 5000])
def test_best_is_the_head_of_all_and_equals_come_in_order_of_rows(k):
    texts = made_texts(3000)
    bm25 = Bm25([Postings(written(texts))])
    query = WORDS[:3]
    rows, scores = bm25.best(query, 10**6)
    everything = sorted(zip((-scores).tolist(), rows.tolist(), strict=True))
    assert [row for _, row in everything] == rows.tolist()
    assert bm25.best(query, k)[0].tolist() == rows[:k].tolist()


def test_only_allowed_rows_are_found_and_none_of_them_is_missed():
    texts = made_texts(500, step=7)
    older = {row: words for row, words in texts.items() if row < 2000}
    newer = {row: words for row, words in texts.items() if row >= 2000}
    bm25 = Bm25([Postings(written(older)), Postings(written(newer))])
    allowed = np.array([*sorted(random.Random(1).sample(sorted(texts), 90)), 10**9], dtype=np.int64)
    everything, scores = bm25.best(WORDS[:4], 10**6)
    wanted = [row for row in everything.tolist() if row in set(allowed.tolist())]
    rows, found = bm25.best(WORDS[:4], 20, allowed)
    assert rows.tolist() == wanted[:20]
    assert set(found.tolist()) <= set(scores.tolist())
    assert bm25.best(WORDS[:4], 20, allowed[:0])[0].tolist() == []


def test_a_file_is_the_same_whatever_pieces_it_was_written_from_and_opens_mapped(tmp_path: Path):
    texts = made_texts(300)
    whole = written(texts)
    assert written(texts, piece=7) == whole
    with derived_file(tmp_path / "a.postings") as file:
        file.write(whole)
    mapped = Postings.open(tmp_path / "a.postings")
    as_array = Postings(np.memmap(tmp_path / "a.postings", dtype=np.uint8, mode="r"))
    assert Bm25([as_array]).best(WORDS[:3], 10)[0].tolist() == Bm25([mapped]).best(WORDS[:3], 10)[0].tolist()
    assert Bm25([mapped]).best(WORDS[:3], 10)[0].tolist() == Bm25([Postings(whole)]).best(WORDS[:3], 10)[0].tolist()
    assert mapped.last_row == max(texts)
    assert Postings(written(texts, last_row=4711)).last_row == 4711


def test_nothing_at_all_can_be_written_and_searched():
    for texts in ({}, {3: []}):
        bm25 = Bm25([Postings(written(texts))])
        assert bm25.best(["ka"], 5)[0].tolist() == []
        assert bm25.scores_of(["ka"], np.array([3], dtype=np.int64)).tolist() == [0.0]
    assert Bm25([]).best(["ka"], 5)[0].tolist() == []


def test_a_word_more_often_than_a_run_can_say_counts_as_the_most_it_can():
    bm25 = Bm25([Postings(written({1: ["ka"] * 70_000, 2: ["la"], 3: ["la"], 4: []}))])
    rows, scores = bm25.best(["ka"], 5)
    assert rows.tolist() == [1]
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("words", "rows"), [([(b"ka", 2)], [1]), ([(b"ka", 1)], [1, 2]), ([(b"ka", 1)], [9]), ([], [1])]
)
def test_words_that_do_not_fit_the_passages_are_refused(words, rows):
    with pytest.raises(StoreError, match="keyword index is damaged"):
        write_postings(io.BytesIO(), np.array([1, 2], dtype=np.int64), words, [np.array(rows, dtype=np.int64)])


@pytest.mark.parametrize("keep", [0, 3, 8, 63, 64, 200, -64, -1])
def test_a_torn_file_is_refused(tmp_path: Path, keep: int):
    path = tmp_path / "torn.postings"
    path.write_bytes(written(made_texts(100))[:keep])
    with pytest.raises(StoreError, match=r"torn\.postings: "):
        Postings.open(path)
    with pytest.raises(StoreError, match=r"torn\.postings"):
        Postings(path.read_bytes(), "torn.postings")


def test_a_missing_file_another_file_and_another_version_are_refused(tmp_path: Path):
    with pytest.raises(StoreError, match="cannot read"):
        Postings.open(tmp_path / "none")
    with pytest.raises(StoreError, match="no file of keyword postings"):
        Postings(b"SQLite format 3\0" * 20)
    newer = bytearray(written(made_texts(10)))
    newer[8] = 2
    with pytest.raises(StoreError, match="version 2"):
        Postings(bytes(newer))


@pytest.mark.parametrize(
    "section", ["stretch_passages", "stretch_rows", "word_ends", "word_runs", "run_begins", "run_blocks"]
)
def test_an_offset_that_leads_outside_is_refused(section: str):
    content = bytearray(written(made_texts(60, step=3)))
    counts = read_header(memoryview(content), "whole")
    begin = len(pack_header(counts))
    for name, (kind, length) in counts.layout().items():
        size = length * np.dtype(kind).itemsize
        if name == section:
            middle = begin + size // 2
            content[middle - middle % 8 : middle - middle % 8 + 8] = b"\xff" * 8
        begin = aligned(begin + size)
    with pytest.raises(StoreError, match="damaged"):
        Postings(bytes(content))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_an_altered_file_is_refused_or_searched_without_harm(data):
    content = bytearray(written(made_texts(60, step=3)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    try:
        bm25 = Bm25([Postings(bytes(content))], np.array([1, 4, 10**6], dtype=np.int64))
    except StoreError:
        return
    for word in WORDS:
        rows, scores = bm25.best([word, "ka", word], 30)
        assert np.isfinite(scores).all()
        assert len(rows) == len(scores) <= 30
        bm25.scores_of([word], rows)
