"""Trained encoders of windows to ONNX graphs: scaled frames in, embeddings out, in int8 where that keeps their distances."""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch

from nearfar.learn.encoders.patch_transformer import PatchTransformer
from nearfar.learn.encoders.series import SeriesEncoder
from nearfar.learn.export.static_int8 import Feed, convolutions_in_int8
from nearfar.learn.export.tracing import traced, weights_in_int8

Floats = npt.NDArray[np.float32]

LEAST_AGREEMENT = 0.98
"""Correlation of distances that int8 must keep with those of the float graph."""

_EXAMPLES_AT_A_TIME = 64
_COMPARED = 256


class SeriesGraph(NamedTuple):
    """What ships of an encoder of windows.

    Attributes:
        content: the ONNX model.
        weights: the number format that it has.
        agreement: of its distances between examples with those of the float graph, see `distance_agreement`; of the int8 graph also
            where that did not ship. 1 where int8 was not asked for.
    """

    content: bytes
    weights: Literal["int8", "float32"]
    agreement: float


def export_series_graph(
    encoder: SeriesEncoder,
    *,
    window: int,
    features: int,
    quantise: str,
    calibration: tuple[Floats, Floats] | None = None,
) -> bytes:
    """The ONNX graph of an encoder of windows.

    Of an encoder with convolutions int8 means weights and activations, whose ranges `calibration` shows; the Fourier transform of
    the spectral one stays float, and so does the map of the window's mean. Of a transformer it means the weights of matrix products.

    Args:
        encoder: the trained encoder; stays as it is.
        window: T, frames of a window.
        features: F, numbers of a frame.
        quantise: `int8` or `none`.
        calibration: some hundred healthy windows (n, T, F), scaled and 0 where missing, and their presence; unused where `quantise`
            is none.

    Returns:
        A self-contained ONNX model: inputs `window` and `present`, float32 (n, T, F); output `embedding`, float32 (n, dim), not
        of unit length.

    Raises:
        RunError: where the exporter cannot turn the encoder into a graph.
        ValueError: int8 of convolutions without windows to calibrate with.
    """
    model = _float_model(encoder, window, features)
    if quantise == "int8":
        model = _int8_model(model, encoder, calibration)
    return bytes(model.SerializeToString())


def choose_series_graph(
    encoder: SeriesEncoder,
    *,
    window: int,
    features: int,
    quantise: str,
    calibration: tuple[Floats, Floats],
    least: float = LEAST_AGREEMENT,
) -> SeriesGraph:
    """The graph in int8 where that is asked for and keeps distances, else in float.

    Args:
        encoder: the trained encoder; stays as it is.
        window: T, frames of a window.
        features: F, numbers of a frame.
        quantise: `int8` or `none`.
        calibration: as `export_series_graph` has it; distances are compared on them too.
        least: agreement that int8 must reach.
    """
    model = _float_model(encoder, window, features)
    content = bytes(model.SerializeToString())
    if quantise != "int8":
        return SeriesGraph(content, "float32", 1.0)
    small = bytes(_int8_model(model, encoder, calibration).SerializeToString())
    agreement = distance_agreement(content, small, *(part[:_COMPARED] for part in calibration))
    return SeriesGraph(small, "int8", agreement) if agreement >= least else SeriesGraph(content, "float32", agreement)


def distance_agreement(reference: bytes, graph: bytes, windows: Floats, present: Floats) -> float:
    """Correlation of the squared distances between all windows by two graphs: alarms are made of nothing else.

    Args:
        reference: an ONNX model.
        graph: another of the same inputs.
        windows: (n, T, F), n of 3 or more.
        present: (n, T, F).

    Returns:
        From -1 to 1; 1 is the same but for scale.
    """
    places = np.triu_indices(len(windows), 1)
    distances = []
    for content in (reference, graph):
        session = ort.InferenceSession(content, _quiet(), providers=["CPUExecutionProvider"])
        vectors = session.run(["embedding"], {"window": windows, "present": present})[0].astype(np.float64)
        squares = (vectors**2).sum(axis=1)
        distances.append((squares[:, None] + squares - 2 * vectors @ vectors.T)[places])
    return float(np.corrcoef(distances)[0, 1])


def _float_model(encoder: SeriesEncoder, window: int, features: int) -> onnx.ModelProto:
    example = torch.zeros(2, window, features), torch.ones(2, window, features)
    n = torch.export.Dim("n")
    inputs = dict(zip(("window", "present"), example, strict=True))
    return traced(copy.deepcopy(encoder).eval().cpu(), inputs, ["embedding"], {"window": {0: n}, "present": {0: n}})


def _int8_model(
    model: onnx.ModelProto, encoder: SeriesEncoder, calibration: tuple[Floats, Floats] | None
) -> onnx.ModelProto:
    if isinstance(encoder, PatchTransformer):
        return weights_in_int8(model, op_types_to_quantize=["MatMul"])
    feeds: list[Feed] = []
    if calibration is not None:
        windows, present = calibration
        feeds = [
            {
                "window": windows[first : first + _EXAMPLES_AT_A_TIME],
                "present": present[first : first + _EXAMPLES_AT_A_TIME],
            }
            for first in range(0, len(windows), _EXAMPLES_AT_A_TIME)
        ]
    return convolutions_in_int8(model, feeds, fixed=[t.name for t in model.graph.initializer if "basis" in t.name])


def _quiet() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return options
