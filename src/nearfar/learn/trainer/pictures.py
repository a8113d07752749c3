"""What happens around a step over pictures: their views, the health of what comes of them, and figures on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.evaluate.health import measure_health
from nearfar.learn.data.picture_rows import as_on_device, stored
from nearfar.learn.data.pictures import Ints, PictureCorpus
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.encoders.view_encoder import ViewEncoder
from nearfar.learn.losses import Negatives
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.trainer.health import HealthWatch
from nearfar.learn.trainer.neighbours import Neighbours
from nearfar.learn.views import Views
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.images import ImageFrontendSettings

_PICTURES_AT_A_TIME = 256
_BANK = 10_000
_VIEWED = 256


class ViewSteps:
    """Makes the views, lets the method remember and follow, and watches over its health.

    Args:
        method: what is trained.
        views: how views are made.
        kind: the name of the method in the recipe, for messages.
        total_steps: of the whole run.
        count: views that the method looks at, the first ones; None for all.

    Attributes:
        sources: nothing; what is remembered belongs to the method.
    """

    def __init__(
        self, method: ImageMethod, views: Any, *, kind: str, total_steps: int, count: int | None = None
    ) -> None:
        self.method, self.views, self.total_steps, self.count = method, views, total_steps, count
        self.sources: nn.Module = nn.Module()
        self._step = 0
        self._health = HealthWatch(kind, total_steps)

    @property
    def note(self) -> str:
        """Spread and effective rank of the features, as of the last ledger."""
        return self._health.note

    def before(self, batch: Any, step: int) -> ViewBatch:
        """The views of the items, on the device where the encoder is."""
        if step:
            self.method.follow(step, self.total_steps)
        return ViewBatch(self.made(batch), batch.items, batch.labels)

    def made(self, batch: Any) -> tuple[Tensor, ...]:
        """The views that the method looks at, as its encoder takes them."""
        return tuple(map(_channels_last, self.views.apply(batch.pixels, batch.draws, count=self.count)))

    def given(self, embedded: Any, step: int) -> tuple[Any, Sequence[Any]]:
        """Nothing besides the batch: a method has its own queue or bank."""
        self._step = step
        return embedded, ()

    def for_loss(self, embedded: Any, sources: Sequence[Any]) -> tuple[Negatives, ...]:
        """Nothing."""
        return ()

    def remember(self, batch: ViewBatch, embedded: Any, step: int) -> None:
        """The method's own memory."""
        with torch.no_grad():
            self.method.remember(embedded)

    def ledger(self, embedded: Any, sources: Sequence[Any]) -> dict[str, float]:
        """The health of the step; warns once where it looks like a collapse."""
        return self._health.look(embedded[0], embedded[1], self._step)


class OnlineFigures:
    """Figures on validation pictures while training: kNN where there are labels, and the health of what was never trained on.

    Args:
        corpus: the pictures.
        views: how views are made.
        frontend: how the encoder sees them.
        seed: of what is drawn once.
        k: neighbours that vote.
        strangers: whether no validation picture is of a label that is trained on; a part of them then names the others, the
            nearest alone.
    """

    def __init__(
        self,
        corpus: PictureCorpus,
        views: Views,
        *,
        frontend: ImageFrontendSettings,
        seed: int,
        k: int,
        strangers: bool = False,
    ) -> None:
        rng = np.random.default_rng([seed, 2])
        self._corpus, self._views, self._frontend = corpus, views, frontend
        validation = rng.permutation(corpus.numbers_of(VALIDATION))
        self._neighbours = Neighbours.drawn(
            corpus, validation, rng, classes=len(corpus.counts.classes), k=k, most=_BANK, strangers=strangers
        )
        self._viewed = np.sort(validation[:_VIEWED])
        self._draws = views.draw(corpus.aspects[self._viewed], rng)

    @property
    def has_labels(self) -> bool:
        """Whether kNN can be measured."""
        return self._neighbours.possible

    def measure(self, method: ImageMethod) -> dict[str, float]:
        """Health figures and, where there are labels, `knn_accuracy` of a method in training."""
        figures: dict[str, float] = {}
        if len(self._viewed) >= 2:
            # One view after the other, on the CPU where the draws are.
            views = self._views.apply(stored(self._corpus, self._viewed), self._draws, count=2)
            features = np.stack([embed_pixels(method.encoder, view) for view in views], axis=1)
            health = measure_health(features, 0)
            figures = {name: value for name, value in health._asdict().items() if name not in ("step", "view_chance")}
        if self.has_labels:
            figures["knn_accuracy"] = self._neighbours.accuracy(lambda numbers: self._embedded(method, numbers))
        return figures

    def _embedded(self, method: ImageMethod, numbers: Ints) -> npt.NDArray[np.float32]:
        return embed_stored(method.encoder, self._corpus, numbers, self._frontend.size, fit=self._frontend.fit)


def embed_stored(
    encoder: ViewEncoder, corpus: PictureCorpus, numbers: Ints, size: int, *, fit: Literal["crop", "squash"] = "crop"
) -> npt.NDArray[np.float32]:
    """Unit vectors (n, dim) of the plain views of prepared pictures, seen at `size` x `size` pixels as on the device."""
    parts = [np.zeros((0, encoder.dim), np.float32)]
    for first in range(0, len(numbers), _PICTURES_AT_A_TIME):
        some = numbers[first : first + _PICTURES_AT_A_TIME]
        parts.append(embed_pixels(encoder, as_on_device(corpus, some, size, fit)))
    return np.concatenate(parts)


@torch.no_grad()
def embed_pixels(encoder: ViewEncoder, pixels: Tensor, dim: int | None = None) -> npt.NDArray[np.float32]:
    """Unit vectors (n, dim) of pictures (n, c, h, w) in [0, 1]; the encoder is in eval mode only meanwhile.

    Args:
        encoder: what embeds.
        pixels: the pictures.
        dim: keep only the first so many components, before scaling to unit length.
    """
    device = encoder.mean.device
    training = [module for module in encoder.modules() if module.training]
    encoder.eval()
    try:
        parts = [
            nn.functional.normalize(encoder(_channels_last(part.to(device)))[:, :dim].float(), dim=-1).cpu().numpy()
            for part in torch.split(pixels, _PICTURES_AT_A_TIME)
        ]
    finally:
        for module in training:
            module.training = True
    return np.concatenate(parts)


def _channels_last(images: Tensor) -> Tensor:
    """The memory order in which convolutions are fastest, on CPU and GPU alike."""
    return images.contiguous(memory_format=torch.channels_last)
