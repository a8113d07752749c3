"""The bundle of a recommender of any size, without a training: what is timed does not depend on what was learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower, render_card
from nearfar.bundle.recommender_record import RecommenderRecord
from nearfar.edge.recommend.catalogue_files import NAMES, POPULARITY, PRIOR, SCALES, VECTORS, catalogue_files
from nearfar.edge.recommend.prior import Prior
from nearfar.frontend.settings import EventsSettings

FOLLOWERS = 20
"""Items that come after each, before the budget of the prior."""


def write_recommender_bundle(
    target: Path, *, items: int, dim: int = 64, length: int = 100, prior_bytes: int = 600_000, seed: int = 0
) -> Bundle:
    """Write a bundle with the encoder of the recipes, untrained, and made items.

    Args:
        target: the folder to make.
        items: of the catalogue: `item-0` and so on.
        dim: components of a vector.
        length: latest actions that are looked at.
        prior_bytes: largest size of the prior.
        seed: of everything drawn.
    """
    import torch

    from nearfar.learn.encoders.build_sequence import build_sequence_encoder
    from nearfar.learn.export.sequence import export_sequence_graph
    from nearfar.recipe.events import SequenceTransformer

    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    frontend = EventsSettings(length=length)
    encoder = build_sequence_encoder(
        SequenceTransformer(kind="sequence_transformer", dim=dim), length=length, gaps=len(frontend.gaps) + 1
    )
    popularity = np.log(1.0 / np.arange(1.0, items + 1))
    files = catalogue_files(
        [f"item-{number}" for number in range(items)],
        generator.normal(size=(items, dim)).astype(np.float32),
        popularity - np.log(np.exp(popularity).sum()),
        Prior.of(_followers(items, generator), prior_bytes),
    )
    tower = Tower(graph="history.onnx")
    manifest = Manifest(
        name="made-items",
        kind="recommender",
        towers={"query": tower, "document": tower},
        dim=dim,
        similarity="dot",
        frontend=frontend,
        recommender=RecommenderRecord(
            items=items,
            names=NAMES,
            vectors=VECTORS,
            scales=SCALES,
            popularity=POPULARITY,
            prior=PRIOR,
            encoder_weight=1.0,
            prior_weight=1.0,
            popularity_weight=0.1,
        ),
        provenance=Provenance(recipe={"name": "made-items"}, recipe_sha256="0" * 64, data_fingerprint="0" * 64),
    )
    with BundleWriter(target) as writer:
        writer.add("history.onnx", export_sequence_graph(encoder, length=length))
        for name, content in files.items():
            writer.add(name, content)
        return writer.finish(manifest, render_card(manifest))


def _followers(items: int, generator: np.random.Generator) -> csr_matrix:
    """Counts of what came after what: popular items more often, as in logs."""
    drawn = (items ** generator.random((items, FOLLOWERS)) - 1.0).astype(np.int64)
    rows = np.repeat(np.arange(items), FOLLOWERS)
    counts = (1.0 + generator.pareto(1.0, drawn.size)) * 100.0 / (1.0 + rows) ** 0.5
    found = csr_matrix((counts.astype(np.float32), (rows, drawn.ravel())), shape=(items, items))
    found.sum_duplicates()
    return found
