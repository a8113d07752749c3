"""The frontend and the encoders of text. The docstrings are their documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.settings import Count, Dimension, Fraction, Settings


class TrainTokenizer(Settings):
    """Learn the vocabulary from the corpus."""

    kind: Literal["train"]
    model: Literal["wordpiece", "bpe"] = "wordpiece"
    """How words are cut into pieces."""
    vocab_size: Annotated[int, Strict(), Field(ge=64, le=500_000)] = 16_000
    """Number of pieces; fewer if the corpus does not have so many."""
    lowercase: bool = True
    """Fold case and strip accents."""
    split_identifiers: bool = False
    """Cut camelCase at its humps, for text with code in it; snake_case is cut in any case."""


class FileTokenizer(Settings):
    """Use an existing tokenizer.json (Hugging Face `tokenizers` format)."""

    kind: Literal["file"]
    path: Path
    """The file; relative paths start at the recipe's own folder."""


class ModelTokenizer(Settings):
    """Use the tokenizer that comes with the `hf` encoder."""

    kind: Literal["model"]
    pieces: Literal["all", "corpus"] = "all"
    """Keep the whole vocabulary, or only what the training texts use; words that lose a piece are cut into smaller ones."""


class TeacherTokenizer(Settings):
    """Use the tokenizer of the teacher, without the special tokens around a text."""

    kind: Literal["teacher"]
    pieces: Literal["all", "corpus"] = "corpus"
    """Keep the whole vocabulary, or only what the training texts use; words that lose a piece are cut into smaller ones."""


Tokenizer = Annotated[TrainTokenizer | FileTokenizer | ModelTokenizer | TeacherTokenizer, Field(discriminator="kind")]


class Prompts(Settings):
    """Text put before an item of each side."""

    query: str = ""
    """Put before every query."""
    document: str = ""
    """Put before every document."""


class TextFrontendSettings(Settings):
    """How text becomes token ids: the same in training and on the device."""

    kind: Literal["text"] = "text"
    tokenizer: Tokenizer = TrainTokenizer(kind="train")
    """Where the vocabulary comes from; by default that of the model for encoder `hf`, and else one learned from the corpus."""
    max_query_tokens: Count = 64
    """A query is cut to so many tokens."""
    max_document_tokens: Count = 256
    """A document is cut to so many tokens."""
    prompts: Prompts = Prompts()


class StaticEncoder(Settings):
    """A table of token embeddings with a learned weight per token, summed over the text; microseconds on any device."""

    kind: Literal["static"]
    dim: Dimension = 256
    """Components of a token vector, and of an embedding."""
    term_frequency: Literal["sqrt", "linear"] = "sqrt"
    """How the occurrences of a token in a text add up: f of them weigh the square root of f, or f."""
    token_dropout: Fraction = 0.0
    """Share of tokens left out at random while training."""
    projection: Count | None = None
    """Output dimension of an optional linear layer after pooling."""
    start: Literal["random", "teacher"] = "random"
    """What the table holds before the first step: random numbers, or what the teacher makes of each piece, corrected by ridge
    regression so that the pieces of a training document add up to the teacher's vector of it."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.projection or self.dim

    @model_validator(mode="after")
    def _starts_without_projection(self) -> Self:
        if self.start == "teacher" and self.projection is not None:
            raise ValueError("projection has no start of its own: leave it out, or set start to random")
        return self


class TransformerEncoder(Settings):
    """A small transformer trained from scratch."""

    kind: Literal["transformer"]
    dim: Dimension = 256
    """Components of a token vector, and of an embedding; a multiple of `heads`."""
    layers: Count = 2
    """Blocks of attention and feed-forward."""
    heads: Count = 4
    """Attention heads of a block."""
    feedforward: Count = 512
    """Width of the feed-forward layer."""
    dropout: Fraction = 0.1
    """Share of activations left out at random while training."""
    pooling: Literal["mean", "cls"] = "mean"
    """One vector per text: the mean of its token vectors, or that of a first [CLS] token."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({self.heads})")
        return self

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class HuggingFaceEncoder(Settings):
    """An encoder from a Hugging Face model directory or hub name, fine-tuned. Code inside a model repository is never run."""

    kind: Literal["hf"]
    model: str
    """A local directory or a hub name; a hub name is fetched by `transformers` from wherever HF_ENDPOINT points."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    pooling: Literal["mean", "cls"] = "mean"
    """One vector per text: the mean of its token vectors, or its first token. Use what the model was trained with."""
    layers: Count | None = None
    """Start with so many of its layers, evenly spaced, the first and the last among them; `null` takes all."""
    projection: Count | None = None
    """Output dimension of an optional linear layer after pooling."""


TextEncoderSettings = StaticEncoder | TransformerEncoder | HuggingFaceEncoder
