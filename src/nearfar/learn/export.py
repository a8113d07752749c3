"""Trained towers to ONNX graphs: ids and mask in, embeddings of unit length out, weights in int8 where asked for."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.index.quantise import quantise_int8
from nearfar.learn.encoders import TextEncoder
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.learn.encoders.text import PaddedTextEncoder
from nearfar.learn.reason import first_line

_OPSET = 18
_IR_VERSION = 9  # readable by every onnxruntime since 1.16
_EPSILON = 1e-12


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
        "epsilon": np.array(_EPSILON, np.float32),
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
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="nearfar"
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class _UnitLength(nn.Module):
    """What ships of a padded encoder: the first `dim` components, scaled to unit length."""

    def __init__(self, encoder: PaddedTextEncoder, dim: int) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, dim

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(self.encoder.embed_padded(ids, mask)[:, : self.dim], dim=-1, eps=_EPSILON)


def _traced_graph(encoder: PaddedTextEncoder, *, dim: int, quantise: str) -> bytes:
    shipped = _UnitLength(encoder, dim).eval().cpu()
    # Two tensors: the exporter takes one tensor that is passed twice for one input.
    ids, mask = (torch.ones(2, min(7, encoder.max_tokens), dtype=torch.int64) for _ in range(2))
    n, length = torch.export.Dim("n"), torch.export.Dim("L", min=1, max=encoder.max_tokens)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        try:
            program = torch.onnx.export(
                shipped,
                (ids, mask),
                input_names=["ids", "mask"],
                dynamic_shapes={"ids": {0: n, 1: length}, "mask": {0: n, 1: length}},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter raises many kinds
            raise RunError(f"the encoder could not be turned into an ONNX graph: {first_line(error)}") from error
        assert program is not None
        path = Path(folder) / "encoder.onnx"
        program.save(str(path), external_data=False)
        model = onnx.load(path)
        _name_output(model, "embedding")
        _strip(model)
        onnx.save(model, path)
        if quantise == "int8":
            path = _quantised(path)
        return path.read_bytes()


def _name_output(model: onnx.ModelProto, name: str) -> None:
    """Call the only output `name`, and whatever the exporter had given that name (the token lookup) something else."""
    (output,) = model.graph.output
    new = {output.name: name, name: f"{name}_of_tokens"} if output.name != name else {}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(old, old) for old in names]
    output.name = name


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes down for debugging: Python stack traces with paths of this machine, and shapes that
    contradict those that the quantiser infers.
    """
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for function in model.functions:
        del function.value_info[:]
        for part in (function, *function.node):
            del part.metadata_props[:]
            part.doc_string = ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what exporter and quantiser print, log and warn of; nothing stays changed."""
    loggers = [logging.getLogger(name) for name in ("", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    # The quantiser logs through the root, which would give itself a handler for good.
    placeholder = logging.NullHandler()
    loggers[0].addHandler(placeholder)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            loggers[0].removeHandler(placeholder)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _quantised(path: Path) -> Path:
    """Dynamic int8: weights per channel, activations at run time.

    `reduce_range` keeps the products of CPUs without VNNI from saturating; without it all-MiniLM-L6-v2 falls to a cosine
    of 0.956 with its float self on AVX2, with it to 0.992.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = path.with_name("int8.onnx")
    quantize_dynamic(path, target, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
    return target
