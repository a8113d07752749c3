"""Made identities: pictures of a pattern each with noise, and a bundle whose encoder tells them apart."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower
from nearfar.bundle.verification_record import VerificationRecord
from nearfar.frontend import ImageSettings

SIZE = 24
DIM = 48
COMPONENTS = 32
THRESHOLD = 0.6


def picture(person: int, moment: int, *, noise: float = 0.12) -> np.ndarray:
    """A picture of somebody, uint8 (48, 48, 3): a pattern of 8 x 8 fields, which is the person's, and noise."""
    pattern = np.random.default_rng(1000 + person).uniform(0.1, 0.9, (8, 8, 3))
    pixels = np.kron(pattern, np.ones((6, 6, 1)))
    pixels = pixels + noise * np.random.default_rng([person, moment]).standard_normal(pixels.shape)
    return (np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def pictures(person: int, count: int, *, start: int = 0) -> list[np.ndarray]:
    """Several of them."""
    return [picture(person, start + moment) for moment in range(count)]


def _graph(seed: int) -> bytes:
    directions = np.random.default_rng(seed).standard_normal((3 * SIZE * SIZE, DIM)).astype(np.float32)
    constants = {"half": np.float32([0.5]), "directions": directions, "columns": np.array([1], dtype=np.int64)}
    nodes = [
        helper.make_node("Sub", ["pixels", "half"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["flat"]),
        helper.make_node("MatMul", ["flat", "directions"], ["projected"]),
        helper.make_node("ReduceL2", ["projected", "columns"], ["length"], keepdims=1),
        helper.make_node("Div", ["projected", "length"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "people",
        inputs=[helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        outputs=[helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", DIM])],
        initializer=[numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString()
    onnx.checker.check_model(model)
    return content


def people_bundle(
    directory: Path, *, seed: int = 0, threshold: float | None = THRESHOLD, cohort: np.ndarray | None = None
) -> Bundle:
    """Write the bundle; the same arguments give the same bytes."""
    tower = Tower(graph="encoder.onnx")
    manifest = Manifest(
        created=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        name="people",
        kind="image-encoder",
        towers={"query": tower, "document": tower},
        dim=DIM,
        frontend=ImageSettings(size=SIZE),
        verification=VerificationRecord(
            components=COMPONENTS,
            samples=3,
            threshold=threshold,
            fmr=0.01,
            cohort=None if cohort is None else "cohort.npy",
        ),
        provenance=Provenance(recipe={"name": "people"}, recipe_sha256="0" * 64, data_fingerprint="1" * 64),
    )
    with BundleWriter(directory) as writer:
        writer.add("encoder.onnx", _graph(seed))
        if cohort is not None:
            import io

            file = io.BytesIO()
            np.save(file, cohort)
            writer.add("cohort.npy", file.getvalue())
        return writer.finish(manifest, "card")
