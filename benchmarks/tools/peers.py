"""What nearfar is timed against: all-MiniLM-L6-v2 in front of a faiss HNSW graph and an SQLite table, as one would write it.

Two runtimes for the same model: sentence-transformers, and onnxruntime with an int8 graph. Either is given what is good for
it: unit vectors searched by a graph of 8-bit codes with the parameters that nearfar's own has, mapped into memory; one
thread without spinning; all imports only when needed.

Run as a script it is the whole fresh process: `peers.py RUNTIME MODEL STORE QUERY` prints the ten best documents.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

K, EF = 10, 96
VECTORS, DOCUMENTS = "vectors.faiss", "documents.sqlite"
GRAPH, TOKENIZER = "model.onnx", "tokenizer.json"
MAX_TOKENS = 256

Search = Callable[[str], list[tuple[str, str, str]]]


def sentence_transformers(model: Path, store: Path) -> Search:
    """Search with the model in sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    encoder = SentenceTransformer(str(model), device="cpu", local_files_only=True)
    nearest = _nearest(store)
    return lambda query: nearest(encoder.encode([query], normalize_embeddings=True, show_progress_bar=False))


def onnxruntime(model: Path, store: Path) -> Search:
    """Search with the model in onnxruntime; the graph pools and normalises."""
    import numpy as np
    import onnxruntime as ort
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(model / GRAPH), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(model / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    nearest = _nearest(store)

    def search(query: str) -> list[tuple[str, str, str]]:
        ids = np.array([tokenizer.encode(query).ids], dtype=np.int64)
        return nearest(session.run(None, {"ids": ids, "mask": np.ones_like(ids)})[0])

    return search


def _nearest(store: Path) -> Callable[[Any], list[tuple[str, str, str]]]:
    """From a query vector (1, d) to the documents nearest to it."""
    import faiss

    faiss.omp_set_num_threads(1)
    graph = faiss.read_index(str(store / VECTORS), faiss.IO_FLAG_MMAP_IFC)
    settings = faiss.SearchParametersHNSW(efSearch=EF)
    connection = sqlite3.connect(f"{(store / DOCUMENTS).absolute().as_uri()}?mode=ro", uri=True)

    def nearest(vector: Any) -> list[tuple[str, str, str]]:
        _, ids = graph.search(vector, K, params=settings)
        wanted = ids[0].tolist()
        marks = ",".join("?" * len(wanted))
        rows = connection.execute(f"SELECT id, title, text, location FROM documents WHERE id IN ({marks})", wanted)
        found = {row[0]: row[1:] for row in rows}
        return [found[number] for number in wanted if number in found]

    return nearest


RUNTIMES: dict[str, Callable[[Path, Path], Search]] = {
    "sentence_transformers": sentence_transformers,
    "minilm": onnxruntime,
}

if __name__ == "__main__":
    runtime, model, store, query = sys.argv[1:]
    for title, _, location in RUNTIMES[runtime](Path(model), Path(store))(query):
        print(title, location)
