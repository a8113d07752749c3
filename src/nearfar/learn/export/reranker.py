"""A cross-encoder to the ONNX graph that ships, in int8 where asked for."""

from __future__ import annotations

import copy

import torch

from nearfar.learn.cross_encoder import CrossEncoder
from nearfar.learn.export.tracing import traced, weights_in_int8


def export_reranker_graph(encoder: CrossEncoder, *, max_tokens: int, quantise: str) -> bytes:
    """The ONNX graph of a cross-encoder.

    Args:
        encoder: the model; stays as it is.
        max_tokens: longest row.
        quantise: `int8` (weights per channel, activations at run time) or `none`.

    Returns:
        A self-contained ONNX model: inputs `ids`, `mask` and, where the model reads them, `types`, int64 (n, L); output
        `score`, float32 (n,).

    Raises:
        RunError: where the exporter cannot turn the model into a graph.
    """
    shipped = copy.deepcopy(encoder).eval().cpu()
    names = ["ids", "mask", *(["types"] if encoder.types else [])]
    # A tensor of its own for every input: the exporter makes one input of one tensor under two names.
    inputs = {name: torch.ones(2, min(7, max_tokens), dtype=torch.int64) for name in names}
    n, length = torch.export.Dim("n"), torch.export.Dim("L", min=1, max=max_tokens)
    model = traced(shipped, inputs, ["score"], {name: {0: n, 1: length} for name in names})
    if quantise == "int8":
        model = weights_in_int8(model)
    return bytes(model.SerializeToString())
