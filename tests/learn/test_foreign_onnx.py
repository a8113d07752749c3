"""ONNX encoders of other people's become our graph, and give the vectors that they gave before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from made_graphs import DIM, foreign_graph, write_foreign
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import TEXTS
from tiny_reranker import tiny_pair_tokenizer

from nearfar.errors import RunError
from nearfar.learn.export.foreign_onnx import ForeignGraph
from nearfar.learn.sentence_layout import SentenceLayout, read_layout

BATCH = [*TEXTS, "a", "fox " * 100]


def layout(folder: Path = Path("nowhere"), **options: object) -> SentenceLayout:
    return replace(read_layout(folder, max_tokens=32, prompts={}), **options)


def foreign(model: onnx.ModelProto, **options: object) -> ForeignGraph:
    return ForeignGraph(model, layout(**options), tiny_pair_tokenizer().to_str().encode(), "theirs")


def shipped(encoder: ForeignGraph) -> np.ndarray:
    """One padded batch of all texts through the rewritten graph."""
    session = onnxruntime.InferenceSession(encoder.export().SerializeToString())
    assert [(node.name, node.type) for node in session.get_inputs()] == [
        ("ids", "tensor(int64)"),
        ("mask", "tensor(int64)"),
    ]
    assert [node.name for node in session.get_outputs()] == ["embedding"]
    ids, mask = encoder.frontend.pad(encoder.frontend.encode(BATCH, "document"))
    assert mask.min() == 0
    return session.run(None, {"ids": ids, "mask": mask})[0]


def by_hand(model: onnx.ModelProto, output: str, pooling: str | None) -> np.ndarray:
    """The same in numpy, from the graph as it came, one text at a time."""
    session, tokenizer = onnxruntime.InferenceSession(model.SerializeToString()), tiny_pair_tokenizer()
    tokenizer.no_padding()
    tokenizer.enable_truncation(32)
    rows = []
    for text in BATCH:
        feed = {}
        for node in session.get_inputs():
            ids = np.array([tokenizer.encode(text).ids])
            values = {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}[node.name]
            feed[node.name] = values.astype({"tensor(int32)": np.int32, "tensor(int64)": np.int64}[node.type])
        found = session.run([output], feed)[0][0]
        rows.append(
            {"mean": lambda f=found: f.mean(axis=0), "cls": lambda f=found: f[0], None: lambda f=found: f}[pooling]()
        )
    return np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"types": False, "opset": 11},
        {"integers": TensorProto.INT32, "opset": 18},
        {"gives": ("pooler_output", "last_hidden_state")},
        {"inner": "embedding"},  # a name of ours, inside theirs
        {"inner": "mask"},
    ],
)
def test_token_vectors_are_pooled_in_the_graph(options: dict[str, object], pooling: str) -> None:
    model = foreign_graph(**options)
    encoder = foreign(model, pooling=pooling)
    assert (encoder.dim, encoder.pools) == (DIM, False)
    wanted = by_hand(model, "last_hidden_state", pooling)
    np.testing.assert_allclose(shipped(encoder), wanted, atol=1e-5)
    np.testing.assert_allclose(encoder.embed(BATCH), wanted, atol=1e-5)
    assert np.abs(wanted @ wanted.T - 1).max() > 0.1


@pytest.mark.parametrize(
    ("gives", "output"),
    [
        (("last_hidden_state", "sentence_embedding"), "sentence_embedding"),
        (("pooler_output",), "pooler_output"),
    ],
)
def test_what_pools_by_itself_is_left_to_it(gives: tuple[str, ...], output: str) -> None:
    model = foreign_graph(gives=gives)
    encoder = foreign(model)
    assert encoder.pools
    assert encoder.layout.pooling is None
    assert not encoder.layout.notes
    np.testing.assert_allclose(shipped(encoder), by_hand(model, output, None), atol=1e-5)


def test_names_inside_inner_graphs_are_renamed_too() -> None:
    """A condition whose branches use weights and values from outside by names that are ours."""
    inside = [helper.make_node("Mul", ["ids", "embedding"], ["then"])]
    out = helper.make_tensor_value_info("then", TensorProto.FLOAT, None)
    branch = helper.make_graph(inside, "branch", [], [out])
    model = foreign_graph(types=False, inner="ids")
    nodes = list(model.graph.node)
    condition = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(2.0, np.float32), "embedding"))
    position = next(number for number, node in enumerate(nodes) if node.op_type == "Add")
    nodes[position].input[0] = "chosen"
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:position], condition, *nodes[position:]])
    np.testing.assert_allclose(shipped(foreign(model)), by_hand(model, "last_hidden_state", "mean"), atol=1e-5)


def test_nothing_of_the_machine_it_was_made_on_is_kept() -> None:
    assert b"/home/somebody" not in foreign(foreign_graph()).export().SerializeToString()


def test_another_interface_is_a_clear_error(tmp_path: Path) -> None:
    extra = foreign_graph()
    extra.graph.input.append(helper.make_tensor_value_info("task_id", TensorProto.INT64, [1]))
    with pytest.raises(RunError, match=r"inputs input_ids, .*task_id; an encoder of texts takes"):
        foreign(extra)
    with pytest.raises(RunError, match=r"INT64 \(batch_size, 128\): export the graph with dynamic axes"):
        foreign(foreign_graph(length=128))
    scores = foreign_graph()
    scores.graph.output[0].name = "present"
    scores.graph.node.append(helper.make_node("Cast", ["present"], ["logits"], to=TensorProto.INT32))
    scores.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.INT32, None))
    with pytest.raises(RunError, match=r"gives logits .* for one text; an encoder gives last_hidden_state"):
        foreign(scores)
    folder = write_foreign(tmp_path, foreign_graph())
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer"}]')
    with pytest.raises(RunError, match="begins with Transformer; only"):
        layout(folder)
