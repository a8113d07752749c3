"""Encoders: tokens or pixels in, one vector each out. Built from the recipe's encoder block by `build_encoder` (text) and
`build_image_encoder`.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from nearfar.errors import RunError
from nearfar.learn.encoders.build_image import build_image_encoder
from nearfar.learn.encoders.text import TextEncoder
from nearfar.recipe.text import HuggingFaceEncoder, StaticEncoder, TextFrontendSettings, TransformerEncoder

__all__ = ["TextEncoder", "build_encoder", "build_image_encoder"]


def build_encoder(
    settings: StaticEncoder | TransformerEncoder | HuggingFaceEncoder,
    frontend: TextFrontendSettings,
    *,
    vocab_size: int,
    pad_id: int,
    document_share: npt.NDArray[Any] | None = None,
) -> TextEncoder:
    """The encoder that a recipe asks for, with fresh weights (`hf`: pretrained ones).

    Args:
        settings: the recipe's encoder block.
        frontend: the recipe's frontend block, for the longest input.
        vocab_size: number of token ids.
        pad_id: the id that fills up short rows.
        document_share: (vocab_size,) share of training documents with each token; the static encoder starts its token
            weights from it.

    Raises:
        RunError: a pretrained model cannot be loaded, or does not fit the tokenizer or the lengths of the frontend.
    """
    if isinstance(settings, StaticEncoder):
        from nearfar.learn.encoders.static import StaticTextEncoder

        return StaticTextEncoder(settings, vocab_size=vocab_size, document_share=document_share)
    if isinstance(settings, TransformerEncoder):
        from nearfar.learn.encoders.transformer import TransformerTextEncoder

        longest = max(frontend.max_query_tokens, frontend.max_document_tokens)
        return TransformerTextEncoder(settings, vocab_size=vocab_size, pad_id=pad_id, max_tokens=longest)
    from nearfar.learn.encoders.huggingface import HuggingFaceTextEncoder

    encoder = HuggingFaceTextEncoder(settings, pad_id=pad_id)
    if settings.layers is not None:
        from nearfar.learn.compress.layers import keep_layers

        encoder = keep_layers(encoder, settings.layers)
    for key in ("max_query_tokens", "max_document_tokens"):
        if getattr(frontend, key) > encoder.max_tokens:
            raise RunError(
                f"frontend.{key} is {getattr(frontend, key)}, but {settings.model} takes only {encoder.max_tokens} tokens: lower it"
            )
    if vocab_size > encoder.vocab_size:
        raise RunError(
            f"the tokenizer has {vocab_size} tokens, but {settings.model} knows only {encoder.vocab_size}: "
            "leave frontend.tokenizer out to use the model's own"
        )
    return encoder
