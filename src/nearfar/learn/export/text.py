"""Trained text towers to ONNX graphs: ids and mask in, embeddings of unit length out, weights in int8 where asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from nearfar.index.quantise import quantise_int8
from nearfar.learn.encoders import TextEncoder
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.learn.encoders.text import PaddedTextEncoder
from nearfar.learn.export.tracing import EPSILON, IR_VERSION, OPSET, traced, weights_in_int8


def export_graph(encoder: TextEncoder, *, dim: int, quantise: str) -> bytes:
    """The ONNX graph of one tower.

    Args:
        encoder: the trained tower.
        dim: how many components to keep; the rest are cut off before normalising.
        quantise: `int8` or `none`.

    Returns:
        A self-contained ONNX model: inputs `ids` and `mask`, int64 (n, L); output `embedding`, float32 (n, dim).

    Raises:
        RunError: where the exporter cannot turn the encoder into a graph.
    """
    if isinstance(encoder, StaticTextEncoder):
        return _static_graph(encoder.folded_table()[:, :dim], damped=encoder.damped, quantise=quantise)
    assert isinstance(encoder, PaddedTextEncoder)
    return _traced_graph(encoder, dim=dim, quantise=quantise)


def _static_graph(table: npt.NDArray[np.float32], *, damped: bool, quantise: str) -> bytes:
    """Gather the rows of the table, weigh them by how often their token occurs, sum, normalise.

    In int8 every row (token) has a scale of its own, so frequent tokens with short vectors lose no more than rare ones.
    """
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[Any]] = {
        "last": np.array([-1], np.int64),
        "middle": np.array([1], np.int64),
        "one": np.array(1.0, np.float32),
        "epsilon": np.array(EPSILON, np.float32),
    }

    def node(operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    weight = node("Cast", ["mask"], "present", to=TensorProto.FLOAT)
    if damped:
        node("Unsqueeze", ["ids", "last"], "ids_down")
        node("Unsqueeze", ["ids", "middle"], "ids_across")
        node("Equal", ["ids_down", "ids_across"], "equal")
        node("Cast", ["equal"], "equal_float", to=TensorProto.FLOAT)
        node("Unsqueeze", ["present", "last"], "present_down")
        node("MatMul", ["equal_float", "present_down"], "frequency_down")
        node("Squeeze", ["frequency_down", "last"], "frequency_or_zero")
        node("Max", ["frequency_or_zero", "one"], "frequency")
        node("Sqrt", ["frequency"], "root")
        weight = node("Div", ["present", "root"], "weight")
    if quantise == "int8":
        constants["table"], constants["scales"] = quantise_int8(table)
        node("Gather", ["scales", "ids"], "token_scales", axis=0)
        weight = node("Mul", [weight, "token_scales"], "scaled_weight")
        node("Gather", ["table", "ids"], "codes", axis=0)
        vectors = node("Cast", ["codes"], "vectors", to=TensorProto.FLOAT)
    else:
        constants["table"] = table.astype(np.float32)
        vectors = node("Gather", ["table", "ids"], "vectors", axis=0)
    node("Unsqueeze", [weight, "middle"], "weight_across")
    node("MatMul", ["weight_across", vectors], "sum_across")
    node("Squeeze", ["sum_across", "middle"], "sum")
    node("ReduceL2", ["sum", "last"], "length", keepdims=1)
    node("Max", ["length", "epsilon"], "positive_length")
    node("Div", ["sum", "positive_length"], "embedding")
    graph = helper.make_graph(
        nodes,
        "static_encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "L"]) for name in ("ids", "mask")],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", table.shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="nearfar"
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class _UnitLength(nn.Module):
    """What ships of a padded encoder: the first `dim` components, scaled to unit length."""

    def __init__(self, encoder: PaddedTextEncoder, dim: int) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, dim

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(self.encoder.embed_padded(ids, mask)[:, : self.dim], dim=-1, eps=EPSILON)


def _traced_graph(encoder: PaddedTextEncoder, *, dim: int, quantise: str) -> bytes:
    shipped = _UnitLength(encoder, dim).eval().cpu()
    ids, mask = (torch.ones(2, min(7, encoder.max_tokens), dtype=torch.int64) for _ in range(2))
    n, length = torch.export.Dim("n"), torch.export.Dim("L", min=1, max=encoder.max_tokens)
    shapes = {"ids": {0: n, 1: length}, "mask": {0: n, 1: length}}
    model = traced(shipped, {"ids": ids, "mask": mask}, ["embedding"], shapes)
    if quantise == "int8":
        model = weights_in_int8(model)
    return bytes(model.SerializeToString())
