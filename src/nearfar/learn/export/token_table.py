"""The graph of a static encoder, and the token table of any other graph in another form."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from nearfar.learn.compress.model import Form
from nearfar.learn.export.gathered_rows import Parts, gathered_rows
from nearfar.learn.export.tracing import EPSILON, IR_VERSION, OPSET

Floats = npt.NDArray[np.float32]


def table_graph(table: Floats, *, damped: bool, form: Form, frequency: npt.NDArray[Any] | None = None) -> bytes:
    """The graph of a static encoder: gather the rows, weigh them by how often their token occurs, sum, normalise.

    In few bits every row (token) has a scale of its own, so frequent tokens with short vectors lose no more than rare ones.

    Args:
        table: (v, d); the embedding is the sum of the rows of a text.
        damped: f occurrences of a token weigh the square root of f, not f.
        form: format and rank of the table.
        frequency: (v,) how many texts have each token: what is common comes out closer.

    Returns:
        A self-contained ONNX model: inputs `ids` and `mask`, int64 (n, L); output `embedding`, float32 (n, d).

    Raises:
        RunError: the table is not finite, or the rank is not below d.
    """
    parts = Parts()
    last, middle = (
        parts.constant(*axis) for axis in (("last", np.array([-1], np.int64)), ("middle", np.array([1], np.int64)))
    )
    weight = parts.node("Cast", ["mask"], "present", to=TensorProto.FLOAT)
    if damped:
        weight = _damped(parts, weight, last, middle)
    gathered = gathered_rows(parts, "ids", table, form, frequency)
    if gathered.scale is not None:
        weight = parts.node("Mul", [weight, gathered.scale], "scaled_weight")
    across = parts.node("Unsqueeze", [weight, middle], "weight_across")
    summed = parts.node("MatMul", [across, gathered.rows], "sum_across")
    total = parts.node("Squeeze", [summed, middle], "sum")
    if gathered.basis is not None:  # after the sum: once a text, not once a token
        total = parts.node("MatMul", [total, gathered.basis], "full_sum")
    length = parts.node("ReduceL2", [total, last], "length", keepdims=1)
    epsilon = parts.constant("epsilon", np.array(EPSILON, np.float32))
    positive = parts.node("Max", [length, epsilon], "positive_length")
    parts.node("Div", [total, positive], "embedding")
    graph = helper.make_graph(
        parts.nodes,
        "static_encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "L"]) for name in ("ids", "mask")],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", table.shape[1]])],
        parts.constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="nearfar"
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def table_in_form(model: onnx.ModelProto, gather: onnx.NodeProto, table: Floats, form: Form) -> None:
    """Replace the node that looks tokens up in a float table by nodes that do so in another form.

    Args:
        model: changed in place.
        gather: a node of it, with a table (v, d) of floats and ids (n, L); what it gives keeps its name.
        table: (v, d).
        form: format and rank of the table.

    Raises:
        RunError: the table is not finite, or the rank is not below d.
    """
    old, ids = gather.input
    (output,) = gather.output
    parts = Parts("token_table/")
    gathered = gathered_rows(parts, ids, table, form)
    vectors = gathered.rows
    if gathered.scale is not None:
        last = parts.constant("last", np.array([-1], np.int64))
        scale = parts.node("Unsqueeze", [gathered.scale, last], "scale_down")
        vectors = parts.node("Mul", [vectors, scale], "scaled")
    if gathered.basis is not None:
        vectors = parts.node("MatMul", [vectors, gathered.basis], "full")
    parts.nodes[-1].output[0] = output
    assert vectors == parts.nodes[-1].name
    nodes = list(model.graph.node)
    at = next(place for place, node in enumerate(nodes) if output in node.output)
    nodes[at : at + 1] = parts.nodes
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if not any(old in node.input for node in nodes):
        kept = [tensor for tensor in model.graph.initializer if tensor.name != old]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
    model.graph.initializer.extend(parts.constants)


def _damped(parts: Parts, present: str, last: str, middle: str) -> str:
    """The weight of each token, such that the f occurrences of one weigh the square root of f together."""
    one = parts.constant("one", np.array(1.0, np.float32))
    down = parts.node("Unsqueeze", ["ids", last], "ids_down")
    across = parts.node("Unsqueeze", ["ids", middle], "ids_across")
    equal = parts.node("Equal", [down, across], "equal")
    as_float = parts.node("Cast", [equal], "equal_float", to=TensorProto.FLOAT)
    present_down = parts.node("Unsqueeze", [present, last], "present_down")
    counted = parts.node("MatMul", [as_float, present_down], "frequency_down")
    frequency = parts.node("Max", [parts.node("Squeeze", [counted, last], "frequency_or_zero"), one], "frequency")
    return parts.node("Div", [present, parts.node("Sqrt", [frequency], "root")], "weight")
