"""A bundle that needs no training: a random vector a word, summed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nearfar.bundle import Bundle, BundleWriter, Manifest, Provenance, Tower, render_card
from nearfar.frontend import TextFrontend


def write_random_bundle(target: Path, texts: Sequence[str], *, dim: int = 64, max_tokens: int = 256) -> Bundle:
    """Write a bundle whose vocabulary is learned from `texts`.

    Args:
        target: the folder to make.
        texts: that have the words which will be embedded.
        dim: components of an embedding.
        max_tokens: of a query and of a document.
    """
    import torch

    from nearfar.learn.encoders.static import StaticTextEncoder
    from nearfar.learn.export.text import export_graph
    from nearfar.recipe.text import StaticEncoder

    frontend = TextFrontend.train(texts, vocab_size=2_000, max_query_tokens=max_tokens, max_document_tokens=max_tokens)
    torch.manual_seed(0)
    encoder = StaticTextEncoder(StaticEncoder(kind="static", dim=dim), vocab_size=frontend.vocab_size)
    tower = Tower(graph="encoder.onnx")
    manifest = Manifest(
        name="random",
        towers={"query": tower, "document": tower},
        dim=dim,
        frontend=frontend.settings,
        provenance=Provenance(recipe={"name": "random"}, recipe_sha256="0" * 64, data_fingerprint="0" * 64),
    )
    with BundleWriter(target) as writer:
        writer.add("encoder.onnx", export_graph(encoder, dim=dim, quantise="none"))
        writer.add("tokenizer.json", frontend.to_bytes())
        return writer.finish(manifest, render_card(manifest))
