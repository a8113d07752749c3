"""Sensor data as a workload: what a run directory holds of it, and what a fit trains on."""

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
from nearfar.frontend.series import SeriesFrontend
from nearfar.frontend.settings import SeriesSettings
from nearfar.learn.data.frames import SeriesCorpus, prepare_series
from nearfar.learn.data.split import TRAIN
from nearfar.learn.data.windows import WindowRows, Windows, faulty_windows
from nearfar.learn.encoders.build_series import build_series_encoder
from nearfar.learn.encoders.series import SeriesEncoder
from nearfar.learn.methods.fault_contrast import FaultContrast
from nearfar.learn.trained import Trained
from nearfar.learn.trainer.fit import load_weights, planned_steps
from nearfar.learn.trainer.series import FaultFigures, WindowSteps, embed_windows
from nearfar.learn.trainer.workload import Workload
from nearfar.learn.views.series import WindowViews
from nearfar.progress import Stages
from nearfar.recipe import Recipe
from nearfar.recipe.series import HealthyPairing

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PreparedSeries:
    """The sensor data of a run.

    Attributes:
        corpus: frames by machine, and the settings of the frontend.
    """

    corpus: SeriesCorpus

    @classmethod
    def open(cls, directory: Path) -> PreparedSeries:
        """Open what `prepare` left in a run directory."""
        return cls(SeriesCorpus.open(directory / "data"))

    @classmethod
    def prepare(cls, recipe: Recipe, directory: Path, stages: Stages) -> PreparedSeries:
        """Read the series of a recipe; what is finished is taken up as it is.

        Raises:
            DataError: where the data cannot be used.
        """
        data = directory / "data"
        if (data / "series.json").is_file():
            return cls.open(directory)
        return cls(prepare_series(recipe.data, recipe.of_series.frontend, data, stages("reading")))

    def workload(self, recipe: Recipe, *, threads: int, say: Callable[[str], None]) -> Workload:
        """What a fit works on; see `Prepared`."""
        _, _, settings, _, method, _ = recipe.of_series
        views = WindowViews(settings, self.corpus.settings.channel_of_feature)
        pairing = recipe.data.pairings[0]
        assert isinstance(pairing, HealthyPairing)
        rows = WindowRows.of(self.corpus, views, pairing=pairing, method=method, seed=recipe.seed)
        validation = FaultFigures(self.corpus, method.faults, seed=recipe.seed)
        if recipe.train.early_stop is not None and not validation.possible:
            raise DataError(
                "train.early_stop watches fault_auc_pr, but no machine has a healthy window of "
                f"{self.corpus.settings.window} frames in its validation part: raise data.split.validation, lower frontend.window, or "
                "set train.early_stop to null"
            )
        return Workload(
            rows,
            build_method(recipe, self.corpus),
            planned_steps(recipe, len(rows)),
            WindowSteps(views),
            validation if validation.possible else None,
            shown="fault_auc_pr",
        )

    def trained(self, recipe: Recipe, directory: Path) -> TrainedSeries:
        """The finished run that they belong to."""
        return TrainedSeries(directory, recipe, self)


@dataclass(frozen=True)
class TrainedSeries(Trained[SeriesCorpus]):
    """A finished run over series."""

    prepared: PreparedSeries

    @property
    def settings(self) -> SeriesSettings:
        """Of the frontend, as fitted on the healthy part that trained."""
        return self.corpus.settings

    @property
    def frontend(self) -> SeriesFrontend:
        """Windows to inputs, as on the device."""
        return SeriesFrontend(self.settings)

    def method(self) -> FaultContrast:
        """The trained method, with the best weights of the run."""
        method = build_method(self.recipe, self.corpus)
        load_weights(method, self.directory / "checkpoints" / "best.ckpt")
        return method

    def embedder(self, *, dim: int | None = None) -> SeriesEmbedder:
        """The trained encoder in float."""
        return SeriesEmbedder(self.method().encoder, self.frontend, dim=dim)

    def untrained(self) -> SeriesEmbedder:
        """The same encoder as it was before the first step."""
        return SeriesEmbedder(build_method(self.recipe, self.corpus).encoder, self.frontend)

    def normal_windows(self, most: int = 512) -> tuple[Floats, Floats]:
        """At most so many training windows, spread evenly, as the graph takes them.

        Returns:
            Values and presence, float32 (n, T, F) each, as `SeriesFrontend.scaled` has them.
        """
        windows = Windows.of(self.corpus, TRAIN)
        return windows.scaled(windows.evenly(most))

    def example_windows(self, most: int = 512) -> tuple[Floats, Floats]:
        """Training windows, and after them as many with a fault each: what int8 is calibrated and compared with.

        By healthy windows alone int8 would cut off what faults look like.

        Returns:
            Values and presence, float32 (n, T, F) each, n of at most `most`; shuffled.
        """
        values, present = self.normal_windows(most // 2)
        settings, rng = self.settings, np.random.default_rng([self.recipe.seed, 3])
        faults = self.recipe.of_series.method.faults
        faulty = faulty_windows(values, present, faults, rng, settings.channel_of_feature, settings.clip)
        order = rng.permutation(2 * len(values))
        return np.concatenate([values, faulty])[order], np.concatenate([present, present])[order]


class SeriesEmbedder:
    """An encoder of windows in torch as an Embedder: what the bundle is compared with.

    Args:
        encoder: what embeds.
        frontend: windows to inputs.
        dim: keep only the first so many components.
    """

    def __init__(self, encoder: SeriesEncoder, frontend: SeriesFrontend, *, dim: int | None = None) -> None:
        self.encoder, self.frontend = encoder, frontend
        self._dim = dim or encoder.dim

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._dim

    def embed(self, items: Sequence[Any], side: Side = "document") -> Floats:
        """Embed windows (T, F) of frames in physical units; float32 (n, dim), not of unit length."""
        parts = [np.zeros((0, self._dim), np.float32)]
        for _, feed in self.frontend.feeds(items, side, 1024):
            parts.append(embed_windows(self.encoder, feed["window"], feed["present"])[:, : self._dim])
        return np.concatenate(parts)


def build_method(recipe: Recipe, corpus: SeriesCorpus) -> FaultContrast:
    """The method of a recipe with fresh weights, drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    _, _, _, settings, method, _ = recipe.of_series
    encoder = build_series_encoder(settings, window=corpus.settings.window, features=corpus.settings.features)
    return FaultContrast(encoder, method)
