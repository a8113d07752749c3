"""The graph of a tower with its projection gives what the model in torch gives, whatever the tower's graph is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from made_image_encoders import SMALL, made_encoder, made_pictures
from made_tables import made_table
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from nearfar.errors import RunError
from nearfar.learn.compress.model import Form
from nearfar.learn.export.image import export_image_graph
from nearfar.learn.export.joint import Layer, into_space, layers_of
from nearfar.learn.export.token_table import table_graph

Floats = npt.NDArray[np.float32]


def linear(wide: int, out: int, *, bias: bool = False) -> nn.Linear:
    torch.manual_seed(wide)
    return nn.Linear(wide, out, bias=bias)


def mlp(wide: int, out: int) -> nn.Sequential:
    return nn.Sequential(linear(wide, 2 * wide), nn.GELU(), linear(2 * wide, out, bias=True))


def plain_graph(wide: int, *, opset: int = 18, output: str = "embedding", beside: bool = False) -> bytes:
    """x of any length in, x out; with `beside` another output with weights of its own."""
    nodes = [helper.make_node("Identity", ["x"], [output])]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", wide])]
    constants = []
    if beside:
        constants.append(numpy_helper.from_array(np.ones((wide, 1000), np.float32), "classes"))
        nodes.append(helper.make_node("MatMul", ["x", "classes"], ["scores"]))
        outputs.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1000]))
    taken = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", wide])]
    graph = helper.make_graph(nodes, "plain", taken, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def run(graph: bytes, feed: dict[str, npt.NDArray[Any]]) -> Floats:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["embedding"]
    found: Floats = session.run(None, feed)[0]
    return found


def units(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def in_torch(vectors: Floats, projection: nn.Module, mean: Floats | None) -> Floats:
    with torch.no_grad():
        found = units(projection(torch.from_numpy(units(vectors))).numpy())
    return np.asarray(found if mean is None else units(found - mean), np.float32)


def items(wide: int, count: int = 50) -> Floats:
    return np.random.default_rng(0).normal(2.0, 3.0, (count, wide)).astype(np.float32)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("make", [linear, mlp, lambda wide, out: nn.Identity()])
def test_float_graphs_give_the_vectors_of_torch(make, centred):
    projection = make(12, 8)
    x = items(12)
    width = 12 if isinstance(projection, nn.Identity) else 8
    mean = np.random.default_rng(1).normal(0, 0.3, width).astype(np.float32) if centred else None
    found = run(into_space(plain_graph(12), layers_of(projection), mean=mean, quantise="none"), {"x": x})
    np.testing.assert_allclose(found, in_torch(x, projection, mean), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("make", [linear, mlp])
def test_int8_weights_are_small_and_keep_directions(make):
    projection, x = make(96, 64), items(96)
    whole = into_space(plain_graph(96), layers_of(projection), quantise="none")
    small = into_space(plain_graph(96), layers_of(projection), quantise="int8")
    assert len(small) < 0.4 * len(whole)
    cosines = (run(small, {"x": x}) * in_torch(x, projection, None)).sum(axis=1)
    assert cosines.min() > 0.999


def test_a_small_matrix_stays_float():
    layers = layers_of(linear(12, 8))
    assert into_space(plain_graph(12), layers, quantise="int8") == into_space(plain_graph(12), layers, quantise="none")


def test_a_vector_of_zeros_is_no_division_by_zero():
    found = run(into_space(plain_graph(12), layers_of(linear(12, 8)), quantise="none"), {"x": np.zeros((2, 12), np.float32)})  # fmt: skip
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
def test_graphs_of_other_opsets_can_be_joined_to(opset):
    x, projection = items(12), mlp(12, 8)
    found = run(into_space(plain_graph(12, opset=opset), layers_of(projection), quantise="int8"), {"x": x})
    np.testing.assert_allclose(found, in_torch(x, projection, None), atol=2e-3)


def test_outputs_beside_the_embedding_do_not_ship():
    graph = into_space(plain_graph(12, beside=True), layers_of(linear(12, 8)), quantise="none")
    assert len(graph) < 4000
    np.testing.assert_allclose(run(graph, {"x": items(12)}), in_torch(items(12), linear(12, 8), None), atol=1e-6)


def test_text_towers_keep_their_inputs():
    table = made_table(60)
    own = table_graph(table, damped=True, form=Form(format="int8"))
    rng = np.random.default_rng(0)
    feed = {"ids": rng.integers(0, 60, (7, 9)), "mask": np.ones((7, 9), np.int64)}
    projection = linear(table.shape[1], 16)
    expected = in_torch(run(own, feed), projection, None)
    np.testing.assert_allclose(run(into_space(own, layers_of(projection), quantise="none"), feed), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_quantised_encoders_of_pictures_can_be_joined_to(kind):
    encoder = made_encoder(SMALL[kind], size=32, channels=3).eval()
    pictures = made_pictures(8, size=32, channels=3).numpy()
    own = export_image_graph(encoder, size=32, channels=3, dim=None, quantise="int8", calibration=[pictures])
    projection = linear(encoder.dim, 16)
    found = run(into_space(own, layers_of(projection), quantise="int8"), {"pixels": pictures})
    np.testing.assert_allclose(found, in_torch(run(own, {"pixels": pictures}), projection, None), atol=2e-2)


def test_names_of_a_tower_may_be_ours():
    """A graph that was made by joining is joined to again: a tower of an earlier joint bundle."""
    first = into_space(plain_graph(12), layers_of(linear(12, 8)), quantise="none")
    second = into_space(first, layers_of(linear(8, 4)), quantise="none")
    onnx.checker.check_model(onnx.load_model_from_string(second), full_check=True)
    expected = in_torch(in_torch(items(12), linear(12, 8), None), linear(8, 4), None)
    np.testing.assert_allclose(run(second, {"x": items(12)}), expected, atol=1e-6)


def test_what_cannot_be_joined_is_refused():
    with pytest.raises(RunError, match="no embedding"):
        into_space(plain_graph(12, output="vectors"), [], quantise="none")
    broken = Layer(np.full((12, 8), np.nan, np.float32))
    with pytest.raises(RunError, match="finite"):
        into_space(plain_graph(12), [broken], quantise="none")
    with pytest.raises(ValueError, match="follow"):
        into_space(plain_graph(12), [Layer(np.ones((12, 8), np.float32)), Layer(np.ones((9, 8), np.float32))], quantise="none")  # fmt: skip


def test_projections_of_other_parts_are_refused():
    for wrong in (
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)),
        nn.Sequential(nn.Linear(4, 4), nn.GELU("tanh"), nn.Linear(4, 4)),
    ):
        with pytest.raises(ValueError, match="projection"):
            layers_of(wrong)
