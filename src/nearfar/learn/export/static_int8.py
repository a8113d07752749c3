"""Convolutions in int8, weights and activations alike, with ranges that examples have shown."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from nearfar.learn.export.tracing import quiet

Feed = Mapping[str, npt.NDArray[np.float32]]
"""The inputs of a graph by name."""


class _Examples(CalibrationDataReader):  # type: ignore[misc]
    """Batches of examples, as onnxruntime asks for them."""

    def __init__(self, feeds: Iterable[Feed]) -> None:
        self.feeds: Iterator[Feed] = iter(feeds)
        first = next(self.feeds, None)
        if first is None:
            raise ValueError("expected examples to calibrate int8 with, got none")
        self.feeds = chain([first], self.feeds)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """The next batch; None after the last."""
        feed = next(self.feeds, None)
        return None if feed is None else dict(feed)


def convolutions_in_int8(
    model: onnx.ModelProto,
    calibration: Iterable[Feed],
    *,
    fixed: Collection[str] = (),
    float_nodes: Collection[str] = (),
) -> onnx.ModelProto:
    """Static int8 of convolutions and of what stands between them.

    The mean over places and all after it stay float: they are little work, and their errors would go straight into the vector.

    Args:
        model: the float model; stays as it is.
        calibration: batches of examples as they come on the device.
        fixed: names of weights whose convolutions stay float.
        float_nodes: names of nodes that stay float whatever they are.

    Raises:
        ValueError: there are no examples.
    """
    kept = [node.name for node in model.graph.node if node.op_type == "Conv" and node.input[1] in fixed]
    kept += [*_sums_of_vectors(model), *float_nodes]
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = (Path(folder) / name for name in ("float.onnx", "int8.onnx"))
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _Examples(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "Relu", "Clip", "MaxPool"],
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(target)


def _sums_of_vectors(model: onnx.ModelProto) -> list[str]:
    """The names of the additions that are not of maps: no convolution comes before them, or a matrix product does.

    In int8 they would cut vectors to what the examples had.
    """
    convolved, multiplied = set[str](), set[str]()
    kept = []
    for node in model.graph.node:  # in the order of what depends on what
        after_conv = node.op_type == "Conv" or not convolved.isdisjoint(node.input)
        after_product = node.op_type in ("Gemm", "MatMul") or not multiplied.isdisjoint(node.input)
        if node.op_type == "Add" and (after_product or not after_conv):
            kept.append(node.name)
        convolved.update(node.output if after_conv else ())
        multiplied.update(node.output if after_product else ())
    return kept
