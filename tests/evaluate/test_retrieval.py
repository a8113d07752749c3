from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from nearfar.embedder import Embedder
from nearfar.errors import DataError, RunError
from nearfar.evaluate import RetrievalTask, measure, rank_bm25, rank_dense


class TableEmbedder:
    """Texts are row numbers: `12` embeds to row 12 of the side's table. Remembers the largest number of texts at once."""

    def __init__(self, queries: np.ndarray, documents: np.ndarray):
        self.tables = {"query": queries.astype(np.float32), "document": documents.astype(np.float32)}
        self.largest_call = 0

    @property
    def dim(self) -> int:
        return self.tables["query"].shape[1]

    def embed(self, items: Sequence[str], side: str = "document") -> np.ndarray:
        self.largest_call = max(self.largest_call, len(items))
        return self.tables[side][[int(item) for item in items]]


class RowNumbers(Sequence):
    """A long collection that exists only as it is read, and that can be read only by single index."""

    def __init__(self, length: int):
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> str:
        assert 0 <= index < self.length
        return str(index)


def task_over(queries: int, documents: Sequence[str]) -> RetrievalTask:
    return RetrievalTask(
        [str(i) for i in range(queries)], documents, [{i % len(documents): 1.0} for i in range(queries)]
    )


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("k", [1, 10, 500])
def test_rank_dense_equals_brute_force(block, k):
    generator = np.random.default_rng(0)
    # Small whole numbers: products are exact in float32, and many of them are equal.
    queries, documents = generator.integers(-2, 3, size=(9, 6)), generator.integers(-2, 3, size=(150, 6))
    embedder = TableEmbedder(queries, documents)
    assert isinstance(embedder, Embedder)
    expected = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :k]
    ranked = rank_dense(embedder, task_over(9, RowNumbers(150)), k, block=block)
    assert ranked.dtype == np.int64
    np.testing.assert_array_equal(ranked, expected)


def test_rank_dense_holds_one_block_of_documents_at_a_time():
    count, dim, block = 40_000, 64, 1000
    generator = np.random.default_rng(1)
    embedder = TableEmbedder(generator.normal(size=(8, dim)), generator.normal(size=(count, dim)))
    task = task_over(8, RowNumbers(count))
    tracemalloc.start()
    rank_dense(embedder, task, 10, block=block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert embedder.largest_call == block
    assert peak < count * dim * 4 / 4  # a quarter of what all embeddings would take


def test_rank_dense_refuses_embeddings_that_have_no_order():
    broken = TableEmbedder(np.ones((2, 3)), np.array([[1.0, 0, 0], [np.nan, 0, 0], [1, 1, 1]]))
    with pytest.raises(RunError, match=r"1 of 3 document embeddings are not finite, the first for '1'"):
        rank_dense(broken, task_over(2, ["0", "1", "2"]))
    with pytest.raises(ValueError, match="at least 1"):
        rank_dense(broken, task_over(2, ["0", "1", "2"]), 0)


DOCUMENTS = [
    "A cat sat on the mat.",
    "Dogs are running through the park with other dogs.",
    "The stock market fell on Monday.",
    "read_csv(path): parse a table; see also readParquet",
    "",
]


def bm25(query: str, documents: Sequence[str] = DOCUMENTS, **options) -> list[int]:
    pytest.importorskip("bm25s")
    return rank_bm25(RetrievalTask([query], documents, [{0: 1.0}]), **options)[0].tolist()


def test_bm25_ranks_matching_documents_and_nothing_else():
    assert bm25("stock market") == [2, -1, -1, -1, -1]
    assert bm25("dog runs to the cats", k=3) == [1, 0, -1]
    assert bm25("zebra") == [-1] * 5
    assert bm25("the") == [-1] * 5
    assert bm25("") == [-1] * 5


def test_bm25_plain_neither_stems_nor_removes_stop_words():
    assert bm25("cats", analysis="plain") == [-1] * 5
    assert set(bm25("the", analysis="plain")) == {0, 1, 2, -1}


def test_bm25_can_look_into_identifiers():
    assert bm25("read csv") == [-1] * 5
    assert bm25("read csv", split_identifiers=True)[0] == 3
    assert bm25("parquet", split_identifiers=True)[0] == 3


def test_bm25_breaks_ties_by_index_and_prefers_the_rarer_term():
    assert bm25("red", ["blue", "red", "red", "green", "red"], k=2) == [1, 2]
    assert bm25("common rare", ["common", "common", "rare", "common"]) == [2, 0, 1, 3]


def test_bm25_scores_equal_the_formula():
    documents = ["one two two three", "two four", "five six seven one one", "eight"]
    lengths = np.array([4, 2, 5, 1])
    counts = {"one": np.array([1, 0, 2, 0]), "two": np.array([2, 1, 0, 0])}

    def formula(query: list[str]) -> list[int]:
        scores = np.zeros(4)
        for term in query:
            frequency = counts[term]
            containing = np.count_nonzero(frequency)
            idf = np.log(1 + (4 - containing + 0.5) / (containing + 0.5))
            scores += idf * frequency / (frequency + 1.5 * (1 - 0.75 + 0.75 * lengths / lengths.mean()))
        return [i for i in np.argsort(-scores, kind="stable").tolist() if scores[i] > 0]

    for query in (["one"], ["two"], ["one", "two"], ["one", "one", "two"]):
        expected = formula(query)
        assert bm25(" ".join(query), documents, analysis="plain")[: len(expected)] == expected


def test_bm25_over_texts_without_a_single_term():
    assert bm25("anything", ["", " . ", "a"]) == [-1, -1, -1]


def test_measure_puts_the_metrics_together():
    task = RetrievalTask(["a", "b"], RowNumbers(200), [{5: 1.0}, {150: 1.0, 7: 2.0}])
    ranked = np.stack([np.arange(100), np.arange(100, 200)])
    ranked[0, :6] = [5, 0, 1, 2, 3, 4]
    scores = measure(ranked, task, resamples=200)
    np.testing.assert_array_equal(scores.per_query["recall_at_1"], [1.0, 0.0])
    np.testing.assert_array_equal(scores.per_query["recall_at_10"], [1.0, 0.0])
    np.testing.assert_array_equal(scores.per_query["recall_at_100"], [1.0, 0.5])
    np.testing.assert_array_equal(scores.per_query["mrr_at_10"], [1.0, 0.0])
    np.testing.assert_array_equal(scores.per_query["ndcg_at_10"], [1.0, 0.0])
    assert scores.recall_at_100.value == 0.75
    assert list(scores.intervals()) == ["ndcg_at_10", "recall_at_1", "recall_at_10", "recall_at_100", "mrr_at_10"]
    for name, interval in scores.intervals().items():
        assert interval is getattr(scores, name)
        assert interval.low <= interval.value <= interval.high


def test_measure_refuses_a_ranking_of_something_else():
    task = task_over(2, RowNumbers(50))
    with pytest.raises(ValueError, match="at least 50 deep"):
        measure(np.zeros((2, 10), dtype=np.int64), task)
    with pytest.raises(ValueError, match="names document 50"):
        measure(np.tile(np.arange(1, 51), (2, 1)), task)


@pytest.mark.parametrize(
    ("queries", "documents", "qrels", "message"),
    [
        ([], ["a"], [], "nothing to measure"),
        (["q"], [], [{0: 1.0}], "nothing to measure"),
        (["q", "r"], ["a"], [{0: 1.0}], "2 queries but judgements for 1"),
        (["q"], ["a"], [{1: 1.0}], "query 0 is judged on document 1"),
        (["q"], ["a"], [{-1: 1.0}], "query 0 is judged on document -1"),
        (["q", "r"], ["a"], [{0: 1.0}, {0: 0.0}], "query 1 has no relevant document"),
    ],
)
def test_a_task_without_a_right_answer_is_refused(queries, documents, qrels, message):
    with pytest.raises(DataError, match=message):
        RetrievalTask(queries, documents, qrels)
