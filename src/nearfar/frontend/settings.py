"""What a frontend writes into the manifest, so that the device prepares items exactly as training did."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

_MAX_VALUES = 2**26  # of one prepared picture: 256 MB, beyond which no device follows


class _FrontendSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class TextSettings(_FrontendSettings):
    """Settings of a `TextFrontend`, without its vocabulary (that is the file `tokenizer`)."""

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

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle."""
        return (self.tokenizer,)


class PairSettings(_FrontendSettings):
    """Settings of a `PairFrontend`, without its vocabulary (that is the file `tokenizer`)."""

    kind: Literal["text-pair"] = "text-pair"
    tokenizer: str = "tokenizer.json"
    """Name of the vocabulary file."""
    max_query_tokens: PositiveInt
    """A query is cut to so many tokens, before any passage is."""
    max_tokens: PositiveInt
    """Query, passage and special tokens together; the passage is cut to what the query leaves."""
    types: bool = False
    """Whether the graph is told which tokens are of the query (0) and which of the passage (1)."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle."""
        return (self.tokenizer,)

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.max_query_tokens >= self.max_tokens:
            raise ValueError(
                f"max_query_tokens is {self.max_query_tokens}, which leaves a passage nothing of max_tokens {self.max_tokens}"
            )
        return self


class ImageSettings(_FrontendSettings):
    """Settings of an `ImageFrontend`. Mean and standard deviation of the pixels are no part of it: they lie in the graph."""

    kind: Literal["image"] = "image"
    size: Annotated[int, Field(ge=1, le=8192)]
    """Height and width in pixels of what the graph takes."""
    channels: Annotated[int, Field(ge=1, le=1024)] = 3
    """1 for grey, 3 for red, green and blue; any other number must be that of the pictures themselves."""
    fit: Literal["crop", "squash"] = "crop"
    """How a picture that is not square becomes so: `crop` keeps its central square, `squash` changes its proportions."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that the frontend needs in a bundle: none."""
        return ()

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        values = self.size * self.size * self.channels
        if values > _MAX_VALUES:
            raise ValueError(
                f"size {self.size} with {self.channels} channels is {values:,} values a picture: at most {_MAX_VALUES:,}"
            )
        return self
