"""A real audio bundle that takes milliseconds to make: a bank of random filters, their mean power over time, normalised."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower
from nearfar.bundle.verification_record import VerificationRecord
from nearfar.frontend import AudioSettings

FILTER, STRIDE = 64, 32


def tiny_audio_settings(**changes: object) -> AudioSettings:
    """8 kHz, steps of a quarter of a second, at most two seconds."""
    usual = {"rate": 8000, "step": 2000, "longest": 16_000, "frame": 200, "hop": 80, "bands": 24}
    return AudioSettings(**{**usual, "lowest": 60.0, "highest": 3800.0, **changes})


def tiny_audio_graph(dim: int, *, seed: int = 0, name: str = "pcm") -> onnx.ModelProto:
    """Of samples (n, t): the logarithm of the mean power of each filter's output, about its mean, at unit length."""
    at = np.arange(FILTER) / FILTER
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, (dim, 1))
    bank = np.cos(2 * np.pi * np.linspace(1, FILTER / 2 - 1, dim)[:, None] * at + phases) * np.hanning(FILTER)
    constants = {
        "bank": bank[:, None].astype(np.float32),
        "middle": np.array([1], np.int64),
        "time": np.array([2], np.int64),
        "columns": np.array([1], np.int64),
        "floor": np.array(1e-6, np.float32),
    }
    nodes = [
        helper.make_node("Unsqueeze", [name, "middle"], ["channel"]),
        helper.make_node("Conv", ["channel", "bank"], ["filtered"], strides=[STRIDE]),
        helper.make_node("Mul", ["filtered", "filtered"], ["power"]),
        helper.make_node("ReduceMean", ["power", "time"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "floor"], ["above"]),
        helper.make_node("Log", ["above"], ["level"]),
        helper.make_node("ReduceMean", ["level", "columns"], ["average"], keepdims=1),
        helper.make_node("Sub", ["level", "average"], ["shape"]),
        helper.make_node("ReduceL2", ["shape", "columns"], ["length"], keepdims=1),
        helper.make_node("Div", ["shape", "length"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs=[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "t"])],
        outputs=[helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dim])],
        initializer=[numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_tiny_audio_bundle(
    directory: Path,
    *,
    settings: AudioSettings | None = None,
    dim: int = 16,
    verification: VerificationRecord | None = None,
    graph: bytes | None = None,
) -> Bundle:
    """Write a bundle to `directory`; the same arguments give the same bytes."""
    tower = Tower(graph="encoder.onnx")
    manifest = Manifest(
        created=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        name="tiny-sounds",
        kind="audio-encoder",
        towers={"query": tower, "document": tower},
        dim=dim,
        dims=(dim // 2,),
        frontend=settings or tiny_audio_settings(),
        verification=verification,
        provenance=Provenance(recipe={"name": "tiny-sounds"}, recipe_sha256="0" * 64, data_fingerprint="1" * 64),
    )
    with BundleWriter(directory) as writer:
        writer.add("encoder.onnx", graph or tiny_audio_graph(dim).SerializeToString())
        return writer.finish(manifest, "card")
