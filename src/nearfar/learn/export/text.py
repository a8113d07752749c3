"""Trained text towers to ONNX graphs: ids and mask in, embeddings of unit length out, weights in int8 where asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.learn.compress.model import Form, Format
from nearfar.learn.encoders import TextEncoder
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.learn.encoders.text import PaddedTextEncoder
from nearfar.learn.export.token_table import table_graph, table_in_form
from nearfar.learn.export.tracing import EPSILON, traced, weights_in_int8


def export_graph(
    encoder: TextEncoder,
    *,
    dim: int,
    quantise: str,
    form: Form | None = None,
    frequency: npt.NDArray[Any] | None = None,
) -> bytes:
    """The ONNX graph of one tower.

    Args:
        encoder: the trained tower.
        dim: how many components to keep; the rest are cut off before normalising.
        quantise: `int8` or `none`; unused where there is a `form`.
        form: how the numbers are written. In `int4` and `codebook` what is no token table is in int8; a rank is for static
            encoders, others stay whole.
        frequency: (v,) how many texts have each token, where known: a static table in few numbers keeps common ones closer.

    Returns:
        A self-contained ONNX model: inputs `ids` and `mask`, int64 (n, L); output `embedding`, float32 (n, dim).

    Raises:
        RunError: where the exporter cannot turn the encoder into a graph, or the form does not fit it.
    """
    form = form or Form(format=cast(Format, quantise))
    if isinstance(encoder, StaticTextEncoder):
        return table_graph(encoder.folded_table()[:, :dim], damped=encoder.damped, form=form, frequency=frequency)
    assert isinstance(encoder, PaddedTextEncoder)
    return _traced_graph(encoder, dim=dim, form=replace(form, rank=None))


class _UnitLength(nn.Module):
    """What ships of a padded encoder: the first `dim` components, scaled to unit length."""

    def __init__(self, encoder: PaddedTextEncoder, dim: int) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, dim

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(self.encoder.embed_padded(ids, mask)[:, : self.dim], dim=-1, eps=EPSILON)


def _traced_graph(encoder: PaddedTextEncoder, *, dim: int, form: Form) -> bytes:
    shipped = _UnitLength(encoder, dim).eval().cpu()
    ids, mask = (torch.ones(2, min(7, encoder.max_tokens), dtype=torch.int64) for _ in range(2))
    n, length = torch.export.Dim("n"), torch.export.Dim("L", min=1, max=encoder.max_tokens)
    shapes = {"ids": {0: n, 1: length}, "mask": {0: n, 1: length}}
    model = traced(shipped, {"ids": ids, "mask": mask}, ["embedding"], shapes)
    if form.format != "none":
        model = _quantised(model, form)
    return bytes(model.SerializeToString())


def _quantised(model: onnx.ModelProto, form: Form) -> onnx.ModelProto:
    """The model in int8, its token table in `form`.

    The quantiser would give the table one scale for all of its rows; ours have one each.
    """
    gather = _token_lookup(model)
    if gather is None:
        if form.format != "int8":
            raise RunError(
                f"this encoder has no token table that could be written in {form.format}: set the format of its weights to int8"
            )
        return weights_in_int8(model)
    table = next(tensor for tensor in model.graph.initializer if tensor.name == gather.input[0])
    smaller = weights_in_int8(model, nodes_to_exclude=[gather.name])
    table_in_form(smaller, gather, numpy_helper.to_array(table), form)
    onnx.checker.check_model(smaller)
    return smaller


def _token_lookup(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The node that looks `ids` up in a table of floats."""
    tables = {
        tensor.name
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT
    }
    lookups = [n for n in model.graph.node if n.op_type == "Gather" and n.input[0] in tables and n.input[1] == "ids"]
    return lookups[0] if len(lookups) == 1 else None
