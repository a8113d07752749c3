import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import write_tiny_bundle

from nearfar.bundle import Bundle
from nearfar.edge.rag.pack import pack
from nearfar.edge.rag.retrieve import Retrieved, retrieve
from nearfar.edge.rag.token_count import token_counter
from nearfar.errors import DataError


@dataclass(frozen=True)
class Stored:
    id: str
    number: int
    text: str
    begin: int
    end: int
    title: str = ""
    heading: str = ""
    location: str = ""
    page: int | None = None
    metadata: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    id: str
    passage: int
    score: float


@dataclass
class Library:
    """A search index in memory: finds passages by the number of words that they share with the question."""

    passages: list[Stored]
    bundle: Bundle | None = None
    asked: dict = field(default_factory=dict)

    def passages_of(self, id: str, first: int, last: int) -> list[Stored]:
        return [each for each in self.passages if each.id == id and first <= each.number <= last]

    def search(self, query, k=10, mode=None, **options) -> list[Found]:
        self.asked = {"k": k, "mode": mode, **options}
        words = set(query.lower().split())
        scored = [(len(words & set(each.text.lower().replace(".", " ").split())), each) for each in self.passages]
        best = sorted((pair for pair in scored if pair[0]), key=lambda pair: -pair[0])
        return [Found(each.id, each.number, float(score)) for score, each in best[:k]]


def words(text: str) -> int:
    return len(text.split())


def passages(id: str, text: str, places: list[tuple[int, int]], **fields) -> list[Stored]:
    several = [Stored(id, number, text[b:e], b, e, **fields) for number, (b, e) in enumerate(places)]
    lines = [1 + text[: each.begin].count("\n") for each in several]
    return [Stored(**{**vars(each), "location": f"{id}:{line}"}) for each, line in zip(several, lines, strict=True)]


TAPS = "Turn the water off.\nTake the handle apart.\nChange the washer.\n\nTurn the water on again. Look for drops."
TAPS_AT = [(0, 42), (20, 61), (63, 103)]
PIPES = "Warm the pipe slowly."


@pytest.fixture
def library() -> Library:
    taps = passages("taps.md", TAPS, TAPS_AT, title="Taps", heading="A dripping faucet", metadata={"lang": "en"})
    return Library([*taps, *passages("pipes.md", PIPES, [(0, len(PIPES))], title="Pipes")])


def found(*which: tuple[str, int]) -> list[Found]:
    return [Found(id, number, 1.0 - place / 10) for place, (id, number) in enumerate(which)]


def test_what_two_passages_share_appears_once(library):
    (source,) = pack(library, "?", found(("taps.md", 1), ("taps.md", 0)), 100, words).passages
    assert source.text == TAPS[0:61]
    assert (source.begin, source.end, source.number, source.score) == (0, 61, 1, 1.0)
    assert source.location == "taps.md:1-3"


def test_neighbours_under_one_heading_are_one_source_and_others_are_not(library):
    (source,) = pack(library, "?", found(("taps.md", 1), ("taps.md", 2)), 100, words).passages
    assert source.text == TAPS[20:103]
    assert source.location == "taps.md:2-5"
    other = Stored(**{**vars(library.passages[2]), "heading": "Afterwards"})
    library.passages[2] = other
    apart = pack(library, "?", found(("taps.md", 1), ("taps.md", 2)), 100, words)
    assert [each.heading for each in apart.passages] == ["A dripping faucet", "Afterwards"]


def test_passages_that_do_not_follow_each_other_stay_apart(library):
    sources = pack(library, "?", found(("taps.md", 2), ("taps.md", 0)), 100, words).passages
    assert [(each.number, each.begin) for each in sources] == [(1, 63), (2, 0)]


def test_the_order_of_the_documents(library):
    hits = found(("pipes.md", 0), ("taps.md", 2), ("taps.md", 0))
    by_score = pack(library, "?", hits, 100, words)
    assert [(each.id, each.begin) for each in by_score.passages] == [("pipes.md", 0), ("taps.md", 63), ("taps.md", 0)]
    in_order = pack(library, "?", hits, 100, words, order="document")
    assert [(each.id, each.begin) for each in in_order.passages] == [("pipes.md", 0), ("taps.md", 0), ("taps.md", 63)]
    assert [each.number for each in in_order.passages] == [1, 2, 3]


def test_the_prompt_names_every_source(library):
    shown = pack(library, "?", found(("pipes.md", 0), ("taps.md", 0)), 100, words)
    assert shown.as_prompt() == (
        "[1] Pipes (pipes.md:1)\nWarm the pipe slowly.\n\n"
        "[2] Taps > A dripping faucet (taps.md:1-2)\nTurn the water off.\nTake the handle apart."
    )
    assert shown.tokens == words(shown.as_prompt())


def test_pages_are_cited():
    library = Library(
        [Stored("a.pdf", n, f"Page {n}.", 9 * n, 9 * n + 7, location="a.pdf", page=n + 3) for n in (0, 1)]
    )
    (source,) = pack(library, "?", found(("a.pdf", 0), ("a.pdf", 1)), 100, words).passages
    assert (source.page, source.last_page, source.place) == (3, 4, "a.pdf, pp. 3–4")


def test_lines_of_a_text_that_are_not_those_of_the_file_are_not_cited():
    library = Library(passages("table.jsonl", "name: Ann\nage: 7", [(0, 16)]))
    (source,) = pack(library, "?", found(("table.jsonl", 0)), 100, words).passages
    assert source.location == "table.jsonl:1"


def test_one_that_does_not_fit_is_left_out_and_the_next_is_tried(library):
    shown = pack(library, "?", found(("taps.md", 2), ("taps.md", 0), ("pipes.md", 0)), 22, words)
    assert [each.id for each in shown.passages] == ["taps.md", "pipes.md"]
    assert (shown.tokens, shown.left_out) == (22, 1)
    assert pack(library, "?", found(("taps.md", 2), ("pipes.md", 0)), 21, words).left_out == 1


def test_where_not_even_the_best_fits_it_is_cut_at_a_sentence(library):
    shown = pack(library, "?", found(("taps.md", 2), ("pipes.md", 0)), 13, words)
    (source,) = shown.passages
    assert source.text == "Turn the water on again."
    assert source.shortened
    assert (source.begin, source.end, source.location) == (63, 87, "taps.md:5")
    assert shown.as_prompt().endswith("again. …")
    assert shown.left_out == 1


def test_a_sentence_too_long_is_cut_between_words(library):
    (source,) = pack(library, "?", found(("taps.md", 2)), 10, words).passages
    assert source.text == "Turn the"


def test_a_script_without_spaces_is_cut_too():
    text = "水を止めてから取っ手を外す"
    library = Library(passages("a.md", text, [(0, len(text))]))
    (source,) = pack(library, "?", found(("a.md", 0)), 30, len).passages
    assert text.startswith(source.text)
    assert 0 < len(source.text) < len(text)


def test_where_nothing_fits_there_is_nothing(library):
    shown = pack(library, "?", found(("taps.md", 2), ("pipes.md", 0)), 3, words)
    assert (shown.passages, shown.tokens, shown.left_out, shown.as_prompt()) == ((), 0, 2, "")


def test_neighbours_fill_up_what_is_left(library):
    hits = found(("taps.md", 0))
    assert [each.end for each in pack(library, "?", hits, 100, words, neighbours=1).passages] == [61]
    assert [each.end for each in pack(library, "?", hits, 100, words, neighbours=2).passages] == [103]
    assert [each.end for each in pack(library, "?", hits, 16, words, neighbours=2).passages] == [42]


def test_a_neighbour_under_another_heading_is_no_source_of_its_own(library):
    library.passages[2] = Stored(**{**vars(library.passages[2]), "heading": "Afterwards"})
    (source,) = pack(library, "?", found(("taps.md", 1)), 100, words, neighbours=1).passages
    assert (source.begin, source.end) == (0, 61)


def test_a_passage_that_is_gone_is_no_source(library):
    shown = pack(library, "?", found(("gone.md", 0), ("pipes.md", 0)), 100, words)
    assert [each.id for each in shown.passages] == ["pipes.md"]


def test_json_has_everything(library):
    shown = json.loads(pack(library, "dripping?", found(("taps.md", 0)), 100, words).to_json())
    assert shown["question"] == "dripping?"
    assert shown["passages"][0]["text"] == TAPS[0:42]
    assert shown["passages"][0]["metadata"] == {"lang": "en"}
    assert (shown["budget_tokens"], shown["left_out"]) == (100, 0)


def test_searches_with_what_it_was_given_and_counts_with_the_bundle(tmp_path: Path, library):
    library.bundle = write_tiny_bundle(tmp_path / "tiny.bundle")
    shown = retrieve(
        library, "turn the water", 500, k=2, mode="dense", where="lang = 'en'", min_score=1.0, diversity=0.2
    )
    assert library.asked == {
        "k": 2, "mode": "dense", "where": "lang = 'en'", "min_score": 1.0, "diversity": 0.2, "distinct": "text", "rerank": None,
    }  # fmt: skip
    assert {each.id for each in shown.passages} == {"taps.md"}
    assert shown.tokens == token_counter(library.bundle)(shown.as_prompt())
    assert retrieve(library, "turn the water", 500, count=words).tokens < shown.tokens


def test_an_unknown_word_counts_for_its_length(tmp_path: Path):
    count = token_counter(write_tiny_bundle(tmp_path / "tiny.bundle"))
    assert count("") == 0
    assert count("☃" * 400) >= 200
    assert count("\ud800") >= 1


@pytest.mark.parametrize("wrong", [{"budget_tokens": 0}, {"neighbours": -1}, {"order": "size"}])
def test_refuses_what_makes_no_sense(library, wrong):
    with pytest.raises(DataError):
        retrieve(library, "turn the water", **{"budget_tokens": 9, "count": words, **wrong})
    assert not library.asked


@st.composite
def collections(draw) -> tuple[dict[str, str], Library]:
    texts, stored = {}, []
    for id in draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True)):
        text = draw(st.text(st.sampled_from("ab. \n\n日"), min_size=1, max_size=60))
        cuts = draw(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(1, 25)), min_size=1, max_size=5))
        places = sorted({(begin, min(len(text), begin + length)) for begin, length in cuts})
        heading = draw(st.lists(st.sampled_from(["", "h"]), min_size=len(places), max_size=len(places)))
        texts[id] = text
        stored += [Stored(id, n, text[b:e], b, e, heading=heading[n]) for n, (b, e) in enumerate(places)]
    return texts, Library(stored)


COUNTS = [words, len, lambda text: int(len(text) ** 1.2), lambda text: 5 + len(text) // 3]


@given(collections(), st.data())
def test_never_over_budget_and_every_text_is_where_it_says(collection, data):
    texts, library = collection
    hits = data.draw(st.lists(st.sampled_from(library.passages), unique_by=lambda each: (each.id, each.number)))
    count = data.draw(st.sampled_from(COUNTS))
    budget = data.draw(st.integers(1, 150))
    neighbours = data.draw(st.integers(0, 2))
    order = data.draw(st.sampled_from(["score", "document"]))
    asked = [Found(each.id, each.number, 1 / (1 + place)) for place, each in enumerate(hits)]
    shown: Retrieved = pack(library, "?", asked, budget, count, neighbours=neighbours, order=order)
    assert shown.tokens == (count(shown.as_prompt()) if shown.passages else 0)
    assert shown.tokens <= budget
    assert [each.number for each in shown.passages] == list(range(1, len(shown.passages) + 1))
    for source in shown.passages:
        covered = {
            place
            for each in library.passages
            if each.id == source.id and each.begin >= source.begin and each.end <= source.end
            for place in range(each.begin, each.end)
        }
        if source.shortened or len(covered) == source.end - source.begin:
            assert source.text == texts[source.id][source.begin : source.end]
    for document in texts:
        spans = sorted((each.begin, each.end) for each in shown.passages if each.id == document)
        assert all(one[1] < other[0] for one, other in pairwise(spans))
    assert 0 <= shown.left_out <= len(hits)
