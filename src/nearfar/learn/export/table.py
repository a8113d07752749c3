"""Trained encoders of rows to ONNX graphs: features in, embeddings of unit length out, weights in int8 where asked for."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.encoders.table import TableEncoder
from nearfar.learn.export.tracing import EPSILON, traced, weights_in_int8


def export_table_graph(encoder: TableEncoder, *, features: int, dim: int | None, quantise: str) -> bytes:
    """The ONNX graph of an encoder of rows.

    Args:
        encoder: the trained encoder; stays as it is.
        features: how many a row has.
        dim: how many components to keep, the first ones; None keeps all.
        quantise: `int8` or `none`.

    Returns:
        A self-contained ONNX model: inputs `values`, float32 (n, F), and `codes`, int64 (n, F); output `embedding`, float32
        (n, dim).

    Raises:
        RunError: where the exporter cannot turn the encoder into a graph.
    """
    shipped = _Shipped(copy.deepcopy(encoder), dim or encoder.dim).eval().cpu()
    inputs = {"values": torch.zeros(2, features), "codes": torch.zeros(2, features, dtype=torch.int64)}
    rows = torch.export.Dim("n")
    model = traced(shipped, inputs, ["embedding"], {"values": {0: rows}, "codes": {0: rows}})
    if quantise == "int8":
        model = weights_in_int8(model, op_types_to_quantize=["MatMul", "Gemm", "Gather"])
    return bytes(model.SerializeToString())


class _Shipped(nn.Module):
    """What ships of an encoder of rows: the first `dim` components at unit length."""

    def __init__(self, encoder: TableEncoder, dim: int) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, dim

    def forward(self, values: Tensor, codes: Tensor) -> Tensor:
        return F.normalize(self.encoder(values, codes)[:, : self.dim], dim=-1, eps=EPSILON)
