"""Tiny models of transformers with random weights, saved and opened as a user's own directory would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nearfar.learn.encoders.huggingface import HuggingFaceTextEncoder
from nearfar.recipe.text import HuggingFaceEncoder

PIECES = 100
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": PIECES,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),
}


def made_hf_encoder(kind: str, folder: Path, **settings: Any) -> HuggingFaceTextEncoder:
    """A model of a type of transformers (`bert`, `distilbert`, ...), in eval mode.

    Args:
        kind: its `model_type`.
        folder: where it is saved.
        settings: of its configuration, in place of the usual ones.
    """
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    if kind == "distilbert":
        settings = {"hidden_dim": _SIZES["intermediate_size"], **settings}
    model = AutoModel.from_config(AutoConfig.for_model(kind, **(_SIZES | settings)))
    with torch.no_grad():  # fresh weights hardly look at their input
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    encoder: HuggingFaceTextEncoder = HuggingFaceTextEncoder(
        HuggingFaceEncoder(kind="hf", model=str(folder)), pad_id=0
    ).eval()
    return encoder


def made_rows(n: int = 5, longest: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (n, longest) and their mask, with all lengths from `longest` downwards."""
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(1, PIECES, (n, longest), generator=source)
    mask = (torch.arange(longest) < torch.arange(longest, longest - n, -1)[:, None]).long()
    return ids * mask, mask
