from dataclasses import dataclass
from itertools import count, islice

import pytest

from nearfar.edge.distinct import distinct
from nearfar.errors import DataError


@dataclass(frozen=True)
class Found:
    id: str
    text: str
    begin: int = 0
    end: int = 10


def names(candidates: list[Found], kind: str) -> list[int]:
    kept = list(distinct(candidates, kind))
    return [position for position, candidate in enumerate(candidates) if any(candidate is each for each in kept)]


def test_a_copy_of_a_text_is_no_second_answer():
    found = [Found("a", "Turn the\n water off."), Found("b", "turn THE water off. "), Found("c", "Turn it on.")]
    assert names(found, "text") == [0, 2]
    assert names(found, "none") == [0, 1, 2]


def test_titles_without_text_are_not_taken_for_copies():
    assert names([Found("a", "", 0, 0), Found("b", " ", 0, 0)], "text") == [0, 1]


@pytest.mark.parametrize(
    ("begin", "end", "kept"),
    [(6, 10, False), (5, 15, True), (4, 14, False), (10, 20, True), (0, 30, True), (2, 3, False)],
)
def test_more_than_half_inside_an_earlier_passage_is_nothing_new(begin, end, kept):
    found = [Found("a", "one"), Found("a", "two", begin, end)]
    assert names(found, "text") == ([0, 1] if kept else [0])


def test_passages_of_other_documents_do_not_overlap():
    assert names([Found("a", "one"), Found("b", "two")], "text") == [0, 1]


def test_what_was_dropped_hides_nothing():
    found = [Found("a", "one", 0, 10), Found("a", "two", 4, 14), Found("a", "three", 9, 17)]
    assert names(found, "text") == [0, 2]


def test_the_best_passage_of_each_document():
    found = [Found("a", "one"), Found("b", "two"), Found("a", "three", 50, 60), Found("c", "four")]
    assert names(found, "document") == [0, 1, 3]


def test_no_more_candidates_are_asked_for_than_needed():
    asked = []

    def endless():
        for number in count():
            asked.append(number)
            yield Found(f"d{number // 3}", f"text {number}")

    assert [each.id for each in islice(distinct(endless(), "document"), 3)] == ["d0", "d1", "d2"]
    assert asked[-1] == 6


def test_an_unknown_kind_is_refused_at_once():
    with pytest.raises(DataError, match="none, text, document"):
        distinct([], "vector")
