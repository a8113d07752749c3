"""Finding neighbours and answering queries on the device: speed, bytes and recall beside other engines.

Vectors (two made sets, see tools/mixture.py: 100,000 x 384 and 1,000,000 x 256; 500 queries that are none of them). Every
engine is asked at growing effort until recall@10 against exact float32 reaches 0.95, and then 0.98. At those efforts the
engines are timed in processes of their own, one thread each, taking turns. Rows:

    hnsw          nearfar.index.HnswIndex alone: the graph with its own 8-bit codes
    scan          a store of nearfar that scans signs: candidates by the derived file, scores by the codes in SQLite
    stored_hnsw   a store of nearfar that walks a graph, scores by the codes in SQLite
    hnswlib, faiss (HNSW, 8 bits), sqlite_vec (int8, all compared), numpy (float32, all compared)

Figures of each row: `recall_at_10`, `p50_ms`, `p99_ms` at recall 0.95 (`..._098` at 0.98; what an engine cannot reach is
left out), `bytes_per_vector` on the disk of everything that finds and scores (stores: the codes in SQLite and the derived
file), `anonymous_bytes` and `mapped_bytes` a vector in memory after all queries (mapped pages are the file's and can be
taken back by the system), `build_seconds` on all cores, `open_ms` from opening to the first answer. Prefixes `k100_` and
`m1_` name the set; `speed_vs_hnswlib`, `bytes_vs_hnswlib`, `recall_at_10`, `bytes_per_vector` and `open_ms` without one
are those of `hnsw` on the first set.

A search process (`search_` figures): a bundle is trained on the docstrings of this environment by recipes/docs-search.yaml,
100,000 of them are indexed, and a process of its own answers 1,000 queries made of their words, one by one, on one thread.
`queries_per_second_core` counts processor time in the bundle's default mode (hybrid), everything included.

The documents come from the running environment, so those figures differ between environments; --data is not needed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.cli.console import progress_lines
from nearfar.edge import SearchIndex
from nearfar.progress import Stages
from nearfar.recipe.shipped import shipped_recipe
from nearfar.road import train
from nearfar.sources import TableSource
from tools.docstrings import COLUMNS, spool
from tools.latency import Seconds, interleaved, one_thread, ratio_of_medians
from tools.mixture import Mixture, mixture
from tools.results import Figures, arguments, figure, prefixed, report
from tools.vector_engines import ENGINES, SLOW, Engine, installed

SETS = {"k100_": (100_000, 384), "m1_": (1_000_000, 256)}
QUICK_SETS = {"k100_": (6_000, 64)}
LEVELS = {"": 0.95, "_098": 0.98}
QUERIES, SLOW_QUERIES, QUICK_QUERIES = 500, 20, 40
DOCUMENTS, SEARCHES = 100_000, 1_000
QUICK_DOCUMENTS, QUICK_SEARCHES, QUICK_FILES = 2_000, 50, 300
QUICK_TRAINING = (
    "train.epochs=1",
    "train.batch_size=256",
    "train.chunk=null",
    "train.validate_every=1000",
    "frontend.tokenizer.vocab_size=4000",
    "frontend.max_document_tokens=64",
)


def main() -> int:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", choices=("vectors", "search"), help="measure only a part")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="nearfar-index-"))
    work.mkdir(parents=True, exist_ok=True)
    figures: Figures = {}
    try:
        with progress_lines() as stages:
            if options.only != "search":
                figures |= vector_figures(work, stages, quick=options.quick)
            if options.only != "vectors":
                figures |= search_figures(work / "search", stages, quick=options.quick)
        report(figures, options.json, quick=options.quick)
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    return 0


# --- vectors ---------------------------------------------------------------------------------------------------------


def vector_figures(work: Path, stages: Stages, *, quick: bool) -> Figures:
    """The engines on every set."""
    figures: Figures = {}
    for prefix, (count, dim) in (QUICK_SETS if quick else SETS).items():
        found = set_figures(work / f"{count}x{dim}", count, dim, stages, quick=quick)
        figures |= prefixed(prefix, found)
    first = "k100_hnsw_"
    figures |= {
        key: figures[f"{first}{key}"]
        for key in ("recall_at_10", "bytes_per_vector", "open_ms", "speed_vs_hnswlib", "bytes_vs_hnswlib")
        if f"{first}{key}" in figures
    }
    return figures


def set_figures(folder: Path, count: int, dim: int, stages: Stages, *, quick: bool) -> Figures:
    """The engines on one set."""
    stages(f"drawing {count:,} vectors")
    queries = QUICK_QUERIES if quick else QUERIES
    drawn = mixture(folder, count, dim, queries)
    source = folder / f"vectors-{count}-{dim}-{queries}.npy"
    figures: Figures = {}
    engines: dict[str, Engine] = {}
    for name in installed():
        if name in SLOW and count > 200_000:
            continue  # ten times as slow as on the first set; nothing to learn
        engines[name] = ENGINES[name](folder / name, source)
        stages(f"building {name} of {count:,}")
        figures[f"{name}_build_seconds"] = figure(built(engines[name]), "s")
        figures[f"{name}_bytes_per_vector"] = figure(engines[name].bytes() / count, "B")
    for suffix, level in LEVELS.items():
        stages(f"recall {level} of {count:,}")
        chosen = {name: reached for name, engine in engines.items() if (reached := effort_for(engine, drawn, level))}
        for name, (_, recall) in chosen.items():
            figures[f"{name}_recall_at_10{suffix}"] = figure(recall)
        stages(f"timing at {level} of {count:,}")
        taken = timed(engines, {name: effort for name, (effort, _) in chosen.items()}, len(drawn.queries), folder)
        for name, seconds in taken.items():
            figures[f"{name}_p50_ms{suffix}"] = figure(float(np.median(seconds)) * 1e3, "ms")
            figures[f"{name}_p99_ms{suffix}"] = figure(float(np.quantile(seconds, 0.99)) * 1e3, "ms")
            if "hnswlib" in taken and name != "hnswlib" and name not in SLOW:
                figures[f"{name}_speed_vs_hnswlib{suffix}"] = figure(
                    ratio_of_medians(taken["hnswlib"], seconds), "times"
                )
    for name, engine in engines.items():
        if name not in SLOW:
            stages(f"opening {name}")
            figures |= prefixed(f"{name}_", opened(engine, drawn, count))
        if "hnswlib" in engines and name != "hnswlib":
            theirs = figures["hnswlib_bytes_per_vector"]["value"]
            ours = figures[f"{name}_bytes_per_vector"]["value"]
            assert isinstance(ours, float)
            assert isinstance(theirs, float)
            figures[f"{name}_bytes_vs_hnswlib"] = figure(ours / theirs, "times")
    return figures


def built(engine: Engine) -> float:
    """Build an engine in its folder, unless it is there; returns the seconds that it took."""
    note = engine.folder / "built.json"
    if not note.exists():
        shutil.rmtree(engine.folder, ignore_errors=True)
        engine.folder.mkdir(parents=True)
        started = time.perf_counter()
        engine.build(os.cpu_count() or 1)
        note.write_text(json.dumps(time.perf_counter() - started))
    return float(json.loads(note.read_text()))


def effort_for(engine: Engine, drawn: Mixture, level: float) -> tuple[Any, float] | None:
    """The smallest effort that reaches a recall, and the recall; None where none does."""
    ask = engine.open()
    few = slice(0, SLOW_QUERIES if engine.folder.name in SLOW else None)
    for effort in engine.efforts:
        hits = [
            len(np.intersect1d(ask(query, effort), nearest)) / len(nearest)
            for query, nearest in zip(drawn.queries[few], drawn.nearest[few], strict=True)
        ]
        if np.mean(hits) >= level:
            return effort, float(np.mean(hits))
    return None


def timed(engines: Mapping[str, Engine], efforts: Mapping[str, Any], queries: int, folder: Path) -> dict[str, Seconds]:
    """Seconds of every query on every engine at its effort."""
    asked = next(folder.glob(f"queries-*-{queries}.npy"))
    systems = {name: partial(asker, engines[name], effort, asked) for name, effort in efforts.items()}
    fast = {name: system for name, system in systems.items() if name not in SLOW}
    taken = interleaved(fast, [str(number) for number in range(queries)])
    slow = {name: system for name, system in systems.items() if name in SLOW}
    if slow:
        taken |= interleaved(slow, [str(number) for number in range(min(queries, SLOW_QUERIES))], rounds=1)
    return taken


def asker(engine: Engine, effort: Any, asked: Path) -> Any:
    """An engine that is open, as a function of the number of a query."""
    ask, queries = engine.open(), np.load(asked)
    return lambda number: ask(queries[int(number) if number.isdecimal() else 0], effort)


def opened(engine: Engine, drawn: Mixture, count: int) -> Figures:
    """What a fresh process needs to open an engine, and its memory after all queries."""
    effort = engine.efforts[len(engine.efforts) // 2]
    with one_thread(), get_context("spawn").Pool(1) as pool:
        milliseconds, anonymous, mapped = pool.apply(opening, (engine, drawn.queries, effort))
    return {
        "open_ms": figure(milliseconds, "ms"),
        "anonymous_bytes": figure(anonymous / count, "B"),
        "mapped_bytes": figure(mapped / count, "B"),
    }


def opening(engine: Engine, queries: Any, effort: Any) -> tuple[float, float, float]:
    """Milliseconds from opening to the first answer (the least of five), and bytes of memory after all queries."""
    import faiss  # noqa: F401 - so that loading the library is neither counted as opening nor as memory

    before = memory()
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        ask = engine.open()
        ask(queries[0], effort)
        taken.append(time.perf_counter() - started)
    ask = engine.open()
    for query in queries:
        ask(query, effort)
    after = memory()
    return min(taken) * 1e3, max(0, after[0] - before[0]), max(0, after[1] - before[1])


def memory() -> tuple[int, int]:
    """Bytes of this process in memory: its own, and pages of mapped files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    own, mapped = (int(lines.get(name, "0 kB").split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


# --- a search process ------------------------------------------------------------------------------------------------


def search_figures(work: Path, stages: Stages, *, quick: bool) -> Figures:
    """A bundle trained here, an index of many documents, and a process that answers."""
    work.mkdir(parents=True, exist_ok=True)
    index = work / "docs.index"
    if not (work / "queries.json").exists():
        table = work / "docstrings.jsonl"
        source = spool(table, QUICK_FILES if quick else None, stages)
        overrides = [source, *(QUICK_TRAINING if quick else ())]
        shutil.rmtree(work / "run", ignore_errors=True)
        bundle = train(shipped_recipe("docs-search"), work / "run", overrides=overrides, stages=stages).export(
            work / "bundle", stages=stages
        )
        documents = TableSource(table, "jsonl", **COLUMNS).documents()
        stages("indexing")
        started = time.perf_counter()
        SearchIndex.build(bundle, islice(documents, QUICK_DOCUMENTS if quick else DOCUMENTS), index).close()
        seconds = time.perf_counter() - started
        (work / "queries.json").write_text(json.dumps([seconds, made_queries(index, quick=quick)]))
    seconds, queries = json.loads((work / "queries.json").read_text())
    stages("answering")
    with one_thread(), get_context("spawn").Pool(1) as pool:
        found = pool.apply(answering, (index, queries))
    with SearchIndex.open(index) as opened_index:
        documents_there, passages = len(opened_index), opened_index.passages
    size = sum(file.stat().st_size for file in index.rglob("*") if file.is_file())
    return {
        "queries_per_second_core": figure(found["hybrid"]["per_second"], "1/s"),
        "rss_mb": figure(found["rss"] / 1e6, "MB"),
        **{
            f"search_{mode}_{key}": figure(value, unit)
            for mode in ("hybrid", "dense", "keyword", "hybrid_batch")
            for key, (value, unit) in {
                "per_second": (found[mode]["per_second"], "1/s"),
                **(
                    {}
                    if mode == "hybrid_batch"
                    else {
                        "p50_ms": (found[mode]["p50"], "ms"),
                        "p99_ms": (found[mode]["p99"], "ms"),
                    }
                ),
            }.items()
        },
        "search_open_ms": figure(found["open"], "ms"),
        "search_documents": figure(documents_there),
        "search_passages": figure(passages),
        "search_index_mb": figure(size / 1e6, "MB"),
        "search_build_seconds": figure(seconds, "s"),
    }


def made_queries(index: Path, *, quick: bool) -> list[str]:
    """Ten words from the middle of passages drawn at random."""
    rng = np.random.default_rng(0)
    with SearchIndex.open(index) as opened_index:
        reader = opened_index._store.reader
        rows = 1 + rng.choice(opened_index.passages, QUICK_SEARCHES if quick else SEARCHES, replace=False)
        found = reader.passages_in(rows.tolist()).values()
    texts = [passage.text.split() or [passage.title] for passage in found]
    return [" ".join(words[len(words) // 2 :][:10]) for words in texts]


def answering(index: Path, queries: Sequence[str]) -> dict[str, Any]:
    """Open an index and answer queries, on one thread."""
    started = time.perf_counter()
    opened_index = SearchIndex.open(index)
    opened_index.search(queries[0])
    found: dict[str, Any] = {"open": (time.perf_counter() - started) * 1e3}
    for mode in ("hybrid", "dense", "keyword"):
        for query in queries[:100]:
            opened_index.search(query, mode=mode)  # type: ignore[arg-type]
        walls = []
        spent = time.process_time()
        for query in queries:
            began = time.perf_counter()
            opened_index.search(query, mode=mode)  # type: ignore[arg-type]
            walls.append(time.perf_counter() - began)
        spent = time.process_time() - spent
        found[mode] = {
            "per_second": len(queries) / spent,
            "p50": float(np.median(walls)) * 1e3,
            "p99": float(np.quantile(walls, 0.99)) * 1e3,
        }
    spent = time.process_time()
    for start in range(0, len(queries), 64):
        opened_index.search_many(queries[start : start + 64])
    found["hybrid_batch"] = {"per_second": len(queries) / (time.process_time() - spent)}
    found["rss"] = sum(memory())
    return found


if __name__ == "__main__":
    raise SystemExit(main())
