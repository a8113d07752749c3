"""Trained encoders of sound to ONNX graphs: samples in, embeddings of unit length out, in int8 where asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from nearfar.learn.encoders.audio import AudioEncoder
from nearfar.learn.encoders.hf_audio import HuggingFaceSoundEncoder
from nearfar.learn.export.compact_basis import compact_basis
from nearfar.learn.export.encoder_check import INT8_AGREEMENT
from nearfar.learn.export.static_int8 import convolutions_in_int8
from nearfar.learn.export.tracing import EPSILON, traced, weights_in_int8

_COMPARED = 8  # batches of examples

SoundEncoder = AudioEncoder | HuggingFaceSoundEncoder
"""What takes samples (n, t)."""


def export_audio_graph(
    encoder: SoundEncoder,
    *,
    dim: int | None,
    quantise: str,
    calibration: Iterable[npt.NDArray[np.float32]] = (),
) -> bytes:
    """The ONNX graph of an encoder of sound.

    In int8 are the weights and activations of its convolutions, whose ranges `calibration` shows, and the weights of the last matrix
    product. The spectrogram stays float. Of a pretrained model it is the weights of its matrix products.

    Args:
        encoder: the trained encoder; stays as it is.
        dim: how many components to keep, the first ones; None keeps all.
        quantise: `int8` or `none`.
        calibration: batches (b, t) float32 of some hundred training recordings as they come on the device; unused where `quantise`
            is none.

    Returns:
        A self-contained ONNX model: input `pcm`, float32 (n, t) in [-1, 1], t at least a frame; output `embedding`, float32 (n, dim).

    Raises:
        RunError: where the exporter cannot turn the encoder into a graph.
        ValueError: int8 without recordings to calibrate with.
    """
    shipped = _Shipped(copy.deepcopy(encoder), dim or encoder.dim).eval().cpu()
    if isinstance(encoder, HuggingFaceSoundEncoder):
        frame, shortest, longest = encoder.frame, encoder.shortest, encoder.longest
    else:
        frame, shortest, longest = encoder.log_mel.basis.shape[2], 8 * encoder.log_mel.basis.shape[2], None
    example = torch.zeros(2, 5 * shortest if longest is None else longest // 3)
    shapes = {"pcm": {0: torch.export.Dim("n"), 1: torch.export.Dim("t", min=shortest, max=longest)}}
    model = traced(shipped, {"pcm": example}, ["embedding"], shapes)
    if quantise == "int8":
        if not isinstance(encoder, HuggingFaceSoundEncoder):
            feeds = ({"pcm": batch} for batch in calibration)
            model = convolutions_in_int8(model, feeds, float_nodes=_of_spectrum(model, encoder))
        model = weights_in_int8(model, op_types_to_quantize=["MatMul"])
    return bytes((compact_basis(model, frame) if frame is not None else model).SerializeToString())


class AudioGraph(NamedTuple):
    """What ships of an encoder of sound.

    Attributes:
        content: the ONNX model.
        weights: the number format that it has.
        cosine: mean cosine of its embeddings with those of the float encoder; of int8 also where that did not ship.
    """

    content: bytes
    weights: Literal["int8", "float32"]
    cosine: float


def choose_audio_graph(
    encoder: SoundEncoder,
    *,
    dim: int | None,
    quantise: str,
    calibration: Sequence[npt.NDArray[np.float32]],
    least: float = INT8_AGREEMENT,
) -> AudioGraph:
    """The graph in int8 where that is asked for and keeps the directions of embeddings, else in float.

    Args:
        encoder: the trained encoder; stays as it is.
        dim: how many components to keep; None keeps all.
        quantise: `int8` or `none`.
        calibration: as `export_audio_graph` has it; embeddings are compared on its first batches too.
        least: mean cosine that int8 must reach.
    """
    if quantise == "int8":
        content = export_audio_graph(encoder, dim=dim, quantise=quantise, calibration=calibration)
        cosine = _agreement(encoder, content, calibration[:_COMPARED], dim)
        if cosine >= least:
            return AudioGraph(content, "int8", cosine)
    else:
        cosine = 1.0
    return AudioGraph(export_audio_graph(encoder, dim=dim, quantise="none"), "float32", cosine)


@torch.no_grad()
def _agreement(
    encoder: SoundEncoder, content: bytes, batches: Sequence[npt.NDArray[np.float32]], dim: int | None
) -> float:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    shipped = _Shipped(copy.deepcopy(encoder), dim or encoder.dim).eval().cpu()
    cosines = [
        (session.run(None, {"pcm": batch})[0] * shipped(torch.from_numpy(batch)).numpy()).sum(axis=1)
        for batch in batches
    ]
    return float(np.concatenate(cosines).mean())


class _Shipped(nn.Module):
    """What ships of an encoder of sound: the first `dim` components at unit length."""

    def __init__(self, encoder: SoundEncoder, dim: int) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, dim

    def forward(self, pcm: Tensor) -> Tensor:
        return F.normalize(self.encoder(pcm)[:, : self.dim], dim=-1, eps=EPSILON)


def _of_spectrum(model: onnx.ModelProto, encoder: AudioEncoder) -> list[str]:
    """The names of the nodes that make the spectrum: all before the first convolution with weights that were learned.

    In int8 a floor of a millionth and all that is quiet would be 0, and its logarithm nonsense.
    """
    constants = [buffer.cpu().numpy() for buffer in encoder.log_mel.buffers()]
    fixed = {
        tensor.name
        for tensor in model.graph.initializer
        if any(tuple(tensor.dims) == c.shape and bool((numpy_helper.to_array(tensor) == c).all()) for c in constants)
    }
    names = []
    for node in model.graph.node:  # in the order of what depends on what
        if node.op_type == "Conv" and node.input[1] not in fixed:
            break
        names.append(node.name)
    return names
