"""A real bundle of a recommender that takes milliseconds to make: a history's vector is the mean of its items', later ones counting more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower
from nearfar.bundle.recommender_record import RecommenderRecord
from nearfar.edge.recommend.catalogue_files import FACTS, NAMES, POPULARITY, PRIOR, SCALES, VECTORS, catalogue_files
from nearfar.edge.recommend.prior import Prior
from nearfar.frontend.settings import EventsSettings

GENRES = ("comedy", "drama", "horror", "western")


class MadeCounts:
    """A sparse matrix of a dense one: what `Prior.of` takes."""

    def __init__(self, dense: np.ndarray) -> None:
        rows, self.indices = np.nonzero(dense)
        self.data = dense[rows, self.indices]
        self.indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])


def made_names(items: int) -> list[str]:
    """`film-000` and so on."""
    return [f"film-{number:03}" for number in range(items)]


def made_vectors(items: int, dim: int, *, seed: int = 0) -> np.ndarray:
    """float32 (items, dim): items whose numbers are equal modulo 4 are alike."""
    generator = np.random.default_rng(seed)
    middles = generator.normal(size=(len(GENRES), dim))
    return (middles[np.arange(items) % len(GENRES)] + 0.5 * generator.normal(size=(items, dim))).astype(np.float32)


def made_facts(items: int) -> list[dict[str, Any]]:
    """A title, a genre by the number modulo 4, and a year for each."""
    return [
        {"title": f"Film {n}", "genres": [GENRES[n % 4], "long"] if n % 3 else [GENRES[n % 4]], "year": 1950 + n}
        for n in range(items)
    ]


def made_prior(items: int, *, budget: int = 1_000_000) -> Prior:
    """After each item mostly comes the next one, sometimes the one after it."""
    counts = np.zeros((items, items))
    at = np.arange(items)
    counts[at, (at + 1) % items] = 20
    counts[at, (at + 2) % items] = 5
    return Prior.of(MadeCounts(counts), budget)


def made_history_graph(dim: int, *, features: int = 0, decay: float = 0.8) -> onnx.ModelProto:
    """Of a history: the mean of weight x decay^age x vector; with a context, its values are added to the first components."""
    constants = {
        "one": np.array(1, np.float32),
        "tiny": np.array(1e-6, np.float32),
        "rate": np.array(np.log(decay), np.float32),
        "steps": np.array([1], np.int64),
        "last": np.array([2], np.int64),
        "axis": np.array(1, np.int64),
    }
    nodes = [
        helper.make_node("CumSum", ["mask", "axis"], ["age"], reverse=1, exclusive=1),
        helper.make_node("Mul", ["age", "rate"], ["faded"]),
        helper.make_node("Exp", ["faded"], ["recency"]),
        helper.make_node("Mul", ["recency", "weights"], ["weighted"]),
        helper.make_node("Cast", ["gaps"], ["gaps as floats"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["gaps as floats", "one"], ["pause"]),
        helper.make_node("Div", ["pause", "pause"], ["once"]),
        helper.make_node("Mul", ["weighted", "once"], ["with gaps"]),
        helper.make_node("Mul", ["with gaps", "mask"], ["share"]),
        helper.make_node("Unsqueeze", ["share", "last"], ["column"]),
        helper.make_node("Mul", ["vectors", "column"], ["parts"]),
        helper.make_node("ReduceSum", ["parts", "steps"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "steps"], ["count"], keepdims=1),
        helper.make_node("Add", ["count", "tiny"], ["divisor"]),
        helper.make_node("Div", ["sum", "divisor"], ["mean" if features else "embedding"]),
    ]
    inputs = [
        helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", "L", dim]),
        helper.make_tensor_value_info("gaps", TensorProto.INT64, ["n", "L"]),
        helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["n", "L"]),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", "L"]),
    ]
    if features:
        constants["values to space"] = np.eye(features, dim, dtype=np.float32)
        nodes += [
            helper.make_node("Cast", ["codes"], ["codes as floats"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["values", "codes as floats"], ["moment"]),
            helper.make_node("MatMul", ["moment", "values to space"], ["of context"]),
            helper.make_node("Add", ["mean", "of context"], ["embedding"]),
        ]
        inputs += [
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["n", features]),
            helper.make_tensor_value_info("codes", TensorProto.INT64, ["n", features]),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs=inputs,
        outputs=[helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dim])],
        initializer=[numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_tiny_recommender_bundle(
    directory: Path,
    *,
    items: int = 60,
    dim: int = 16,
    length: int = 20,
    names: Sequence[str] | None = None,
    vectors: np.ndarray | None = None,
    popularity: np.ndarray | None = None,
    prior: Prior | None = None,
    with_prior: bool = True,
    facts: Sequence[Mapping[str, Any]] | None = None,
    weights: tuple[float, float, float] = (1.0, 0.5, 0.25),
    signed_by: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Bundle:
    """Write a bundle to `directory`; the same arguments give the same bytes.

    Args:
        items: how many: `film-000` to `film-059`, popular ones first.
        facts: an empty list for a bundle without.
        weights: of encoder, prior and popularity.
        signed_by: public key of who may change the catalogue.
        settings: more of `EventsSettings`, such as `actions`, `repeat` or `context`.
    """
    frontend = EventsSettings(length=length, **(settings or {}))
    prior = prior or (made_prior(items) if with_prior else None)
    shares = (items - np.arange(items)) / (items * (items + 1) / 2)
    files = catalogue_files(
        made_names(items) if names is None else list(names),
        made_vectors(items, dim, seed=seed) if vectors is None else vectors,
        np.log(shares) if popularity is None else popularity,
        prior,
        made_facts(items) if facts is None else facts,
    )
    encoder, after, popular = weights
    record = RecommenderRecord(
        items=items,
        names=NAMES,
        vectors=VECTORS,
        scales=SCALES,
        popularity=POPULARITY,
        prior=PRIOR if PRIOR in files else None,
        facts=FACTS if FACTS in files else None,
        encoder_weight=encoder,
        prior_weight=after,
        popularity_weight=popular,
        half_life=10.0,
        signed_by=signed_by,
    )
    tower = Tower(graph="history.onnx")
    manifest = Manifest(
        created=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
        name="tiny-films",
        kind="recommender",
        towers={"query": tower, "document": tower},
        dim=dim,
        similarity="dot",
        frontend=frontend,
        recommender=record,
        provenance=Provenance(recipe={"name": "tiny-films"}, recipe_sha256="0" * 64, data_fingerprint="1" * 64),
    )
    features = 0 if frontend.context is None else _features(frontend)
    with BundleWriter(directory) as writer:
        writer.add("history.onnx", made_history_graph(dim, features=features).SerializeToString())
        for name, content in files.items():
            writer.add(name, content)
        return writer.finish(manifest, "card")


def _features(settings: EventsSettings) -> int:
    from nearfar.frontend.events import EventsFrontend

    return EventsFrontend(settings).features
