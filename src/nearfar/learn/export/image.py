"""Trained image encoders to ONNX graphs: pixels in, embeddings of unit length out, in int8 where asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.export.static_int8 import convolutions_in_int8
from nearfar.learn.export.tracing import EPSILON, traced, weights_in_int8

_LARGE = 0.25  # of the weights: where less is of a kind, it stays float, which is more exact


def export_image_graph(
    encoder: ImageEncoder,
    *,
    size: int,
    channels: int,
    dim: int | None,
    quantise: str,
    calibration: Iterable[npt.NDArray[np.float32]] = (),
    head: nn.Linear | None = None,
    static: bool | None = None,
) -> bytes:
    """The ONNX graph of an image encoder.

    Where it is made of convolutions, int8 means their weights and activations; the ranges of activations are those that
    `calibration` shows. Of matrix products it means the weights, where these are a large part of all (a transformer, or the linear map
    of a whole map); activations get a range for each batch.

    Args:
        encoder: the trained encoder; stays as it is.
        size: height and width of a picture in pixels.
        channels: of a picture.
        dim: how many components to keep, the first ones; None keeps all.
        quantise: `int8` or `none`.
        calibration: batches (b, c, size, size) float32 in [0, 1] of a few hundred training pictures as they come on the
            device, without augmentation; unused where `quantise` is none.
        head: a linear classifier of features (before they are cut and normalised).
        static: whether int8 fixes the ranges of activations by `calibration`; None does where it is made of convolutions.

    Returns:
        A self-contained ONNX model: input `pixels`, float32 (n, c, size, size) in [0, 1]; outputs `embedding`, float32 (n, dim),
        and with a head `scores`, float32 (n, classes), its logits.

    Raises:
        RunError: where the exporter cannot turn the encoder into a graph.
        ValueError: int8 without pictures to calibrate with.
    """
    shipped = _Shipped(copy.deepcopy(encoder), dim or encoder.dim, copy.deepcopy(head)).eval().cpu()
    example = torch.zeros(2, channels, size, size)
    outputs = ["embedding"] if head is None else ["embedding", "scores"]
    # The exporter folds each BatchNorm into the convolution before it.
    model = traced(shipped, {"pixels": example}, outputs, {"pixels": {0: torch.export.Dim("n")}})
    if quantise == "int8":
        convolved, multiplied = _large_parts(model)
        if convolved if static is None else static:
            model = convolutions_in_int8(model, ({"pixels": batch} for batch in calibration))
            if multiplied:
                model = weights_in_int8(model, op_types_to_quantize=["MatMul"])
        else:
            model = weights_in_int8(model, op_types_to_quantize=["MatMul", "Conv"] if static is False else ["MatMul"])
    return bytes(model.SerializeToString())


class _Shipped(nn.Module):
    """What ships of an image encoder: the first `dim` components at unit length, and what the head makes of all."""

    def __init__(self, encoder: ImageEncoder, dim: int, head: nn.Linear | None) -> None:
        super().__init__()
        self.encoder, self.dim, self.head = encoder, dim, head

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = self.encoder(pixels)
        embedding = F.normalize(features[:, : self.dim], dim=-1, eps=EPSILON)
        return embedding if self.head is None else (embedding, self.head(features))


def _large_parts(model: onnx.ModelProto) -> tuple[bool, bool]:
    """Whether convolutions, and whether matrix products, hold a large part of the weights.

    A single convolution is none: it cuts a picture into the patches of a transformer.
    """
    weights_of: dict[str, set[str]] = {"Conv": set(), "MatMul": set(), "Gemm": set()}
    for node in model.graph.node:
        if node.op_type in weights_of:
            weights_of[node.op_type].add(node.input[1])
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    convolved, multiplied = (
        sum(sizes.get(name, 0) for operation in operations for name in weights_of[operation])
        for operations in (("Conv",), ("MatMul", "Gemm"))
    )
    least = _LARGE * (convolved + multiplied)
    return convolved >= least and len(weights_of["Conv"]) > 1, multiplied >= least
