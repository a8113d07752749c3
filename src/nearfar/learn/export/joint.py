"""The graph of a tower with what brings its vectors into the space of all towers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnx.compose
import onnx.utils
from onnx import TensorProto, helper
from torch import nn

from nearfar.errors import RunError
from nearfar.index.quantise import quantise_int8
from nearfar.learn.export.gathered_rows import Parts
from nearfar.learn.export.tracing import EPSILON

Floats = npt.NDArray[np.float32]

_OUTPUT = "embedding"
_TOWER, _SPACE = "tower/", "space/"
_LARGE = 4096  # numbers of a matrix: below that int8 saves no kilobyte worth its nodes
_AXES_ARE_INPUT = 18  # the opset from which on ReduceL2 takes its axes as an input


class Layer(NamedTuple):
    """One affine map of a projection; between two stands a GELU.

    Attributes:
        weight: float32 (in, out).
        bias: float32 (out,); None for none.
    """

    weight: Floats
    bias: Floats | None = None


def layers_of(projection: nn.Module) -> list[Layer]:
    """The maps of a projection: none of an identity, one of a linear map, two where a hidden layer stands between.

    Args:
        projection: linear maps with GELU between them.

    Raises:
        ValueError: it has parts of another kind.
    """
    layers, between = [], 0
    for part in projection.modules():
        if isinstance(part, nn.Linear):
            weight, bias = (None if p is None else p.detach().float().cpu().numpy() for p in (part.weight, part.bias))
            assert weight is not None
            layers.append(Layer(np.ascontiguousarray(weight.T), bias))
        elif isinstance(part, nn.GELU) and part.approximate == "none":
            between += 1
        elif any(True for _ in part.parameters(recurse=False)) or isinstance(part, nn.GELU):
            raise ValueError(f"a projection is of linear maps and GELU, not of {type(part).__name__}")
    if between != max(0, len(layers) - 1):
        raise ValueError(f"a projection of {len(layers)} linear maps has a GELU between each two, not {between}")
    return layers


def into_space(graph: bytes, layers: Sequence[Layer], *, mean: Floats | None = None, quantise: str) -> bytes:
    """Append to the graph of a tower what stands between its vectors and the common space.

    Vectors are brought to unit length, mapped, brought to unit length again, and where there is a mean it is taken away and what is
    left brought to unit length.

    Args:
        graph: an ONNX model with an output `embedding`, float32 (n, in); further outputs do not ship.
        layers: of the projection, see `layers_of`.
        mean: float32 (d,), mean of the unit vectors of the tower in the common space; None leaves them where they are.
        quantise: `int8` keeps the weights of large matrices in int8, each column with a scale of its own; activations stay float.
            `none` keeps all in float.

    Returns:
        A self-contained ONNX model: the inputs of `graph`; output `embedding`, float32 (n, d), rows of unit length.

    Raises:
        RunError: the graph has no such output, or a weight is not finite.
        ValueError: the layers do not follow each other.
    """
    model = _of_one_output(onnx.load_model_from_string(graph))
    model = onnx.compose.add_prefix(model, _TOWER, rename_inputs=False, rename_functions=False)
    for number, layer in enumerate(layers):
        if not np.isfinite(layer.weight).all():
            raise RunError(f"layer {number} of a projection holds values that are not finite numbers: train again")
    for before, after in pairwise(layers):
        if before.weight.shape[1] != after.weight.shape[0]:
            raise ValueError(f"a layer of shape {after.weight.shape} cannot follow one of shape {before.weight.shape}")
    parts = Parts(_SPACE)
    vectors = _unit(parts, _TOWER + _OUTPUT, "tower", _opset(model))
    for number, layer in enumerate(layers):
        if number:
            vectors = _gelu(parts, vectors, f"gelu{number}")
        vectors = _mapped(parts, vectors, layer, f"layer{number}", in_int8=quantise == "int8")
    if layers:
        vectors = _unit(parts, vectors, "common", _opset(model))
    if mean is not None:
        taken = parts.constant("mean", np.ascontiguousarray(mean, np.float32))
        vectors = _unit(parts, parts.node("Sub", [vectors, taken], "centred"), "around_centre", _opset(model))
    parts.nodes[-1].output[0] = _OUTPUT
    model.graph.node.extend(parts.nodes)
    model.graph.initializer.extend(parts.constants)
    del model.graph.output[:]
    width = layers[-1].weight.shape[1] if layers else None
    model.graph.output.append(helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, ["n", width or "d"]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _of_one_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without outputs beside `embedding`, and without what only they need."""
    names = [output.name for output in model.graph.output]
    if _OUTPUT not in names:
        raise RunError(f"the graph of a tower gives {', '.join(names)}, and no {_OUTPUT}: export it again")
    if len(names) > 1:
        version, inputs = model.ir_version, [node.name for node in model.graph.input]
        model = onnx.utils.Extractor(model).extract_model(inputs, [_OUTPUT])
        model.ir_version = version
    del model.graph.value_info[:]  # an input that is among them would be renamed
    return model


def _opset(model: onnx.ModelProto) -> int:
    return next(int(used.version) for used in model.opset_import if used.domain in ("", "ai.onnx"))


def _unit(parts: Parts, vectors: str, name: str, opset: int) -> str:
    """Rows (n, d) at unit length."""
    if opset >= _AXES_ARE_INPUT:
        axes = parts.constant(f"{name}_last", np.array([-1], np.int64))
        length = parts.node("ReduceL2", [vectors, axes], f"{name}_length", keepdims=1)
    else:
        length = parts.node("ReduceL2", [vectors], f"{name}_length", axes=[-1], keepdims=1)
    epsilon = parts.constant(f"{name}_epsilon", np.array(EPSILON, np.float32))
    positive = parts.node("Max", [length, epsilon], f"{name}_positive_length")
    return parts.node("Div", [vectors, positive], f"{name}_unit")


def _mapped(parts: Parts, vectors: str, layer: Layer, name: str, *, in_int8: bool) -> str:
    """Rows (n, in) times the weights, and the bias."""
    weight = np.ascontiguousarray(layer.weight, np.float32)
    if in_int8 and weight.size >= _LARGE:
        codes, scales = quantise_int8(np.ascontiguousarray(weight.T))
        whole = parts.constant(f"{name}_codes", np.ascontiguousarray(codes.T))
        wide = parts.node("Cast", [whole], f"{name}_wide", to=TensorProto.FLOAT)
        product = parts.node("MatMul", [vectors, wide], f"{name}_product")
        mapped = parts.node("Mul", [product, parts.constant(f"{name}_scales", scales)], f"{name}_scaled")
    else:
        mapped = parts.node("MatMul", [vectors, parts.constant(f"{name}_weight", weight)], f"{name}_product")
    if layer.bias is None:
        return mapped
    return parts.node("Add", [mapped, parts.constant(f"{name}_bias", layer.bias)], f"{name}_sum")


def _gelu(parts: Parts, vectors: str, name: str) -> str:
    """GELU in its parts, x / 2 (1 + erf(x / sqrt 2)): as one node it came with opset 20."""
    root, one, half = (
        parts.constant(f"{name}_{what}", np.array(value, np.float32))
        for what, value in (("root", 2**-0.5), ("one", 1.0), ("half", 0.5))
    )
    inside = parts.node("Erf", [parts.node("Mul", [vectors, root], f"{name}_scaled")], f"{name}_erf")
    share = parts.node("Mul", [parts.node("Add", [inside, one], f"{name}_plus_one"), half], f"{name}_share")
    return parts.node("Mul", [vectors, share], f"{name}_gelu")
