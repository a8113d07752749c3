"""The blocks of a recipe for rows of tables. The docstrings are their documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.settings import Count, Dimension, Settings

Width = Annotated[int, Strict(), Field(ge=8, le=4096)]


class RowColumns(Settings):
    """What the columns of a table are. What is not said here is found out from the cells, and shown."""

    numbers: tuple[str, ...] = ()
    """Columns of numbers."""
    categories: tuple[str, ...] = ()
    """Columns of categories, also those that are written as numbers (a code, a postal district)."""
    dates: tuple[str, ...] = ()
    """Columns of dates or times, as ISO 8601 writes them: a number of days, and the place in the year, week and day."""
    ignore: tuple[str, ...] = ()
    """Columns that are not looked at."""
    label: str | None = None
    """Column that says what a row is. It is measured with, and never learned from."""
    id: str | None = None
    """Column with a unique name; by default file and row number."""
    split: str | None = None
    """Column that says `train`, `validation` or `test`; by default files of these names do."""
    group: str | None = None
    """Column that says what belongs together (one patient, one shop), for a split by group."""

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        own = [name for name in (self.label, self.id, self.split, self.group) if name is not None]
        named = [*self.numbers, *self.categories, *self.dates, *self.ignore, *own]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"'{twice}' is named twice: a column has one use")
        return self


class RowsSource(Settings):
    """The rows of a CSV, JSONL or Parquet file, or of all such files of a folder."""

    kind: Literal["rows"]
    path: Path
    """The file or folder; relative paths start at the recipe's own folder."""
    columns: RowColumns = RowColumns()
    """What the columns are; by default all are found out."""


class TableFrontendSettings(Settings):
    """How a row becomes numbers: the same in training and on the device."""

    kind: Literal["table"]
    scale: Literal["quantile", "robust"] = "quantile"
    """Of numbers: `quantile` spreads the training values evenly, however they are distributed; `robust` takes the distance from
    their median, cut at five spreads."""
    most_categories: Annotated[int, Strict(), Field(ge=2, le=10_000)] = 100
    """Of a column the commonest so many are told apart; the others are one, unknown."""
    missing: tuple[str, ...] | None = None
    """Texts that stand for nothing; by default the usual ones, such as `?` and `NA`. An empty cell always does."""


class MlpEncoder(Settings):
    """Layers of linear maps and ReLU over all columns at once, each category with weights of its own."""

    kind: Literal["mlp"]
    width: Width = 256
    """Of each layer; the SCARF paper has 256."""
    layers: Annotated[int, Strict(), Field(ge=2, le=16)] = 4
    """How many; the paper has 4."""
    dim: Dimension = 128
    """Components of an embedding."""
    skip: bool = True
    """Add a linear map of the columns, so that what a linear model sees is not lost on the way."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class FeatureTokensEncoder(Settings):
    """Each column is a token of a transformer (FT-Transformer, arXiv:2106.11959). Slower than `mlp`."""

    kind: Literal["feature_tokens"]
    layers: Annotated[int, Strict(), Field(ge=1, le=16)] = 3
    """Blocks of attention; the paper has 3."""
    heads: Annotated[int, Strict(), Field(ge=1, le=32)] = 4
    """Of each block; the paper has 8."""
    feedforward: Count | None = None
    """Width of the layer inside a block; by default twice `dim`."""
    dropout: Annotated[float, Strict(), Field(ge=0.0, lt=1.0)] = 0.0
    """In training only."""
    dim: Dimension = 64
    """Components of a token and of an embedding; a multiple of `heads`. The paper has 192."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({self.heads})")
        return self


TableEncoderSettings = MlpEncoder | FeatureTokensEncoder


class Scarf(Settings):
    """A row finds a copy of itself, in which some cells were replaced by those of other rows, among all of the batch (SCARF,
    arXiv:2106.15147).
    """

    kind: Literal["scarf"]
    corruption: Annotated[float, Strict(), Field(gt=0.0, lt=1.0)] = 0.6
    """Share of the columns that are replaced, each by the cell of another training row; as in the paper."""
    anchor: Literal["whole", "corrupted", "rest"] = "whole"
    """What looks for the copy: the row itself, as in the paper; a copy with other columns replaced; or one that has kept just
    the columns which the other has lost, so that only what columns tell of each other helps to find it."""
    temperature: Annotated[float, Strict(), Field(gt=0.0, le=10.0)] = 1.0
    """Divides the cosines; as in the paper."""
    projector: Annotated[tuple[Count, ...], Field(min_length=1)] = (256, 128)
    """Width of each layer after the encoder; the last is what the loss compares. The paper has 256, 256."""
