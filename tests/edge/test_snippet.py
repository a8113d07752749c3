from hypothesis import given
from hypothesis import strategies as st

from nearfar.edge.snippet import LENGTH, snippet

FILLER = "Nothing of interest is said in this sentence about other matters. "


def test_the_window_has_the_most_distinct_query_words():
    text = FILLER * 5 + "alpha alpha alpha. " + FILLER * 6 + "Here alpha meets beta and gamma. " + FILLER * 5
    found = snippet(text, ["alpha", "beta", "gamma"])
    assert "alpha meets beta and gamma" in found
    assert found.startswith("… ")
    assert found.endswith(" …")


def test_a_stem_finds_its_words():
    assert "Reading" in snippet(FILLER * 10 + "Reading a book. " + FILLER * 10, ["read"])


def test_a_short_text_is_whole_and_on_one_line():
    assert snippet("two\n\n  lines\there", ["lines"]) == "two lines here"


def test_without_a_match_it_is_the_start():
    assert snippet(FILLER * 10, ["absent"]).startswith("Nothing of interest")


@given(st.text(max_size=2000), st.lists(st.text(min_size=1, max_size=5), max_size=4))
def test_any_text_gives_a_piece_of_itself(text, stems):
    found = snippet(text, stems)
    assert len(found) <= LENGTH + 4
    assert found.removeprefix("… ").removesuffix(" …") in " ".join(text.split())


@given(st.text(alphabet="aİß \n", min_size=150, max_size=1500))
def test_letters_that_change_length_in_lower_case_do_no_harm(text):
    assert snippet(text, ["a", "ß"]).removeprefix("… ").removesuffix(" …") in " ".join(text.split())
