"""Tiny cross-encoders with random weights in directories of the Hugging Face kind, made without any network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from tiny_bundle import TEXTS
from tiny_reranker import tiny_pair_tokenizer

Kind = Literal["bert", "roberta", "distilbert"]


def write_cross_encoder(
    directory: Path, kind: Kind = "bert", *, outputs: int = 1, head: bool = True, config: dict[str, Any] | None = None
) -> Path:
    """Write a model and its tokenizer.

    Args:
        directory: where to.
        kind: its architecture; only bert tells query from passage by types.
        outputs: numbers that it gives.
        head: without one it is an encoder.
        config: further entries of config.json.
    """
    import transformers
    from transformers import PreTrainedTokenizerFast

    backend = tiny_pair_tokenizer()
    small: dict[str, Any] = {
        "vocab_size": backend.get_vocab_size(),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
        "num_labels": outputs,
        "initializer_range": 0.3,  # or all scores would be about the same
    }
    if kind == "roberta":
        small["type_vocab_size"] = 1
    name = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert"}[kind]
    settings = getattr(transformers, f"{name}Config")(**small)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}{'ForSequenceClassification' if head else 'Model'}")(settings)
    model.save_pretrained(directory)
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if kind == "bert" else [])]
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64, model_input_names=names
    ).save_pretrained(directory)
    if config:
        file = directory / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return directory


def write_rerank_pairs(path: Path, count: int = 24) -> Path:
    """Pairs of words of TEXTS: a query is three words, its passage says them again among others."""
    words = sorted({word.strip(".,:").lower() for text in TEXTS for word in text.split()})
    rows = []
    for n in range(count):
        own = [words[(7 * n + step) % len(words)] for step in range(3)]
        others = [words[(11 * n + 5 * step) % len(words)] for step in range(4)]
        rows.append({"query": " ".join(own), "positive": " ".join([*others[:2], *reversed(own), *others[2:]])})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
