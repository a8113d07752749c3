"""What happens around a step over recordings: their views, and figures on the way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.evaluate.health import measure_health
from nearfar.evaluate.verification import Trials, equal_error_rate
from nearfar.frontend import AudioFrontend
from nearfar.learn.data.clip_rows import ClipBatch, parts_of
from nearfar.learn.data.clips import ClipCorpus, Ints
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.data.stored_sound import of_stored
from nearfar.learn.encoders.audio import AudioEncoder
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.trainer.eval_mode import in_eval_mode
from nearfar.learn.trainer.neighbours import Neighbours
from nearfar.learn.trainer.pictures import ViewSteps
from nearfar.learn.views.audio import SoundViews

Vectors = npt.NDArray[np.float32]
Samples = npt.NDArray[np.float32]

_SAMPLES_AT_A_TIME = 2**20  # about a minute at 16 kHz
_VALIDATED, _BANK = 1_000, 4_000
_VIEWED = 256


class ClipSteps(ViewSteps):
    """Makes the views as normalised spectrograms, so that what is hidden of them is hidden from each encoder alike."""

    def made(self, batch: ClipBatch) -> tuple[Tensor, ...]:
        """The views that the method looks at, each (n, bands, frames)."""
        return spectra_of(self.views, self.method.encoder, batch)


def spectra_of(views: SoundViews, encoder: AudioEncoder, batch: ClipBatch) -> tuple[Tensor, ...]:
    """The views of a batch as an encoder looks at them, each (n, bands, frames).

    Args:
        views: how they are made.
        encoder: whose spectrogram it is.
        batch: on the device where the encoder is.
    """
    with torch.no_grad():
        return tuple(
            views.hide(encoder.spectrum(waves), batch.draws.of_view(number))
            for number, waves in enumerate(views.apply(batch.parts, batch.draws))
        )


class ClipFigures:
    """Figures on validation recordings while training: kNN where labels are on both sides, equal error rate where identities are
    learned, and the health of what was never trained on.

    Args:
        corpus: the recordings.
        views: how views are drawn; two of each recording.
        frontend: how the encoder hears them.
        identity: whether labels are identities.
        seed: of what is drawn once.
        k: neighbours that vote.
        strangers: whether no validation recording is of a label that is trained on; a part of them then names the others, the
            nearest alone.
    """

    def __init__(
        self,
        corpus: ClipCorpus,
        views: SoundViews,
        *,
        frontend: AudioFrontend,
        identity: bool,
        seed: int,
        k: int,
        strangers: bool = False,
    ) -> None:
        rng = np.random.default_rng([seed, 2])
        self._corpus, self._views = corpus, views
        self._frontend = of_stored(frontend.settings)
        validation = rng.permutation(corpus.numbers_of(VALIDATION))
        self._neighbours = Neighbours.drawn(
            corpus, validation, rng, classes=len(corpus.counts.classes), k=k, most=_BANK, strangers=strangers
        )
        self._asked = np.sort(validation[corpus.labels[validation] >= 0][:_VALIDATED])
        _, repeated = np.unique(corpus.labels[self._asked], return_counts=True)
        self.has_identities = identity and len(repeated) > 1 and bool((repeated > 1).any())
        viewed = np.sort(validation[:_VIEWED])
        draws = views.draw(len(viewed), rng)
        self._viewed = ClipBatch(
            parts_of(corpus, viewed, views, draws),
            draws,
            torch.from_numpy(viewed),
            torch.from_numpy(corpus.labels[viewed]),
        )

    @property
    def has_labels(self) -> bool:
        """Whether kNN can be measured."""
        return self._neighbours.possible

    @property
    def shown(self) -> str:
        """The figure to show beside the loss."""
        return "eer" if self.has_identities else "knn_accuracy" if self.has_labels else "view_recall"

    def measure(self, method: ImageMethod) -> dict[str, float]:
        """Health figures, and `knn_accuracy` and `eer` where they can be had, of a method in training."""
        figures: dict[str, float] = {}
        if len(self._viewed.items) >= 2:
            features = np.stack(self._viewed_by(method.encoder), axis=1)
            if features.shape[1] > 1:
                health = measure_health(features, 0)
                figures = {name: v for name, v in health._asdict().items() if name not in ("step", "view_chance")}
        if self.has_labels:
            figures["knn_accuracy"] = self._neighbours.accuracy(lambda numbers: self._embedded(method, numbers))
        if self.has_identities:
            figures["eer"] = pairwise_eer(self._embedded(method, self._asked), self._corpus.labels[self._asked])
        return figures

    def _viewed_by(self, encoder: AudioEncoder) -> list[Vectors]:
        device = encoder.mean.device
        batch = ClipBatch(self._viewed.parts.to(device), self._viewed.draws.to(device), *self._viewed[2:])
        with in_eval_mode(encoder), torch.no_grad():
            return [_units(encoder(view), None) for view in spectra_of(self._views, encoder, batch)]

    def _embedded(self, method: ImageMethod, numbers: Ints) -> Vectors:
        waves = [self._frontend.fitted(self._corpus.waves(int(number))) for number in numbers]
        return embed_waves(method.encoder, waves)


def pairwise_eer(vectors: Vectors, labels: Ints) -> float:
    """Equal error rate of the cosines of all pairs of samples: of one with one, not with a template. To watch, not to report.

    Args:
        vectors: (n, d), rows of unit length.
        labels: (n,).
    """
    first, second = np.triu_indices(len(vectors), 1)
    scores, same = (vectors @ vectors.T)[first, second].astype(np.float64), labels[first] == labels[second]
    genuine, impostor = first[same], ~same
    trials = Trials(
        genuine=scores[same],
        genuine_of=labels[genuine],
        same_session=np.zeros(len(genuine), bool),
        impostor=scores[impostor],
        impostor_sample=labels[first[impostor]],
        impostor_template=labels[second[impostor]],
    )
    return float(equal_error_rate(trials))


@torch.no_grad()
def embed_waves(encoder: AudioEncoder, waves: Sequence[Samples], dim: int | None = None) -> Vectors:
    """Unit vectors (n, dim) of recordings as a frontend prepares them; those of one length go through the encoder together.

    Args:
        encoder: what embeds; it is in eval mode only meanwhile.
        waves: n arrays (t,) in [-1, 1].
        dim: keep only the first so many components, before scaling to unit length.
    """
    made = np.zeros((len(waves), dim or encoder.dim), np.float32)
    with in_eval_mode(encoder):
        order = sorted(range(len(waves)), key=lambda number: len(waves[number]))
        for length, group in groupby(order, key=lambda number: len(waves[number])):
            alike = list(group)
            size = max(1, _SAMPLES_AT_A_TIME // length)
            for start in range(0, len(alike), size):
                part = alike[start : start + size]
                batch = torch.from_numpy(np.stack([waves[number] for number in part]))
                made[part] = _units(encoder(batch.to(encoder.mean.device)), dim)
    return made


def _units(vectors: Tensor, dim: int | None) -> Vectors:
    unit: Vectors = nn.functional.normalize(vectors[:, :dim].float(), dim=-1).cpu().numpy()
    return unit
