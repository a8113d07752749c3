"""Small models over made words: a method with fresh weights, its frontend, and a bundle made of the two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower, render_card
from nearfar.frontend import TextFrontend
from nearfar.learn.export import export_graph
from nearfar.learn.methods.dual_encoder import DualEncoder
from nearfar.learn.model import TorchEmbedder, build_frontend, build_method
from nearfar.recipe import parse_recipe

STATIC = "{kind: static, dim: 32}"
TRANSFORMER = "{kind: transformer, dim: 32, heads: 4, layers: 2, feedforward: 64}"


def made_texts(count: int, *, longest: int = 20, seed: int = 0) -> list[str]:
    """Texts of 1 to `longest` words, with repeated words among them."""
    rng = np.random.default_rng(seed)
    syllables = ["ba", "do", "ki", "lu", "me", "no", "pa", "ri", "su", "ta"]
    words = ["".join(rng.choice(syllables, 3)) for _ in range(120)]
    return [" ".join(rng.choice(words, rng.integers(1, longest + 1))) for _ in range(count)]


def made_model(encoder: str, *overrides: str) -> tuple[DualEncoder, TextFrontend]:
    """A model with weights far from zero everywhere (a fresh transformer hardly looks at its input), in eval mode."""
    text = f"""
name: made
data:
  source: {{kind: jsonl, path: nowhere.jsonl}}
  pairings: [{{kind: columns}}]
frontend: {{max_query_tokens: 16, max_document_tokens: 24}}
encoder: {encoder}
"""
    recipe = parse_recipe(text, base=Path(), overrides=overrides)
    frontend = build_frontend(recipe, made_texts(300))
    method = build_method(recipe, frontend).eval()
    if recipe.encoder.kind != "hf":
        source = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in method.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=source))
    return method, frontend


def ship(method: DualEncoder, frontend: TextFrontend, target: Path, *, quantise: str, dim: int | None = None) -> Bundle:
    """A bundle of the model as it is, without figures."""
    dim = dim or method.query_tower.dim
    graphs = {"query": "query.onnx", "document": "document.onnx"}
    if method.query_tower is method.document_tower:
        graphs = dict.fromkeys(graphs, "encoder.onnx")
    manifest = Manifest(
        name="made",
        towers={side: Tower(graph=graph) for side, graph in graphs.items()},  # type: ignore[misc]
        dim=dim,
        dims=tuple(sorted(d for d in method.dims if d < dim)),
        frontend=frontend.settings,
        provenance=Provenance(recipe={}, recipe_sha256="", data_fingerprint=""),
    )
    with BundleWriter(target) as writer:
        for graph in set(graphs.values()):
            tower = method.query_tower if graph == graphs["query"] else method.document_tower
            writer.add(graph, export_graph(tower, dim=dim, quantise=quantise))
        writer.add("tokenizer.json", frontend.to_bytes())
        return writer.finish(manifest, render_card(manifest))


def agreement(method: DualEncoder, frontend: TextFrontend, bundle: Bundle) -> float:
    """The least cosine between what the model and its bundle make of a text, over both sides and every batch shape."""
    from nearfar.edge import Encoder

    encoder = Encoder.open(bundle)
    model = TorchEmbedder(method, frontend, dim=encoder.dim)
    texts = ["", "kilume", *made_texts(40), " ".join(made_texts(30, seed=1))]
    least = 1.0
    for side in ("query", "document"):
        expected = model.embed(texts, side)  # type: ignore[arg-type]
        for batch in (1, 7, 64):
            found = encoder.embed(texts, side, batch_size=batch)  # type: ignore[arg-type]
            assert found.shape == (len(texts), encoder.dim)
            least = min(least, float((found * expected).sum(axis=1).min()))
    return least
