"""Towers by the recipe's own words, their items on disk, and the two ways to their vectors: torch in training, onnxruntime on the device."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
import yaml
from pydantic import TypeAdapter
from torch import nn

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, render_card
from nearfar.bundle import Tower as Graph
from nearfar.bundle.joint_record import JointRecord
from nearfar.frontend.frontend import open_frontend
from nearfar.frontend.settings import JointSettings, TextSettings
from nearfar.learn.towers.build import build_tower
from nearfar.learn.towers.tower import Items, Tower
from nearfar.recipe.joint import AnyTower

Vectors = npt.NDArray[np.float32]

_BLOCK: TypeAdapter[Any] = TypeAdapter(AnyTower)
_KINDS = {
    "text": "text-dual-encoder",
    "image": "image-encoder",
    "audio": "audio-encoder",
    "series": "series-monitor",
    "table": "table-encoder",
}


def tower_of(text: str, name: str = "tower") -> Tower:
    """The tower of a block in YAML."""
    return build_tower(name, _BLOCK.validate_python(yaml.safe_load(text)))


def kept(tower: Tower, contents: Iterable[Any], folder: Path, *, train: float = 0.75) -> Items:
    """Items on disk; the first ones are trained on."""
    writer = tower.writer(folder, seed=0)
    numbers = {writer.add(content, f"made:{line}") for line, content in enumerate(contents, 1)}
    writer.finish(np.arange(max(1, round(train * len(numbers)))))
    return tower.open(folder)


def built(tower: Tower, items: Items, *, dim: int = 16, started: bool = True, seed: int = 0) -> Any:
    """The encoder with weights of a seed, in eval mode."""
    torch.manual_seed(seed)
    return tower.encoder(items, dim=dim, started=started).eval()


@torch.no_grad()
def seen_vectors(encoder: nn.Module, items: Items) -> Vectors:
    """Unit vectors of all items as training sees the device."""
    found: list[Vectors | None] = [None] * len(items)
    for places, inputs in items.seen(np.arange(len(items)), 7):
        for place, vector in zip(places.tolist(), encoder(inputs).numpy(), strict=True):
            assert found[place] is None
            found[place] = vector
    return unit(np.stack([vector for vector in found if vector is not None]))


def device_vectors(graph: bytes, items: Items) -> Vectors:
    """Unit vectors of all items as they came, through the frontend and the runtime of the device."""
    frontend = open_frontend(items.frontend, lambda name: items.files[name], Path())
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    raw = items.raw(np.arange(len(items)))
    found: dict[int, Vectors] = {}
    for places, feed in frontend.feeds(raw, "query", 5):
        found |= dict(zip(places, session.run(["embedding"], feed)[0], strict=True))
    return unit(np.stack([found[place] for place in range(len(items))]))


def unit(vectors: Vectors) -> Vectors:
    """Rows of length 1."""
    rows: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows


def agreement(tower: Tower, encoder: nn.Module, items: Items, *, quantise: str = "none") -> float:
    """The least cosine between what training and the device make of an item."""
    graph = tower.graph(encoder, items, quantise=quantise, calibration=np.arange(len(items)))
    return float((seen_vectors(encoder, items) * device_vectors(graph, items)).sum(axis=1).min())


def ship(tower: Tower, encoder: Any, items: Items, target: Path, *, joint: str = "") -> Bundle:
    """A bundle of a tower's encoder alone; with `joint` one of several modalities, whose only tower has that name."""
    settings = items.frontend
    files = dict(items.files)
    if isinstance(settings, TextSettings):
        files = {"tokenizer.json": files[settings.tokenizer]}
        settings = settings.model_copy(update={"tokenizer": "tokenizer.json"})
    names = [joint] if joint else ["query", "document"]
    manifest = Manifest(
        name="made",
        kind="joint-encoder" if joint else _KINDS[settings.kind],  # type: ignore[arg-type]
        towers={name: Graph(graph="encoder.onnx") for name in names},
        dim=encoder.dim,
        similarity="euclidean" if settings.kind == "series" else "cosine",
        frontend=JointSettings(towers={joint: settings}) if joint else settings,
        joint=JointRecord(trained=((joint, joint),)) if joint else None,
        provenance=Provenance(recipe={}, recipe_sha256="", data_fingerprint=""),
    )
    with BundleWriter(target) as writer:
        writer.add("encoder.onnx", tower.graph(encoder, items, quantise="none", calibration=np.arange(0)))
        for name, content in files.items():
            writer.add(name, content)
        return writer.finish(manifest, render_card(manifest))
