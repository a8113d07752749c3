"""A torch module to an ONNX model that says nothing of the machine it was made on, and its weights to int8."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.learn.reason import first_line

OPSET = 18
IR_VERSION = 9  # readable by every onnxruntime since 1.16
EPSILON = 1e-12  # the least length that a vector is divided by


def traced(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], dynamic_shapes: Mapping[str, Any]
) -> onnx.ModelProto:
    """The ONNX model of what a module computes in eval mode.

    Args:
        module: takes one tensor for each of `inputs`, in their order.
        inputs: their names, each with an example of its own (one tensor under two names becomes one input).
        outputs: their names, in the order in which the module returns them.
        dynamic_shapes: for each input its dimensions that may be of any size, as `torch.export` takes them.

    Raises:
        RunError: where the exporter cannot turn the module into a graph.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                input_names=list(inputs),
                dynamic_shapes=dict(dynamic_shapes),
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
    _name_outputs(model, outputs)
    _strip(model)
    return model


def _name_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Call the outputs `names`, and whatever the exporter had given one of those names (the token lookup) something else."""
    given = {output.name: name for output, name in zip(model.graph.output, names, strict=True)}
    new = {name: f"{name}_inside" for name in names if name not in given} | given
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [new.get(old, old) for old in values]
    for tensor in model.graph.initializer:  # what depends on constants only has become one
        tensor.name = new.get(tensor.name, tensor.name)
    for output, name in zip(model.graph.output, names, strict=True):
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


def weights_in_int8(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    """Dynamic int8: weights per channel, activations at run time.

    `reduce_range` keeps the products of CPUs without VNNI from saturating; without it all-MiniLM-L6-v2 falls to a cosine
    of 0.956 with its float self on AVX2, with it to 0.992.

    Args:
        model: the float model; stays as it is.
        options: further ones of onnxruntime's `quantize_dynamic`.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = (Path(folder) / name for name in ("float.onnx", "int8.onnx"))
        onnx.save(model, source)
        quantize_dynamic(source, target, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8, **options)
        return onnx.load(target)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
