"""A real image bundle that takes milliseconds to make: pixels times fixed random directions, normalised."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower
from nearfar.frontend import ImageSettings


def tiny_image_graph(
    settings: ImageSettings, dim: int, *, classes: int = 0, seed: int = 0, name: str = "pixels"
) -> onnx.ModelProto:
    """Flatten, project, normalise; the logit of a class is ten times the mean of the channel of its number."""
    generator = np.random.default_rng(seed)
    values = settings.channels * settings.size**2
    constants = {
        "directions": generator.standard_normal((values, dim)).astype(np.float32),
        "bias": generator.standard_normal(dim).astype(np.float32),
        "columns": np.array([1], dtype=np.int64),
        "places": np.array([2, 3], dtype=np.int64),
        "ten": 10 * np.eye(settings.channels, classes, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Flatten", [name], ["flat"]),
        helper.make_node("MatMul", ["flat", "directions"], ["projected"]),
        helper.make_node("Add", ["projected", "bias"], ["moved"]),
        helper.make_node("ReduceL2", ["moved", "columns"], ["length"], keepdims=1),
        helper.make_node("Div", ["moved", "length"], ["embedding"]),
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dim])]
    if classes:
        nodes += [
            helper.make_node("ReduceMean", [name, "places"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "ten"], ["scores"]),
        ]
        outputs.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", classes]))
    used = {key for node in nodes for key in node.input}
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs=[
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, ["n", settings.channels, settings.size, settings.size]
            )
        ],
        outputs=outputs,
        initializer=[numpy_helper.from_array(value, key) for key, value in constants.items() if key in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def tiny_image_manifest(settings: ImageSettings, *, dim: int, classes: Sequence[str] = ()) -> Manifest:
    """A complete manifest without figures."""
    tower = Tower(graph="encoder.onnx")
    return Manifest(
        created=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        name="tiny-images",
        kind="image-encoder",
        towers={"query": tower, "document": tower},
        dim=dim,
        dims=(dim // 2,),
        frontend=settings,
        classes=tuple(classes),
        provenance=Provenance(recipe={"name": "tiny-images"}, recipe_sha256="0" * 64, data_fingerprint="1" * 64),
    )


def write_tiny_image_bundle(
    directory: Path,
    *,
    settings: ImageSettings | None = None,
    dim: int = 16,
    classes: Sequence[str] = (),
    graph: bytes | None = None,
) -> Bundle:
    """Write a bundle to `directory`; the same arguments give the same bytes.

    Args:
        directory: where the bundle goes.
        settings: of the frontend; by default 8 x 8 pixels, three channels.
        dim: components of an embedding; `dim // 2` works as a prefix.
        classes: with them the graph gives scores: pictures that are red, green or blue.
        graph: another graph than `tiny_image_graph` makes.
    """
    settings = settings or ImageSettings(size=8)
    content = graph or tiny_image_graph(settings, dim, classes=len(classes)).SerializeToString()
    with BundleWriter(directory) as writer:
        writer.add("encoder.onnx", content)
        return writer.finish(tiny_image_manifest(settings, dim=dim, classes=classes), "card")
