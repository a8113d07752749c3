"""Rows of tables as a workload: what a run directory holds of them, and what a fit trains on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nearfar.embedder import Side
from nearfar.errors import DataError
from nearfar.frontend.table import TableFrontend
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.data.table_batches import TrainingRows
from nearfar.learn.data.table_rows import RowCorpus, prepare_rows
from nearfar.learn.encoders.build_table import build_table_encoder
from nearfar.learn.encoders.table import TableEncoder
from nearfar.learn.methods.scarf import Scarf
from nearfar.learn.trained import Trained
from nearfar.learn.trainer.fit import load_weights, planned_steps
from nearfar.learn.trainer.table import OnlineRowFigures, RowSteps, embed_features
from nearfar.learn.trainer.workload import Workload
from nearfar.progress import Stages
from nearfar.recipe import Recipe

LEAST_ROWS = 50
"""Training rows; of fewer, what columns tell of each other is chance, and even their types are a guess."""


@dataclass(frozen=True)
class PreparedRows:
    """The rows of a run.

    Attributes:
        corpus: features, labels and sides.
    """

    corpus: RowCorpus

    @classmethod
    def open(cls, directory: Path) -> PreparedRows:
        """Open what `prepare` left in a run directory."""
        return cls(RowCorpus.open(directory / "data"))

    @classmethod
    def prepare(cls, recipe: Recipe, directory: Path, stages: Stages) -> PreparedRows:
        """Read the rows of a recipe; what is finished is taken up as it is.

        Raises:
            DataError: where the data cannot be used.
        """
        data = directory / "data"
        if (data / "rows.json").is_file():
            return cls.open(directory)
        tick = stages("reading")
        corpus = prepare_rows(recipe.data, recipe.of_table.frontend, data, recipe.seed, tick)
        if corpus.counts.train < LEAST_ROWS:
            raise DataError(
                f"{corpus.counts.train} training rows are too few to learn from: at least {LEAST_ROWS} are needed, and some hundreds for "
                "anything of use. Give more rows, or lower data.split.validation and data.split.test"
            )
        used, ignored = len(corpus.settings.columns), len(corpus.settings.ignored)
        tick(0, f"{used} columns" + (f", {ignored} ignored" if ignored else ""))
        return cls(corpus)

    def workload(self, recipe: Recipe, *, threads: int, say: Callable[[str], None]) -> Workload:
        """What a fit works on; see `Prepared`."""
        columns = TableFrontend(self.corpus.settings).column_of_feature
        rows = TrainingRows.of(self.corpus, recipe.of_table.method, columns, seed=recipe.seed)
        steps = planned_steps(recipe, len(rows))
        validation = None
        if bool((self.corpus.side == VALIDATION).any()):
            validation = OnlineRowFigures(rows, k=recipe.evaluate.neighbours)
            if recipe.train.early_stop is not None and not validation.has_labels:
                raise DataError(
                    "train.early_stop watches knn_accuracy, which needs labelled rows on both sides: set "
                    "data.source.columns.label, or train.early_stop to null"
                )
        shown = "knn_accuracy" if validation is not None and validation.has_labels else "view_recall"
        return Workload(rows, build_method(recipe, self.corpus), steps, RowSteps(total_steps=steps), validation, shown)

    def trained(self, recipe: Recipe, directory: Path) -> TrainedRows:
        """The finished run that they belong to."""
        return TrainedRows(directory, recipe, self)


@dataclass(frozen=True)
class TrainedRows(Trained[RowCorpus]):
    """A finished run over rows."""

    prepared: PreparedRows

    @property
    def frontend(self) -> TableFrontend:
        """Row to features, as on the device."""
        return TableFrontend(self.corpus.settings)

    def method(self) -> Scarf:
        """The trained method, with the best weights of the run."""
        method = build_method(self.recipe, self.corpus)
        load_weights(method, self.directory / "checkpoints" / "best.ckpt")
        return method

    def embedder(self, *, dim: int | None = None) -> RowEmbedder:
        """The trained encoder in float."""
        return RowEmbedder(self.method().encoder, self.frontend, dim=dim)

    def untrained(self) -> RowEmbedder:
        """The same encoder as it was before the first step."""
        return RowEmbedder(_encoder(self.recipe, self.corpus), self.frontend)


class RowEmbedder:
    """An encoder of rows in torch as an Embedder: what the bundle is compared with.

    Args:
        encoder: what embeds.
        frontend: row to features.
        dim: keep only so many components.
    """

    def __init__(self, encoder: TableEncoder, frontend: TableFrontend, *, dim: int | None = None) -> None:
        self.encoder, self.frontend = encoder, frontend
        self._dim = dim or encoder.dim

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._dim

    def embed(self, items: Sequence[Any], side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed rows (mappings of columns to cells); float32 (n, dim), rows of unit length."""
        values, codes = self.frontend.encode(items)
        return embed_features(self.encoder, torch.from_numpy(values), torch.from_numpy(codes), self._dim)


def build_method(recipe: Recipe, corpus: RowCorpus) -> Scarf:
    """The method of a recipe with fresh weights, drawn from the recipe's seed."""
    return Scarf(_encoder(recipe, corpus), recipe.of_table.method)


def _encoder(recipe: Recipe, corpus: RowCorpus) -> TableEncoder:
    torch.manual_seed(recipe.seed)
    return build_table_encoder(recipe.of_table.encoder, TableFrontend(corpus.settings).widths)
