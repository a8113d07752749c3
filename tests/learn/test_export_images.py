"""What ships of an image encoder gives the vectors of the model that was trained, in float and in int8."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from made_image_encoders import SMALL, made_encoder, made_pictures
from torch import nn

from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.export import export_image_graph

Array = npt.NDArray[np.float32]

BLOCKS = {**SMALL, "cnn-map": {"kind": "cnn", "width": 8, "dim": 24, "pool": "map"}}
KINDS = ["cnn", "cnn-group", "cnn-map", "resnet18", "mobilenet", "vit"]


@functools.cache
def settled(kind: str, *, size: int = 32, channels: int = 3) -> ImageEncoder:
    """An encoder whose running statistics are those of made pictures and whose features differ between pictures."""
    encoder = made_encoder(BLOCKS[kind], size=size, channels=channels)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches
    with torch.no_grad():
        for seed in range(4):
            encoder(made_pictures(32, size=size, channels=channels, seed=100 + seed))
    return encoder.eval()


def calibration(*, size: int = 32, channels: int = 3) -> list[Array]:
    return [made_pictures(32, size=size, channels=channels, seed=200 + seed).numpy() for seed in range(4)]


def run(graph: bytes, pictures: torch.Tensor, output: str = "embedding") -> torch.Tensor:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run([output], {"pixels": pictures.numpy()})
    return torch.from_numpy(found)


def exported(encoder: ImageEncoder, quantise: str, *, size: int = 32, channels: int = 3) -> bytes:
    return export_image_graph(
        encoder, size=size, channels=channels, dim=None, quantise=quantise, calibration=calibration()
    )


@functools.cache  # an export takes seconds
def graph_of(kind: str, quantise: str) -> bytes:
    return exported(settled(kind), quantise)


@pytest.mark.parametrize("kind", KINDS)
def test_float_is_the_model_at_any_batch(kind: str) -> None:
    encoder, graph = settled(kind), graph_of(kind, "none")
    for n in (1, 3, 40):
        pictures = made_pictures(n)
        with torch.no_grad():
            expected = F.normalize(encoder(pictures), dim=-1)
        torch.testing.assert_close(run(graph, pictures), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 5), (64, 3), (96, 3)])
def test_other_sizes_and_channels(size: int, channels: int) -> None:
    encoder = settled("resnet18", size=size, channels=channels)
    pictures = made_pictures(5, size=size, channels=channels)
    with torch.no_grad():
        expected = F.normalize(encoder(pictures), dim=-1)
    found = run(exported(encoder, "none", size=size, channels=channels), pictures)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_close(kind: str) -> None:
    """Close beside the differences between pictures, too: of an untrained encoder all embeddings point nearly the same way."""
    encoder, pictures = settled(kind), made_pictures(60, seed=7)
    with torch.no_grad():
        expected = F.normalize(encoder(pictures), dim=-1)
    found = run(graph_of(kind, "int8"), pictures)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(60))
    cosines = (found * expected).sum(dim=1)
    if kind == "mobilenet":  # fifty fresh layers of BatchNorm magnify every rounding; training makes it 0.99
        assert float(cosines.mean()) > 0.85
        return
    assert float(cosines.min()) > 0.98
    centre = expected.mean(dim=0)
    assert float(F.cosine_similarity(found - centre, expected - centre).mean()) > 0.9
    assert (found @ expected.T).argmax(dim=1).tolist() == list(range(60))


@pytest.mark.parametrize("pool", ["mean", "map"])
def test_int8_is_small(pool: str) -> None:
    encoder = made_encoder({"kind": "cnn", "pool": pool}).eval()
    count = sum(parameter.numel() for parameter in encoder.parameters())
    graph = exported(encoder, "int8")
    assert count < len(graph) < 1.2 * count
    assert len(exported(encoder, "none")) > 3.5 * len(graph)


@pytest.mark.parametrize(
    ("kind", "convolutions", "products"),
    [("cnn", True, False), ("cnn-map", True, True), ("resnet18", True, False), ("vit", False, True)],
)
def test_what_holds_much_of_the_weights_is_in_int8(kind: str, convolutions: bool, products: bool) -> None:
    found = Counter(node.op_type for node in onnx.load_from_string(graph_of(kind, "int8")).graph.node)
    assert (found["QuantizeLinear"] > 1, found["MatMulInteger"] > 0) == (convolutions, products)


@pytest.mark.parametrize("quantise", ["none", "int8"])
def test_scores_are_those_of_the_head_on_all_features(quantise: str) -> None:
    encoder, head, pictures = settled("cnn"), nn.Linear(24, 7), made_pictures(20)
    graph = export_image_graph(
        encoder, size=32, channels=3, dim=10, quantise=quantise, calibration=calibration(), head=head
    )
    with torch.no_grad():
        features = encoder(pictures)
        expected = head(features)
    found = run(graph, pictures, "scores")
    assert found.shape == (20, 7)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 if quantise == "none" else 0.15)
    embeddings = run(graph, pictures)
    expected = F.normalize(features[:, :10], dim=-1)
    torch.testing.assert_close(embeddings, expected, rtol=0, atol=1e-4 if quantise == "none" else 0.1)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
@pytest.mark.parametrize("quantise", ["none", "int8"])
def test_the_same_encoder_gives_the_same_bytes_which_tell_nothing(kind: str, quantise: str) -> None:
    encoder = settled(kind)
    before = copy.deepcopy(encoder.state_dict())
    first = graph_of(kind, quantise)
    assert exported(encoder, quantise) == first
    after = encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for word in (b"site-packages", b".py", b"/tmp", str(Path(__file__).parents[2]).encode(), b"pkg.torch"):
        assert word not in first
    model = onnx.load_from_string(first)
    onnx.checker.check_model(model, full_check=True)
    assert [node.name for node in model.graph.input] == ["pixels"]
    assert [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim][1:] == [
        3,
        32,
        32,
    ]
    assert [node.name for node in model.graph.output] == ["embedding"]
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)
    assert "BatchNormalization" not in Counter(node.op_type for node in model.graph.node)


def test_the_mode_of_the_encoder_stays() -> None:
    encoder = copy.deepcopy(settled("cnn")).train()
    assert exported(encoder, "none") == graph_of("cnn", "none")
    assert encoder.training


def test_int8_wants_pictures() -> None:
    with pytest.raises(ValueError, match="examples to calibrate"):
        export_image_graph(settled("cnn"), size=32, channels=3, dim=None, quantise="int8")
