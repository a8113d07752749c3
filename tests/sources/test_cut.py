from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.sources import Cutting, Document, Passage, cut
from nearfar.sources.cut import spans


def pieces(text: str, words: int, overlap: int = 0) -> list[str]:
    return [text[begin:end] for begin, end in spans(text, 0, len(text), Cutting(words, overlap))]


def test_a_short_document_is_one_passage_without_its_blank_ends() -> None:
    document = cut(Document("a", "\n  Short text. Two sentences.\n\nTwo paragraphs. \n"), Cutting())
    (passage,) = document.passages
    assert document.text[passage.begin : passage.end] == "Short text. Two sentences.\n\nTwo paragraphs."
    assert cut(Document("a", " \n "), Cutting()).passages == ()


def test_what_is_cut_already_stays_as_it_is() -> None:
    document = Document("a", "one two three", passages=(Passage(0, 3),))
    assert cut(document, Cutting(1, 0)) is document


def test_paragraphs_are_packed_whole() -> None:
    text = "a1 a2 a3.\n\nb1 b2 b3.\n\nc1 c2 c3.\n \nd1 d2 d3."
    assert pieces(text, 6) == ["a1 a2 a3.\n\nb1 b2 b3.", "c1 c2 c3.\n \nd1 d2 d3."]


def test_a_long_paragraph_is_cut_at_sentences_then_lines_then_words() -> None:
    assert pieces("One two three. Four five? Six seven eight!", 5) == ["One two three. Four five?", "Six seven eight!"]
    assert pieces("- one two\n- three four\n- five six", 6) == ["- one two\n- three four", "- five six"]
    assert pieces("one two three four five", 2) == ["one two", "three four", "five"]
    assert pieces("句一共六字。句二共六字。", 4) == ["句一共六字。", "句二共六字。"]


def test_neighbours_share_whole_sentences_up_to_the_overlap() -> None:
    text = "A b c. D e. F g h i. J k. L m n."
    assert pieces(text, 6, 2) == ["A b c. D e.", "D e. F g h i.", "J k. L m n."]
    # Less is repeated where the paragraph would not fit beside it otherwise.
    assert pieces("a b c d.\n\ne f g h.\n\ni j.", 5, 4) == ["a b c d.", "e f g h.", "i j."]


def test_a_few_words_are_not_left_alone_before_a_long_paragraph() -> None:
    text = "Heading\n\nA b c d. E f g h. I j k l."
    assert pieces(text, 12) == ["Heading\n\nA b c d. E f g h.", "I j k l."]


def test_a_run_without_spaces_is_cut_too() -> None:
    found = pieces("x" * 100_000, 10)
    assert max(map(len, found)) == 640
    assert "".join(found) == "x" * 100_000


@pytest.mark.parametrize(("words", "overlap"), [(0, 0), (10, 10), (10, -1)])
def test_impossible_sizes_are_refused(words: int, overlap: int) -> None:
    with pytest.raises(DataError, match=r"passages of"):
        Cutting(words, overlap)


TEXT = st.lists(
    st.sampled_from(["word", "Word.", " ", "\n", "\n\n", "\t", "?", ".) ", "。", "漢字", "x" * 130, "\x1c", "\u2028"])
    | st.text(max_size=4),
    max_size=80,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(TEXT, st.integers(1, 12), st.integers(0, 11), st.integers(0, 10), st.integers(0, 10))
def test_every_character_is_in_a_passage_and_no_passage_is_too_long(
    text: str, words: int, overlap: int, skip: int, leave: int
) -> None:
    begin, end = min(skip, len(text)), max(min(skip, len(text)), len(text) - leave)
    cutting = Cutting(words, min(overlap, words - 1))
    found = list(spans(text, begin, end, cutting))
    covered = begin
    for i, (first, last) in enumerate(found):
        assert begin <= first < last <= end
        assert text[first:last] == text[first:last].strip()
        assert not text[covered:first].strip()
        covered = last
        if i:
            assert found[i - 1][0] < first
            assert found[i - 1][1] < last
            if not cutting.overlap:
                assert found[i - 1][1] <= first
    assert not text[covered:end].strip()
    for first, last in found:
        assert len(list(spans(text, first, last, Cutting(words, 0)))) == 1
