"""Trained encoders of histories to ONNX graphs: vectors of past items in, the vector of a user out, weights in int8 where asked for."""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.encoders.sequence import SequenceEncoder
from nearfar.learn.encoders.sequence_gru import RecurrentBody
from nearfar.learn.export.tracing import EPSILON, OPSET, traced, weights_in_int8

Feed = dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]

LEAST_AGREEMENT = 0.99
"""Mean cosine of a user's vectors that int8 must keep with those of the float graph."""


class SequenceGraph(NamedTuple):
    """What ships of an encoder of histories.

    Attributes:
        content: the ONNX model.
        weights: the number format that it has.
        agreement: mean cosine of its vectors with those of the float graph; of the int8 graph also where that did not ship. 1 where
            there was none.
    """

    content: bytes
    weights: Literal["int8", "float32"]
    agreement: float


def export_sequence_graph(
    encoder: SequenceEncoder,
    *,
    length: int,
    features: int = 0,
    quantise: str = "int8",
    cosine: bool = False,
    temperature: float = 1.0,
) -> bytes:
    """The ONNX graph of an encoder of histories.

    Args:
        encoder: the trained encoder; stays as it is.
        length: most actions of a history.
        features: of the context, F; 0 without one.
        quantise: `int8`, which recurrent layers leave as they are, or `none`.
        cosine: whether users are compared by direction.
        temperature: divides the scores.

    Returns:
        A self-contained ONNX model with the inputs of `EventsSettings`: `vectors`, `gaps`, `weights` and `mask`, n histories of L
        actions, and with a context `values` and `codes`; output `embedding`, float32 (n, d), whose dot products with the vectors of
        items are scores as the loss compared them.

    Raises:
        RunError: where the exporter cannot turn the encoder into a graph.
    """
    model = _float_model(encoder, length=length, features=features, cosine=cosine, temperature=temperature)
    if quantise == "int8" and shrinks(encoder):
        model = _int8_model(model)
    return bytes(model.SerializeToString())


def choose_sequence_graph(
    encoder: SequenceEncoder,
    examples: Feed,
    *,
    length: int,
    features: int = 0,
    quantise: str = "int8",
    cosine: bool = False,
    temperature: float = 1.0,
    least: float = LEAST_AGREEMENT,
) -> SequenceGraph:
    """The graph in int8 where that is asked for and keeps the vectors of users, else in float.

    Args:
        encoder: the trained encoder; stays as it is.
        examples: some hundred histories, as the graph takes them.
        length: most actions of a history; this and the others as in `export_sequence_graph`.
        features: of the context.
        quantise: `int8` or `none`.
        cosine: whether users are compared by direction.
        temperature: divides the scores.
        least: agreement that int8 must reach.
    """
    model = _float_model(encoder, length=length, features=features, cosine=cosine, temperature=temperature)
    content = bytes(model.SerializeToString())
    if quantise != "int8" or not shrinks(encoder):
        return SequenceGraph(content, "float32", 1.0)
    small = bytes(_int8_model(model).SerializeToString())
    agreement = _mean_cosine(run_graph(content, examples), run_graph(small, examples))
    return (
        SequenceGraph(small, "int8", agreement) if agreement >= least else SequenceGraph(content, "float32", agreement)
    )


def shrinks(encoder: SequenceEncoder) -> bool:
    """Whether int8 makes the graph of an encoder smaller: onnxruntime has no dynamic int8 for recurrent layers."""
    return not isinstance(encoder.body, RecurrentBody)


def run_graph(content: bytes, feed: Feed) -> npt.NDArray[np.float32]:
    """What a graph makes of histories, (n, d)."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    taken = {value.name for value in session.get_inputs()}
    vectors: npt.NDArray[np.float32] = session.run(
        ["embedding"], {name: part for name, part in feed.items() if name in taken}
    )[0]
    return vectors


class _Shipped(nn.Module):
    """What ships of an encoder of histories: vectors whose dot products are scores."""

    def __init__(self, encoder: SequenceEncoder, *, cosine: bool, temperature: float) -> None:
        super().__init__()
        self.encoder, self.cosine, self.temperature = encoder, cosine, temperature

    def forward(
        self,
        vectors: Tensor,
        gaps: Tensor,
        weights: Tensor,
        mask: Tensor,
        values: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> Tensor:
        users: Tensor = self.encoder(vectors, gaps, weights, mask, values, codes)
        return (F.normalize(users, dim=-1, eps=EPSILON) if self.cosine else users) / self.temperature


class _OnnxGru(nn.Module):
    """The recurrent layers as operators of ONNX: traced through torch's own layer, a second export of a process fixes the length.

    Args:
        layers: of one direction, batch first.
    """

    def __init__(self, layers: nn.GRU) -> None:
        super().__init__()
        self.width = layers.hidden_size
        weights: list[Tensor] = []
        for layer in range(layers.num_layers):
            # The gates of torch are reset, update, new; those of ONNX update, reset, new.
            parts = [
                torch.cat([gates[1], gates[0], gates[2]])
                for gates in (part.detach().chunk(3) for part in layers.all_weights[layer])
            ]
            weights += [parts[0][None], parts[1][None], torch.cat(parts[2:])[None]]
        self.weights = nn.ParameterList(weights)

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        hidden = inputs.transpose(0, 1)
        for first in range(0, len(self.weights), 3):
            length, n, _ = hidden.shape
            states = torch.onnx.ops.symbolic(
                "GRU",
                (hidden, *self.weights[first : first + 3]),
                {"hidden_size": self.width, "linear_before_reset": 1},
                dtype=hidden.dtype,
                shape=(length, 1, n, self.width),
                version=OPSET,
            )
            hidden = states.squeeze(1)
        return (hidden.transpose(0, 1),)


def _float_model(
    encoder: SequenceEncoder, *, length: int, features: int, cosine: bool, temperature: float
) -> onnx.ModelProto:
    own = copy.deepcopy(encoder).cpu()
    body = own.body
    if isinstance(body, RecurrentBody) and isinstance(body.layers, nn.GRU):
        body.layers = _OnnxGru(body.layers)
    shipped = _Shipped(own, cosine=cosine, temperature=temperature).eval()
    rows, actions = 2, min(7, length)
    inputs = {
        "vectors": torch.zeros(rows, actions, encoder.dim),
        "gaps": torch.zeros(rows, actions, dtype=torch.int64),
        "weights": torch.ones(rows, actions),
        "mask": torch.ones(rows, actions),
    }
    n = torch.export.Dim("n")
    several = length > 1
    along = {0: n, 1: torch.export.Dim("L", min=1, max=length)} if several else {0: n}
    shapes = dict.fromkeys(inputs, along)
    if features:
        inputs |= {"values": torch.zeros(rows, features), "codes": torch.zeros(rows, features, dtype=torch.int64)}
        shapes |= {"values": {0: n}, "codes": {0: n}}
    return traced(shipped, inputs, ["embedding"], shapes)


def _int8_model(model: onnx.ModelProto) -> onnx.ModelProto:
    return weights_in_int8(model, op_types_to_quantize=["MatMul", "Gemm"])


def _mean_cosine(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    dots = (first.astype(np.float64) * second).sum(axis=1)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float((dots / np.maximum(lengths, 1e-12)).mean())
