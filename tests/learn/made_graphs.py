"""ONNX encoders as other people export them, of a few kilobytes: token vectors that depend on their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_reranker import tiny_pair_tokenizer

DIM = 12


def foreign_graph(
    *,
    gives: Sequence[str] = ("last_hidden_state",),
    types: bool = True,
    integers: int = TensorProto.INT64,
    length: int | str = "sequence_length",
    opset: int = 14,
    inner: str = "hidden",
    seed: int = 0,
) -> onnx.ModelProto:
    """A graph of an embedding table, a product with the token's neighbours under the mask, and pooled outputs.

    Args:
        gives: of `last_hidden_state` (n, L, d), `sentence_embedding` and `pooler_output` (n, d).
        types: whether it takes token types.
        integers: type of its inputs.
        length: of the second axis of its inputs.
        opset: of its operators.
        inner: name of a value inside.
        seed: of its weights.
    """
    rng = np.random.default_rng(seed)
    vocab = tiny_pair_tokenizer().get_vocab_size()
    weights = {
        "table": rng.standard_normal((vocab, DIM)).astype(np.float32),
        "types_table": rng.standard_normal((2, DIM)).astype(np.float32),
        "map": rng.standard_normal((DIM, DIM)).astype(np.float32),
        "one_row": np.array([0, 1, -1], np.int64),
        "first": np.array(0, np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], [inner]),
        node("Cast", ["attention_mask"], ["present"], to=TensorProto.FLOAT),
        node("Reshape", ["present", "one_row"], ["across"]),
        node("MatMul", ["across", inner], ["all_tokens"]),  # (n, 1, d): what a token is depends on the others
        node("Tanh", ["all_tokens"], ["context"]),
        node("Add", [inner, "context"], ["mixed"]),
        node("MatMul", ["mixed", "map"], ["mapped"]),
    ]
    last = "mapped"
    if types:
        nodes += [
            node("Gather", ["types_table", "token_type_ids"], ["type_rows"]),
            node("Add", [last, "type_rows"], ["typed"]),
        ]
        last = "typed"
    nodes.append(node("Tanh", [last], ["last_hidden_state"]))
    nodes.append(node("Gather", ["last_hidden_state", "first"], ["sentence_embedding"], axis=1))
    nodes.append(node("Neg", ["sentence_embedding"], ["pooler_output"]))
    rank = {"last_hidden_state": ["n", length, DIM]}
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info(name, integers, ["batch_size", length]) for name in names],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, rank.get(name, ["n", DIM])) for name in gives],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
        doc_string="/home/somebody/export.py",
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def write_foreign(folder: Path, model: onnx.ModelProto, *, name: str = "model.onnx", external: bool = False) -> Path:
    """Write a graph with its tokenizer into a folder, with its weights in a file of their own where asked for."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    more = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 0} if external else {}
    onnx.save_model(model, folder / name, **more)
    (folder / "tokenizer.json").write_text(tiny_pair_tokenizer().to_str())
    return folder
