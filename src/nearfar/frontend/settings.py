"""What a frontend writes into the manifest, so that the device prepares text exactly as training did."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt


class TextSettings(BaseModel):
    """Settings of a `TextFrontend`, without its vocabulary (that is the file `tokenizer`)."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kind: Literal["text"] = "text"
    tokenizer: str = "tokenizer.json"
    """Name of the vocabulary file."""
    max_query_tokens: PositiveInt
    """A query is cut to so many tokens, special tokens included."""
    max_document_tokens: PositiveInt
    """A document is cut to so many tokens, special tokens included."""
    query_prompt: str = ""
    """Put before every query."""
    document_prompt: str = ""
    """Put before every document."""
