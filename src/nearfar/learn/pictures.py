"""Pictures as a workload: what a run directory holds of them, and what a fit trains on."""

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
from nearfar.frontend import ImageFrontend, ImageSettings
from nearfar.learn.data.identity_batches import trained_identities
from nearfar.learn.data.picture_rows import PictureRows
from nearfar.learn.data.pictures import PictureCorpus, prepare_pictures
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.encoders.build_image import build_image_encoder
from nearfar.learn.encoders.heads import norm_by_item
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.methods.build import build_view_method, views_looked_at
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.towers.start import check_start, load_start
from nearfar.learn.trained import Trained
from nearfar.learn.trainer.fit import load_weights, planned_steps
from nearfar.learn.trainer.pictures import OnlineFigures, ViewSteps, embed_pixels
from nearfar.learn.trainer.workload import Workload
from nearfar.learn.views import Views
from nearfar.progress import Stages
from nearfar.recipe import Recipe
from nearfar.recipe.methods import Classifier

_ITEMS_AT_A_TIME = 1024


@dataclass(frozen=True)
class PreparedPictures:
    """The pictures of a run.

    Attributes:
        corpus: pixels, labels and sides.
    """

    corpus: PictureCorpus

    @classmethod
    def open(cls, directory: Path) -> PreparedPictures:
        """Open what `prepare` left in a run directory."""
        return cls(PictureCorpus.open(directory / "data"))

    @classmethod
    def prepare(cls, recipe: Recipe, directory: Path, stages: Stages) -> PreparedPictures:
        """Read the pictures of a recipe; what is finished is taken up as it is.

        Raises:
            DataError: where the data cannot be used.
        """
        data = directory / "data"
        if (data / "pictures.json").is_file():
            return cls.open(directory)
        _check_encoder(recipe)
        return cls(prepare_pictures(recipe.data, recipe.of_images.frontend, data, recipe.seed, stages("reading")))

    def views(self, recipe: Recipe) -> Views:
        """How views are made."""
        frontend = recipe.of_images.frontend
        return Views(recipe.of_images.views, size=frontend.size, channels=frontend.channels)

    def workload(self, recipe: Recipe, *, threads: int, say: Callable[[str], None]) -> Workload:
        """What a fit works on; see `Prepared`."""
        views, settings, frontend = self.views(recipe), recipe.of_images.method, recipe.of_images.frontend
        if recipe.identity is not None:
            rows = PictureRows.by_identity(self.corpus, views, recipe.identity, seed=recipe.seed)
            if rows.identities is not None and rows.identities.singles:
                singles = rows.identities.singles // rows.turned
                say(f"{singles:,} identities have one sample only: only its views tell how it may look")
        else:
            rows = PictureRows.of(
                self.corpus,
                views,
                seed=recipe.seed,
                labels_per_class=recipe.data.labels_per_class,
                labelled_only=isinstance(settings, Classifier),
            )
        steps = planned_steps(recipe, len(rows))
        method = build_method(recipe, self.corpus)
        validation = None
        if bool((self.corpus.side == VALIDATION).any()):
            validation = OnlineFigures(
                self.corpus,
                views,
                frontend=frontend,
                seed=recipe.seed,
                k=recipe.evaluate.neighbours,
                strangers=recipe.identity is not None and recipe.data.split.identities == "unseen",
            )
            if recipe.train.early_stop is not None and not validation.has_labels:
                raise DataError(
                    "train.early_stop watches knn_accuracy, which needs labelled pictures on both sides: set data.source.labels "
                    "to folder or data.source.columns.label, or train.early_stop to null"
                )
        shown = "knn_accuracy" if validation is not None and validation.has_labels else "view_recall"
        count = views_looked_at(settings, identity=recipe.identity is not None)
        surroundings = ViewSteps(method, views, kind=settings.kind, total_steps=steps, count=count)
        slower = [(method.encoder, settings.encoder_rate)] if isinstance(settings, Classifier) else []
        return Workload(rows, method, steps, surroundings, validation, shown=shown, groups=slower)

    def trained(self, recipe: Recipe, directory: Path) -> TrainedPictures:
        """The finished run that they belong to."""
        return TrainedPictures(directory, recipe, self)


@dataclass(frozen=True)
class TrainedPictures(Trained[PictureCorpus]):
    """A finished run over pictures."""

    prepared: PreparedPictures

    @property
    def frontend(self) -> ImageFrontend:
        """Picture to pixels, as on the device."""
        settings = self.recipe.of_images.frontend
        return ImageFrontend(ImageSettings(size=settings.size, channels=settings.channels, fit=settings.fit))

    def method(self) -> ImageMethod:
        """The trained method, with the best weights of the run."""
        # Not from `encoder.start`, which may be gone by now: all weights are in the checkpoint.
        method = _method(self.recipe, self.corpus, _encoder(self.recipe, self.corpus))
        load_weights(method, self.directory / "checkpoints" / "best.ckpt")
        return method

    def embedder(self, *, dim: int | None = None) -> PictureEmbedder:
        """The trained encoder in float."""
        return PictureEmbedder(self.method().encoder, self.frontend, dim=dim)

    def untrained(self) -> PictureEmbedder:
        """The same encoder as it was before the first step, but with random weights even where it had others to start from."""
        return PictureEmbedder(_encoder(self.recipe, self.corpus), self.frontend)


class PictureEmbedder:
    """An image encoder in torch as an Embedder: what the bundle is compared with.

    Args:
        encoder: what embeds.
        frontend: picture to pixels.
        dim: keep only so many components.
    """

    def __init__(self, encoder: ViewEncoder, frontend: ImageFrontend, *, dim: int | None = None) -> None:
        self.encoder, self.frontend = encoder, frontend
        self._dim = dim or encoder.dim

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._dim

    def embed(self, items: Sequence[Any], side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed pictures (paths, encoded bytes or arrays); float32 (n, dim), rows of unit length."""
        parts = [np.zeros((0, self._dim), np.float32)]
        for first in range(0, len(items), _ITEMS_AT_A_TIME):
            pixels = self.frontend.encode(items[first : first + _ITEMS_AT_A_TIME])
            parts.append(embed_pixels(self.encoder, torch.from_numpy(pixels), self._dim))
        return np.concatenate(parts)


def build_method(recipe: Recipe, corpus: PictureCorpus) -> ImageMethod:
    """The method of a recipe with fresh weights, drawn from the recipe's seed; its encoder with those of `encoder.start`, if given.

    Raises:
        RunError: where the encoder does not fit the pictures, or the weights to start from cannot be had.
    """
    encoder = _encoder(recipe, corpus)
    start = recipe.of_images.encoder.start
    if start is not None:
        load_start(encoder, start, "encoder.start")
    return _method(recipe, corpus, encoder)


def _method(recipe: Recipe, corpus: PictureCorpus, encoder: ImageEncoder) -> ImageMethod:
    classes = len(corpus.counts.classes)
    if recipe.identity is not None:
        classes = len(trained_identities(corpus)) * recipe.identity.turned
    method = build_view_method(recipe.of_images.method, encoder, items=len(corpus.labels), classes=classes)
    if getattr(recipe.of_images.encoder, "norm", "batch") == "group":
        norm_by_item(method)  # the heads too: one BatchNorm is enough to make pictures depend on each other
    return method


def _encoder(recipe: Recipe, corpus: PictureCorpus) -> ImageEncoder:
    torch.manual_seed(recipe.seed)
    _, frontend, _, settings, _ = recipe.of_images
    encoder = build_image_encoder(settings, size=frontend.size, channels=frontend.channels)
    encoder.normalise_by(corpus.counts.mean, corpus.counts.std)
    return encoder


def _check_encoder(recipe: Recipe) -> None:
    """Meet an encoder that cannot be, does not take the views or has nothing to start from, before an hour of reading.

    Raises:
        RunError: which of these.
    """
    _, frontend, views, settings, _ = recipe.of_images
    encoder = build_image_encoder(settings, size=frontend.size, channels=frontend.channels)
    if settings.start is not None:
        check_start(settings.start, "encoder.start")
        load_start(encoder, settings.start, "encoder.start")
    encoder.eval()
    with torch.no_grad():
        for size in dict.fromkeys(views.sizes(frontend.size)):
            encoder(torch.zeros(1, frontend.channels, size, size))
