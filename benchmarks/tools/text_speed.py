"""How quick each system is: one query on one thread, all systems taking turns, and documents a second."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from nearfar.bundle import Bundle
from nearfar.edge import Encoder, SearchIndex
from nearfar.edge.store.schema import BUNDLE_FOLDER
from nearfar.embedder import Embedder
from nearfar.sources import Document
from tools.latency import Seconds, interleaved, one_thread
from tools.text_peers import Lsa, Model2vec

Search = Callable[[str], object]

_QUERIES, _QUICK_QUERIES = 100, 20
_DOCUMENTS, _QUICK_DOCUMENTS = 128, 8
_ROUNDS = 3
_TEACHERS_DOCUMENTS = ("query_static", "query_static_small")


def encode(bundle: Path) -> Search:
    """From a query to its vector, by a bundle."""
    encoder = Encoder.open(bundle)
    return lambda query: encoder.embed([query], "query")


def search(index: Path, mode: str) -> Search:
    """From a query to its hits, by an index."""
    opened = SearchIndex.open(index)
    return lambda query: opened.search(query, mode=mode)  # type: ignore[arg-type]  # a mode, through a pipe


def encode_lsa(path: Path) -> Search:
    """From a query to its vector, by LSA."""
    opened = Lsa.open(path)
    return lambda query: opened.embed([query])


def encode_model2vec(folder: Path) -> Search:
    """From a query to its vector, by model2vec."""
    opened = Model2vec(folder)
    return lambda query: opened.embed([query])


def encode_sentence_transformers(model: Path) -> Search:
    """From a query to its vector, by the library that the teacher comes from."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    encoder = SentenceTransformer(str(model), device="cpu", local_files_only=True)
    return lambda query: encoder.encode([query], normalize_embeddings=True, show_progress_bar=False)


def openers(systems: Path) -> dict[str, Callable[[], Search]]:
    """What opens each system that lies in a folder, for `interleaved`."""
    found: dict[str, Callable[[], Search]] = {}
    for place in sorted(systems.iterdir()):
        if place.name.endswith("_hybrid"):
            found[place.name] = partial(search, place, "hybrid")
        else:
            opened = {"lsa": encode_lsa, "model2vec": encode_model2vec}.get(place.name, encode)
            found[place.name] = partial(opened, place)
    if "minilm_hybrid" in found:  # any index will do: keywords know nothing of vectors
        found["bm25"] = partial(search, systems / "minilm_hybrid", "keyword")
    return found


def query_seconds(
    systems: Mapping[str, Callable[[], Search]], queries: Sequence[str], *, quick: bool
) -> dict[str, Seconds]:
    """Seconds of each of some queries on every system, the same for all."""
    wanted = _QUICK_QUERIES if quick else _QUERIES
    drawn = np.random.default_rng(0).permutation(len(queries))[:wanted]
    return interleaved(systems, [queries[int(place)] for place in drawn], rounds=1 if quick else _ROUNDS)


def passages_per_second(systems: Path, documents: Sequence[str], *, quick: bool) -> dict[str, float]:
    """Documents a second of every system, from text to vector, or to a new index; one thread; the best of three rounds in turn.

    Where documents are the teacher's, so is the speed; but the index of a hybrid is made as the device itself adds to it.
    """
    wanted = _QUICK_DOCUMENTS if quick else _DOCUMENTS
    drawn = np.random.default_rng(0).permutation(len(documents))[:wanted]
    texts = [documents[int(place)] for place in drawn]
    with one_thread(), ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        seconds = process.submit(_seconds, systems, texts, 1 if quick else _ROUNDS).result()
    found = {name: len(texts) / taken for name, taken in seconds.items()}
    if "minilm" in found:
        found |= {name: found["minilm"] for name in _TEACHERS_DOCUMENTS if (systems / name).exists()}
    return found


def _seconds(systems: Path, texts: Sequence[str], rounds: int) -> dict[str, float]:
    runs = dict(_runs(systems, texts))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - started)
    return {name: min(seconds) for name, seconds in taken.items()}


def _runs(systems: Path, texts: Sequence[str]) -> Iterator[tuple[str, Callable[[], object]]]:
    own: dict[str, Callable[[Path], Embedder]] = {"lsa": Lsa.open, "model2vec": Model2vec}
    for place in sorted(systems.iterdir()):
        if place.name.endswith("_hybrid"):
            yield place.name, partial(_index, Bundle.open(place / BUNDLE_FOLDER), texts)
        elif place.name not in _TEACHERS_DOCUMENTS:
            yield place.name, partial(_embed, own.get(place.name, Encoder.open)(place), texts)


def _embed(embedder: Embedder, texts: Sequence[str]) -> None:
    embedder.embed(texts, "document")


def _index(bundle: Bundle, texts: Sequence[str]) -> None:
    documents = (Document(id=str(place), text=text) for place, text in enumerate(texts))
    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        SearchIndex.build(bundle, documents, Path(folder) / "index", threads=1).close()
