"""The Fourier transform of a graph as a rule for its numbers: a table of one period in place of a matrix of up to a megabyte."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from nearfar.frontend.log_mel import hann
from nearfar.learn.encoders.log_mel import fourier_basis, one_period_of


def compact_basis(model: onnx.ModelProto, frame: int) -> onnx.ModelProto:
    """Replace the stored basis of a short-time spectrum by what computes it, to the last bit the same.

    The nodes depend on constants only: onnxruntime computes them once, when it opens the graph.

    Args:
        model: a graph with one initializer that is `fourier_basis(frame)`; changed in place.
        frame: samples of a short-time spectrum.

    Returns:
        The model.

    Raises:
        ValueError: there is no such initializer.
    """
    graph, basis = model.graph, fourier_basis(frame).numpy()
    stored = next(
        (t for t in graph.initializer if tuple(t.dims) == basis.shape and (numpy_helper.to_array(t) == basis).all()),
        None,
    )
    if stored is None:
        raise ValueError(f"expected an initializer with the Fourier basis of {frame} samples, found none")
    name = stored.name
    graph.initializer.remove(stored)
    cosine, sine = one_period_of(frame)
    constants: dict[str, npt.NDArray[Any]] = {
        "cosine": cosine,
        "sine": sine,
        "window": hann(frame),
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "bins": np.array(frame // 2 + 1, np.int64),
        "frame": np.array(frame, np.int64),
        "last": np.array([1], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, f"{name}/{key}") for key, value in constants.items())
    steps: tuple[tuple[str, tuple[str, ...], str, dict[str, Any]], ...] = (
        ("Range", ("zero", "bins", "one"), "frequencies", {}),
        ("Range", ("zero", "frame", "one"), "times", {}),
        ("Unsqueeze", ("frequencies", "last"), "column", {}),
        ("Mul", ("column", "times"), "products", {}),
        ("Mod", ("products", "frame"), "places", {}),
        ("Gather", ("cosine", "places"), "cosines", {}),
        ("Gather", ("sine", "places"), "sines", {}),
        ("Concat", ("cosines", "sines"), "waves", {"axis": 0}),
        ("Mul", ("waves", "window"), "windowed", {}),
    )
    nodes = [
        helper.make_node(op, [f"{name}/{i}" for i in inputs], [f"{name}/{made}"], f"{name}/{made}", **attributes)
        for op, inputs, made, attributes in steps
    ]
    nodes.append(helper.make_node("Unsqueeze", [f"{name}/windowed", f"{name}/last"], [name], f"{name}/basis"))
    for node in reversed(nodes):
        graph.node.insert(0, node)
    return model
