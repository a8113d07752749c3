"""Mining against brute force: what is near, and never what belongs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from made_corpus import made_recipe, write_pairs

from nearfar.learn.data.corpus import prepare_corpus
from nearfar.learn.data.split import TRAIN
from nearfar.learn.negatives import Known, mine, mine_by_bm25

Ints = npt.NDArray[np.int64]


def unit(rng: np.random.Generator, count: int, dim: int) -> npt.NDArray[np.float32]:
    vectors = rng.normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def known_of(positives: list[list[int]], **owners: Any) -> Known:
    starts = np.cumsum([0, *(len(own) for own in positives)])
    members = np.array([document for own in positives for document in own], np.int64)
    return Known(members, starts, **{name: np.array(values) for name, values in owners.items()})


def by_brute_force(
    queries: npt.NDArray[Any],
    documents: npt.NDArray[Any],
    known: Known,
    *,
    depth: int,
    keep: int,
    skip: int,
    margin: float | None,
) -> tuple[list[list[int]], dict[str, int]]:
    """One query and one document at a time."""
    table, counts = (
        [],
        dict.fromkeys(("looked_at", "positive", "owner", "skipped", "above_margin", "beyond", "kept", "unfilled"), 0),
    )
    for row, query in enumerate(queries.astype(np.float64)):
        own = known.positives[known.starts[row] : known.starts[row + 1]].tolist()
        cosines = documents.astype(np.float64) @ query
        limit = np.inf if margin is None or not own else np.mean(cosines[own]) + margin
        kept: list[int] = []
        rank = 0
        for document in np.argsort(-cosines)[:depth].tolist():
            counts["looked_at"] += 1
            if document in own:
                counts["positive"] += 1
                continue
            if known.query_owners is not None and known.document_owners is not None:
                owner = known.query_owners[row]
                if owner >= 0 and known.document_owners[document] == owner:
                    counts["owner"] += 1
                    continue
            rank += 1
            if rank <= skip:
                counts["skipped"] += 1
            elif cosines[document] > limit:
                counts["above_margin"] += 1
            elif len(kept) == keep:
                counts["beyond"] += 1
            else:
                kept.append(document)
                counts["kept"] += 1
        counts["unfilled"] += keep - len(kept)
        table.append(kept + [-1] * (keep - len(kept)))
    return table, counts


@pytest.mark.parametrize("exact_up_to", [10_000, 10], ids=["exact", "graph"])
@pytest.mark.parametrize(
    ("depth", "keep", "skip", "margin"),
    [(20, 4, 0, None), (20, 4, 2, None), (30, 8, 1, -0.05), (9, 9, 0, 0.1), (500, 3, 0, -0.4)],
)
def test_it_is_brute_force(depth: int, keep: int, skip: int, margin: float | None, exact_up_to: int) -> None:
    rng = np.random.default_rng(depth + skip)
    queries, documents = unit(rng, 300, 6), unit(rng, 200, 6)
    # Positives that are near, so that they are among what is found; some queries have none, some several.
    nearest = np.argsort(-(queries @ documents.T), axis=1)
    positives = [nearest[row, rng.choice(12, size=row % 4, replace=False)].tolist() for row in range(300)]
    known = known_of(positives, query_owners=rng.integers(-1, 20, 300), document_owners=rng.integers(-1, 20, 200))
    settings: dict[str, Any] = {"depth": depth, "keep": keep, "skip": skip, "margin": margin}
    mined = mine(queries, documents, known, exact_up_to=exact_up_to, **settings)
    table, counts = by_brute_force(queries, documents, known, **settings)
    if exact_up_to > 200:
        assert mined.documents.tolist() == table
        assert vars(mined.counts) == counts
        assert counts["positive"] > 0
        assert counts["owner"] > 0
        assert margin is None or counts["above_margin"] > 0
    else:
        # The graph may miss a neighbour, but never breaks a rule.
        agreement = (mined.documents == np.array(table)).mean()
        assert agreement > 0.95
        for row, found in enumerate(mined.documents.tolist()):
            assert not set(found) & set(positives[row])
            if margin is not None and positives[row]:
                cosines = documents @ queries[row]
                limit = cosines[positives[row]].mean() + margin
                assert all(cosines[document] <= limit + 1e-6 for document in found if document >= 0)


def test_a_positive_is_never_returned_even_where_nothing_else_is_left() -> None:
    rng = np.random.default_rng(0)
    queries, documents = unit(rng, 5, 4), unit(rng, 6, 4)
    mined = mine(queries, documents, known_of([[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [], [2], [5, 1]]), depth=50, keep=3)
    assert mined.documents[0].tolist() == [-1, -1, -1]
    assert mined.documents[1].tolist() == [5, -1, -1]
    assert 2 not in mined.documents[3]
    assert not {5, 1} & set(mined.documents[4].tolist())
    assert mined.counts.positive == 6 + 5 + 0 + 1 + 2
    assert mined.counts.unfilled == 3 + 2


def test_equal_similarities_are_ordered_by_the_lower_number() -> None:
    documents = np.zeros((300, 4), np.float32)
    documents[:, 0], documents[7, :2] = 1.0, (0.0, 1.0)
    queries = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    mined = mine(queries, documents, known_of([[2], [7]]), depth=6, keep=4)
    assert mined.documents.tolist() == [[0, 1, 3, 4], [0, 1, 2, 3]]


def test_of_a_part_of_the_documents_the_numbers_are_those_of_the_corpus() -> None:
    rng = np.random.default_rng(1)
    queries, documents = unit(rng, 20, 5), unit(rng, 40, 5)
    part = np.sort(rng.choice(40, 15, replace=False))
    known = known_of(
        [[int(d)] for d in rng.choice(40, 20)], query_owners=[3] * 20, document_owners=rng.integers(3, 5, 40)
    )
    mined = mine(queries, documents[part], known, depth=15, keep=5, numbers=part, margin=0.2)
    assert set(mined.documents.ravel().tolist()) <= {-1, *part.tolist()}
    assert known.document_owners is not None
    for row, found in enumerate(mined.documents):
        found = found[found >= 0]
        assert (known.document_owners[found] != 3).all()
        cosines = documents @ queries[row]
        own = int(known.positives[row])
        if own in part:
            assert (cosines[found] <= cosines[own] + 0.2 + 1e-6).all()
        assert own not in found
        assert (np.diff(cosines[found]) <= 1e-6).all()


def test_words_find_negatives_that_share_them_and_never_the_positive() -> None:
    documents = [
        "The cat sleeps on the warm mat.",
        "A cat and a dog sleep in one bed.",
        "Interest rates of the central bank rise.",
        "Dogs bark at the postman in the morning.",
        "The bank of the river is muddy.",
        "Cats sleep most of the day.",
    ]
    queries = ["where do cats sleep", "central bank interest", "zzz qqq"]
    known = known_of([[5], [2], [3]])
    mined = mine_by_bm25(queries, documents, known, depth=6, keep=3)
    assert set(mined.documents[0].tolist()) == {0, 1, -1}
    assert mined.documents[1].tolist() == [4, -1, -1]
    assert mined.documents[2].tolist() == [-1, -1, -1]
    assert mined.counts.positive == 2
    assert mined.counts.unfilled == 1 + 2 + 3
    assert mine_by_bm25(queries, documents, known, depth=6, keep=3, skip=1).documents[1].tolist() == [-1, -1, -1]
    nothing_known = mine_by_bm25(queries, documents, known_of([[], [], []]), depth=6, keep=1)
    assert nothing_known.documents.tolist() == [[0], [2], [-1]]  # 0 and 5 are equally good: the lower number first
    # Numbers of the corpus, of which only some documents may be mined.
    numbers = np.array([0, 2, 4, 5])
    part = mine_by_bm25(queries, [documents[n] for n in numbers], known, depth=6, keep=2, numbers=numbers)
    assert part.documents.tolist() == [[0, -1], [4, -1], [-1, -1]]


def test_what_a_corpus_knows_of_its_training_queries(tmp_path: Path) -> None:
    recipe = made_recipe(write_pairs(tmp_path / "pairs.jsonl", 120, topics=12))
    corpus = prepare_corpus(recipe.data, tmp_path / "data", 0)
    queries = corpus.queries_of(TRAIN)
    known = Known.of(corpus, queries)
    assert len(queries) < len(corpus.query_texts)
    assert known.query_owners is not None
    assert known.document_owners is not None
    for row, query in enumerate(queries):
        own = known.positives[known.starts[row] : known.starts[row + 1]]
        assert own.tolist() == corpus.positives_of(int(query)).tolist()
        assert known.query_owners[row] == corpus.component[query]
        assert set(known.document_owners[own]) == {corpus.component[query]}
    held_out = np.setdiff1d(corpus.positives, corpus.training_documents())
    assert (known.document_owners[held_out] == -1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 0}, r"depth \(0\) and keep \(2\) must be at least 1"),
        ({"skip": -1}, r"skip \(-1\) not negative"),
        ({"query_vectors": np.ones((3, 2), np.float32)}, "query vectors must be of unit length; they have 1.41421"),
        ({"known": known_of([[0]])}, "3 queries, but the positives are given for 1"),
        ({"numbers": np.array([1, 0])}, "numbers must be ascending, one for each of the 2 documents"),
        ({"known": known_of([[0]] * 3, query_owners=[1] * 3, document_owners=[1])}, "document 1 has no owner"),
        ({"document_vectors": np.zeros((0, 2), np.float32)}, "there are no documents to mine from"),
    ],
)
def test_what_cannot_be_mined_is_refused(change: dict[str, Any], message: str) -> None:
    vectors = np.eye(2, dtype=np.float32)
    good: dict[str, Any] = {
        "query_vectors": vectors[[0, 1, 0]],
        "document_vectors": vectors,
        "known": known_of([[0]] * 3),
        "depth": 2,
        "keep": 2,
    }
    assert mine(**good).documents.tolist() == [[1, -1]] * 3
    with pytest.raises(ValueError, match=message):
        mine(**(good | change))
