"""A real reranker bundle that takes milliseconds to make: it counts, in random directions, the words that query and passage share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import TEXTS
from tokenizers import Tokenizer, processors

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Scorer, render_card
from nearfar.frontend import PairSettings
from nearfar.frontend.vocabulary import train_tokenizer

SETTINGS = PairSettings(max_query_tokens=16, max_tokens=48, types=True)


def tiny_pair_tokenizer() -> Tokenizer:
    """A vocabulary of TEXTS that joins a pair as BERT does."""
    tokenizer = train_tokenizer(TEXTS, vocab_size=512)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def tiny_scorer(vocab_size: int, *, factor: float = 1.0, seed: int = 0) -> onnx.ModelProto:
    """The inner product of the summed word vectors of both sides, times `factor`; special tokens have none."""
    table = np.random.default_rng(seed).standard_normal((vocab_size, 64)).astype(np.float32) / 8
    table[:4] = 0
    constants = {
        "table": table,
        "last": np.array([2], np.int64),
        "tokens": np.array([1], np.int64),
        "factor": np.array(factor, np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Mul", ["mask", "types"], ["in_passage"]),
        helper.make_node("Sub", ["mask", "in_passage"], ["in_query"]),
    ]
    for side in ("query", "passage"):
        nodes += [
            helper.make_node("Cast", [f"in_{side}"], [f"{side}_weights"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", [f"{side}_weights", "last"], [f"{side}_column"]),
            helper.make_node("Mul", ["rows", f"{side}_column"], [f"{side}_rows"]),
            helper.make_node("ReduceSum", [f"{side}_rows", "tokens"], [f"{side}_vector"], keepdims=0),
        ]
    nodes += [
        helper.make_node("Mul", ["query_vector", "passage_vector"], ["products"]),
        helper.make_node("ReduceSum", ["products", "tokens"], ["product"], keepdims=0),
        helper.make_node("Mul", ["product", "factor"], ["score"]),
    ]
    names = ("ids", "mask", "types")
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs=[helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "L"]) for name in names],
        outputs=[helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        initializer=[numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def tiny_reranker_manifest(scale: Literal["logit", "free"] = "logit") -> Manifest:
    """A complete manifest."""
    return Manifest(
        created=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        name="tiny",
        kind="text-cross-encoder",
        scorer=Scorer(graph="reranker.onnx", scale=scale),
        frontend=SETTINGS,
        provenance=Provenance(
            recipe={"source": "made"}, recipe_sha256="0" * 64, data_fingerprint="1" * 64, versions={"python": "3.11"}
        ),
    )


def write_tiny_reranker(
    directory: Path, *, scale: Literal["logit", "free"] = "logit", factor: float = 1.0, graph: bytes | None = None
) -> Bundle:
    """Write a reranker bundle to `directory`; the same arguments give the same bytes.

    Args:
        directory: where the bundle goes.
        scale: of the manifest.
        factor: what its scores are multiplied by; -1 puts the worst passage first.
        graph: another graph instead.
    """
    tokenizer = tiny_pair_tokenizer()
    manifest = tiny_reranker_manifest(scale)
    with BundleWriter(directory) as writer:
        writer.add("reranker.onnx", graph or tiny_scorer(tokenizer.get_vocab_size(), factor=factor).SerializeToString())
        writer.add("tokenizer.json", tokenizer.to_str().encode())
        return writer.finish(manifest, render_card(manifest))
