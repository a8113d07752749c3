"""Sources out of a real index. Goes to tests/edge/ once SearchIndex.passages_of is there."""

from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from nearfar.edge import SearchIndex
from nearfar.edge.rag.retrieve import retrieve
from nearfar.edge.rag.token_count import token_counter
from nearfar.sources.document import Document, Passage

TEXT = "Turn the water off. Take the handle apart. Change the washer. Turn the water on again."
ENDS = [0, 19, 42, 61, 86]


@pytest.fixture
def index(tmp_path: Path):
    cuts = [(0, 42), (20, 61), (62, 86)]
    passages = tuple(
        Passage(begin, end, "A dripping faucet", f"taps.md:{3 + n}") for n, (begin, end) in enumerate(cuts)
    )
    documents = [
        Document("taps.md", TEXT, "Taps", "taps.md", metadata={"lang": "en", "year": 2020}, passages=passages),
        Document("pipes.md", "Warm the frozen pipe slowly.", "Pipes", "pipes.md:1", metadata={"lang": "de"}),
    ]
    bundle = write_tiny_bundle(tmp_path / "tiny.bundle", texts=[TEXT, "Warm the frozen pipe slowly."])
    with SearchIndex.build(bundle, documents, tmp_path / "an.index") as built:
        yield built


@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
@pytest.mark.parametrize("budget", [8, 25, 40, 400])
def test_sources_are_what_the_documents_say_and_fit(index, mode, budget):
    found = retrieve(index, "turn the water off", budget, mode=mode)
    assert found.tokens <= budget
    assert found.tokens == token_counter(index.bundle)(found.as_prompt())
    for source in found.passages:
        if source.id == "taps.md":
            assert source.text.split() == TEXT[source.begin : source.end].split()


def test_a_condition_narrows_the_sources(index):
    assert {each.id for each in retrieve(index, "pipe water", 400, where="year >= 2020").passages} == {"taps.md"}
    assert {each.id for each in retrieve(index, "pipe water", 400, where="lang = 'de'").passages} == {"pipes.md"}


def test_a_whole_document_is_one_source(index):
    (source,) = retrieve(index, "turn the water off", 400, mode="keyword", where="lang = 'en'", neighbours=2).passages
    assert source.text.split() == TEXT.split()
    assert source.place == "taps.md:3-5"
