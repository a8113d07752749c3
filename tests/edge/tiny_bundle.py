"""A real bundle that takes milliseconds to make: words hashed to fixed random directions, summed, normalised."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nearfar.bundle import Bundle, BundleWriter, Fusion, Manifest, Metric, Provenance, Tower, render_card
from nearfar.frontend import TextFrontend

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "How to read a file line by line in Python: open it and iterate over it.",
    "Parse a JSON string with json.loads and write one with json.dumps.",
    "SQLite keeps a whole database in a single file on disk.",
    "A neural network learns an embedding for every sentence.",
    "Bake the bread for forty minutes at two hundred degrees.",
    "The train to the coast leaves at seven every morning.",
    "Wash wool by hand in cold water and dry it flat.",
)


def tiny_graph(vocab_size: int, dim: int, seed: int = 0) -> onnx.ModelProto:
    """A static encoder as a graph: Gather from a random table, mask, sum, divide by the length."""
    table = np.random.default_rng(seed).standard_normal((vocab_size, dim)).astype(np.float32)
    constants = {
        "table": table,
        "last": np.array([2], dtype=np.int64),
        "tokens": np.array([1], dtype=np.int64),
        "tiny": np.array(1e-12, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Cast", ["mask"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["weights", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["summed"], keepdims=0),
        helper.make_node("ReduceL2", ["summed", "tokens"], ["norm"], keepdims=1),
        helper.make_node("Max", ["norm", "tiny"], ["length"]),
        helper.make_node("Div", ["summed", "length"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs=[helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "L"]) for name in ("ids", "mask")],
        outputs=[helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dim])],
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def tiny_manifest(frontend: TextFrontend, *, dim: int, fusion: Fusion | None = None, name: str = "tiny") -> Manifest:
    """A complete manifest with made-up figures."""
    tower = Tower(graph="encoder.onnx")
    return Manifest(
        created=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        name=name,
        towers={"query": tower, "document": tower},
        dim=dim,
        dims=(dim // 2,),
        frontend=frontend.settings,
        fusion=fusion,
        provenance=Provenance(
            recipe={"name": name, "encoder": {"kind": "static", "dim": dim}},
            recipe_sha256="0" * 64,
            data_fingerprint="1" * 64,
            data_counts={"training_pairs": 8000, "test_pairs": 1000},
            pairing=({"kind": "spans"},),
            sampler="shuffled",
            negatives="in batch",
            versions={"python": "3.11"},
        ),
        metrics={
            "bundle": {"ndcg_at_10": Metric(value=0.5, low=0.45, high=0.55), "recall_at_1": Metric(value=0.4)},
            "bm25": {"ndcg_at_10": Metric(value=0.3, low=0.25, high=0.35)},
            "model": {"ndcg_at_10": Metric(value=0.51, low=0.46, high=0.56)},
        },
    )


def write_tiny_bundle(
    directory: Path,
    *,
    dim: int = 32,
    texts: Sequence[str] = TEXTS,
    seed: int = 0,
    fusion: Fusion | None = None,
    name: str = "tiny",
) -> Bundle:
    """Write a bundle to `directory`; the same arguments give the same bytes.

    Args:
        directory: where the bundle goes.
        dim: components of an embedding; `dim // 2` works as a prefix.
        texts: what the vocabulary is learned from. Texts that share words are near each other.
        seed: of the random table; another seed is another bundle.
        fusion: goes into the manifest.
        name: of the bundle.
    """
    frontend = TextFrontend.train(texts, vocab_size=512, max_query_tokens=32, max_document_tokens=64)
    manifest = tiny_manifest(frontend, dim=dim, fusion=fusion, name=name)
    with BundleWriter(directory) as writer:
        writer.add("encoder.onnx", tiny_graph(frontend.vocab_size, dim, seed).SerializeToString())
        writer.add("tokenizer.json", frontend.to_bytes())
        return writer.finish(manifest, render_card(manifest))
