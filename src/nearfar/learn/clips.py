"""Recordings as a workload: what a run directory holds of them, and what a fit trains on."""

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
from nearfar.frontend import AudioError, AudioFrontend, AudioSettings
from nearfar.frontend.sound import decode_sound
from nearfar.learn.data.clip_rows import ClipRows
from nearfar.learn.data.clips import ClipCorpus, prepare_clips
from nearfar.learn.data.identity_batches import trained_identities
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.encoders.audio import AudioEncoder
from nearfar.learn.encoders.build_audio import build_audio_encoder
from nearfar.learn.methods.build import build_view_method, views_looked_at
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.trained import Trained
from nearfar.learn.trainer.clips import ClipFigures, ClipSteps, embed_waves
from nearfar.learn.trainer.fit import load_weights, planned_steps
from nearfar.learn.trainer.workload import Workload
from nearfar.learn.views.audio import SoundViews
from nearfar.progress import Stages
from nearfar.recipe import Recipe
from nearfar.recipe.audio import AUDIO_SUFFIXES, AudioFrontendSettings

_HIGHEST = 0.475  # of the rate: above that resampling has taken away what there was
_NOISE_SECONDS = 600  # of a folder of noise are kept in memory


@dataclass(frozen=True)
class PreparedClips:
    """The recordings of a run.

    Attributes:
        corpus: samples, labels and sides.
    """

    corpus: ClipCorpus

    @classmethod
    def open(cls, directory: Path) -> PreparedClips:
        """Open what `prepare` left in a run directory."""
        return cls(ClipCorpus.open(directory / "data"))

    @classmethod
    def prepare(cls, recipe: Recipe, directory: Path, stages: Stages) -> PreparedClips:
        """Read the recordings of a recipe; what is finished is taken up as it is.

        Raises:
            DataError: where the data cannot be used.
        """
        data = directory / "data"
        if (data / "clips.json").is_file():
            return cls.open(directory)
        frontend = frontend_of(recipe)
        _encoder(recipe, None)  # one that cannot be is met before an hour of reading
        tick, identity = stages("reading"), recipe.identity is not None
        return cls(prepare_clips(recipe.data, frontend, data, recipe.seed, identity=identity, progress=tick))

    def views(self, recipe: Recipe, *, count: int = 2) -> SoundViews:
        """How views are made, `count` of each recording.

        Raises:
            DataError: there is no noise in `views.noise.folder`.
        """
        settings, rate = recipe.of_audio.views, recipe.of_audio.frontend.rate
        folder = settings.noise.folder if settings.noise is not None else None
        return SoundViews(settings, rate=rate, count=count, noise=noise_in(folder, rate) if folder else None)

    def workload(self, recipe: Recipe, *, threads: int, say: Callable[[str], None]) -> Workload:
        """What a fit works on; see `Prepared`."""
        settings, identity = recipe.of_audio.method, recipe.identity
        # The samples of an identity are views of each other already.
        count = views_looked_at(settings, identity=identity is not None) or 2
        views = self.views(recipe, count=count)
        rows = ClipRows.of(self.corpus, views, seed=recipe.seed, identity=identity)
        steps = planned_steps(recipe, len(rows))
        method = build_method(recipe, self.corpus)
        validation = None
        if bool((self.corpus.side == VALIDATION).any()):
            validation = ClipFigures(
                self.corpus,
                views if count == 2 else self.views(recipe),
                frontend=frontend_of(recipe),
                identity=identity is not None,
                seed=recipe.seed,
                k=recipe.evaluate.neighbours,
                strangers=identity is not None and recipe.data.split.identities == "unseen",
            )
            if recipe.train.early_stop is not None and not validation.has_labels:
                raise DataError(
                    "train.early_stop watches knn_accuracy, which needs recordings of the same labels on both sides: set "
                    "data.source.labels to folder or data.source.columns.label, or train.early_stop to null"
                )
        surroundings = ClipSteps(method, views, kind=settings.kind, total_steps=steps)
        shown = validation.shown if validation is not None else "view_recall"
        return Workload(rows, method, steps, surroundings, validation, shown=shown)

    def trained(self, recipe: Recipe, directory: Path) -> TrainedClips:
        """The finished run that they belong to."""
        return TrainedClips(directory, recipe, self)


@dataclass(frozen=True)
class TrainedClips(Trained[ClipCorpus]):
    """A finished run over recordings."""

    prepared: PreparedClips

    @property
    def frontend(self) -> AudioFrontend:
        """Recording to samples, as on the device."""
        return frontend_of(self.recipe)

    def method(self) -> ImageMethod:
        """The trained method, with the best weights of the run."""
        method = build_method(self.recipe, self.corpus)
        load_weights(method, self.directory / "checkpoints" / "best.ckpt")
        return method

    def embedder(self, *, dim: int | None = None) -> ClipEmbedder:
        """The trained encoder in float."""
        return ClipEmbedder(self.method().encoder, self.frontend, dim=dim)

    def untrained(self) -> ClipEmbedder:
        """The same encoder as it was before the first step."""
        return ClipEmbedder(_encoder(self.recipe, self.corpus), self.frontend)


class ClipEmbedder:
    """An encoder of sound in torch as an Embedder: what the bundle is compared with.

    Args:
        encoder: what embeds.
        frontend: recording to samples.
        dim: keep only so many components.
    """

    def __init__(self, encoder: AudioEncoder, frontend: AudioFrontend, *, dim: int | None = None) -> None:
        self.encoder, self.frontend = encoder, frontend
        self._dim = dim or encoder.dim

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._dim

    def embed(self, items: Sequence[Any], side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed recordings (paths, encoded bytes or arrays); float32 (n, dim), rows of unit length."""
        del side
        return embed_waves(self.encoder, [self.frontend.prepare(item) for item in items], self._dim)


def frontend_of(recipe: Recipe) -> AudioFrontend:
    """Recording to samples, as a recipe has it: seconds become samples."""
    return AudioFrontend(audio_settings(recipe.of_audio.frontend))


def audio_settings(frontend: AudioFrontendSettings) -> AudioSettings:
    """What the manifest says of a recipe's frontend."""
    rate = frontend.rate
    step = max(1, round(frontend.min_seconds * rate))
    return AudioSettings(
        rate=rate,
        trim=frontend.trim,
        step=step,
        longest=step * max(1, int(frontend.max_seconds * rate / step + 1e-6)),
        frame=max(1, round(frontend.frame * rate)),
        hop=max(1, round(frontend.hop * rate)),
        bands=frontend.bands,
        lowest=frontend.lowest,
        highest=frontend.highest or _HIGHEST * rate,
        centre=frontend.centre == "mean",
    )


def build_method(recipe: Recipe, corpus: ClipCorpus) -> ImageMethod:
    """The method of a recipe with fresh weights, drawn from the recipe's seed."""
    encoder = _encoder(recipe, corpus)
    classes = len(trained_identities(corpus)) if recipe.identity is not None else len(corpus.counts.classes)
    return build_view_method(recipe.of_audio.method, encoder, items=len(corpus.labels), classes=classes)


def _encoder(recipe: Recipe, corpus: ClipCorpus | None) -> AudioEncoder:
    torch.manual_seed(recipe.seed)
    encoder = build_audio_encoder(recipe.of_audio.encoder, audio_settings(recipe.of_audio.frontend))
    if corpus is not None:
        encoder.normalise_by(corpus.counts.mean, corpus.counts.std)
    return encoder


def noise_in(folder: Path, rate: int) -> npt.NDArray[np.float32]:
    """The recordings of a folder one after the other, each as loud as the others, in name order up to ten minutes.

    Raises:
        DataError: there are none.
    """
    parts: list[npt.NDArray[np.float32]] = []
    room, problem = _NOISE_SECONDS * rate, ""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    for path in paths:
        try:
            noise = decode_sound(path, rate, name=str(path))[:room]
        except AudioError as error:
            problem = problem or str(error)
            continue
        loudness = float(np.sqrt(np.mean(np.square(noise, dtype=np.float64)))) if len(noise) else 0.0
        if loudness > 0:
            parts.append(noise / np.float32(loudness))
            room -= len(noise)
        if room <= 0:
            break
    if not parts:
        raise DataError(
            f"views.noise.folder is {folder}, which has no recording of noise that can be used"
            + (f" (first: {problem})" if problem else "")
            + ": give a folder of WAV or FLAC files, or leave it out for made noise"
        )
    return np.concatenate(parts)
