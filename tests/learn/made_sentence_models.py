"""Tiny models in the layout of sentence-transformers, written file by file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from made_cross_encoders import Kind, write_cross_encoder
from safetensors.torch import save_file

HIDDEN = 32


def write_sentence_model(
    folder: Path,
    kind: Kind = "bert",
    *,
    pooling: dict[str, Any] | None = None,
    dense: dict[str, Any] | None = None,
    modules: list[str] | None = None,
    longest: int | None = 40,
    lowercase: bool = False,
    said: dict[str, Any] | None = None,
) -> Path:
    """Write a model.

    Args:
        folder: where to.
        kind: its architecture.
        pooling: settings of the Pooling module.
        dense: settings of a Dense module to 8 components after pooling; none without.
        modules: names of all modules; by default what is needed, and Normalize.
        longest: tokens of a text.
        lowercase: whether texts are folded to lower case first.
        said: content of config_sentence_transformers.json.
    """
    write_cross_encoder(folder, kind, head=False)
    names = modules or ["Transformer", "Pooling", *(["Dense"] if dense is not None else []), "Normalize"]
    paths = ["", *(f"{number}_{name}" for number, name in enumerate(names[1:], start=1))]
    listing = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        for number, (name, path) in enumerate(zip(names, paths, strict=True))
    ]
    _write(folder / "modules.json", listing)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": lowercase})
    _write(folder / "config_sentence_transformers.json", said or {})
    chosen = pooling or {"pooling_mode_mean_tokens": True}
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": HIDDEN} | chosen)
    if dense is not None:
        activation = "torch.nn.modules.activation.Tanh"
        _write(
            folder / "2_Dense" / "config.json",
            {"in_features": HIDDEN, "out_features": 8, "activation_function": activation} | dense,
        )
        drawn = torch.Generator().manual_seed(3)
        weights = {"linear.weight": torch.randn(8, HIDDEN, generator=drawn) / 4, "linear.bias": torch.ones(8) / 4}
        save_file(weights, folder / "2_Dense" / "model.safetensors")
    return folder


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
