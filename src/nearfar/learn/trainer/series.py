"""What happens around a step over windows: their views, how far faults lie from normal, and figures on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

from nearfar.evaluate.anomaly import auc_pr
from nearfar.learn.data.frames import SeriesCorpus
from nearfar.learn.data.split import TRAIN, VALIDATION
from nearfar.learn.data.window_batch import DrawnBatch, WindowBatch
from nearfar.learn.data.windows import Windows, faulty_windows
from nearfar.learn.encoders.series import SeriesEncoder
from nearfar.learn.losses import Negatives
from nearfar.learn.methods.fault_contrast import Embedded, FaultContrast
from nearfar.learn.views.series import WindowViews
from nearfar.recipe.series import Faults

Floats = npt.NDArray[np.float32]

_WINDOWS_AT_A_TIME = 512
_NORMAL, _VALIDATED = 2048, 512


class WindowSteps:
    """Makes the views, and tells how far healthy windows and faults lie apart.

    Args:
        views: how views are made.

    Attributes:
        sources: nothing; the method remembers nothing.
        note: the last figures, for the screen.
    """

    def __init__(self, views: WindowViews) -> None:
        self.views = views
        self.sources: nn.Module = nn.Module()
        self.note = ""

    def before(self, batch: DrawnBatch, step: int) -> WindowBatch:
        """The views of the windows, on the device where the encoder is."""
        windows, present = self.views.apply(batch.batch.windows, batch.batch.present, batch.draws)
        return batch.batch._replace(windows=windows, present=present)

    def given(self, embedded: Any, step: int) -> tuple[Any, Sequence[Any]]:
        """Nothing besides the batch."""
        return embedded, ()

    def for_loss(self, embedded: Any, sources: Sequence[Any]) -> tuple[Negatives, ...]:
        """Nothing."""
        return ()

    def remember(self, batch: WindowBatch, embedded: Any, step: int) -> None:
        """Nothing."""

    def ledger(self, embedded: Embedded, sources: Sequence[Any]) -> dict[str, float]:
        """Mean distances of healthy windows, and of faults, from the healthy window that they are compared with."""
        healthy, faulty = embedded.healthy.detach().float(), embedded.faulty.detach().float()
        pair = float((healthy[:, 0] - healthy[:, 1]).norm(dim=1).mean())
        fault = float((faulty[:, 0] - healthy[:, 1]).norm(dim=1).mean())
        self.note = f"faults {fault / max(pair, 1e-9):.1f}x as far"
        return {"distance/healthy": pair, "distance/fault": fault}


class FaultFigures:
    """How well faults that are injected into validation windows are told from healthy ones, by the distance from normal.

    The distance is Mahalanobis' from the mean of the machine's training windows, by one covariance of all machines: one encoder,
    and statistics of each device.

    Args:
        corpus: the frames; it must have validation windows.
        faults: what is injected, once.
        seed: of the injection.
    """

    def __init__(self, corpus: SeriesCorpus, faults: Faults, *, seed: int) -> None:
        settings = corpus.settings
        normal, held_out = Windows.of(corpus, TRAIN), Windows.of(corpus, VALIDATION)
        known = np.isin(held_out.machines, normal.machines)
        self.possible = bool(known.any())
        if not self.possible:
            return
        references = normal.evenly(_NORMAL)
        # Of every machine some, or it would have no normal.
        firsts = np.unique(normal.machines, return_index=True)[1]
        references = np.union1d(references, firsts)
        asked = np.flatnonzero(known)[np.linspace(0, known.sum() - 1, min(_VALIDATED, int(known.sum()))).astype(int)]
        self._normal, self._owners = normal.scaled(references), normal.machines[references]
        values, present = held_out.scaled(asked)
        rng = np.random.default_rng([seed, 2])
        faulty = faulty_windows(values, present, faults, rng, settings.channel_of_feature, settings.clip)
        self._asked = np.concatenate([values, faulty]), np.concatenate([present, present])
        self._whose = np.tile(held_out.machines[asked], 2)
        self._labels = np.repeat(np.array([0, 1], np.int8), len(asked))
        self._raw = self._separated(_means(*self._normal), _means(*self._asked))

    def measure(self, method: FaultContrast) -> dict[str, float]:
        """`fault_auc_pr` of the embeddings, and `raw_auc_pr` of the means of the windows, which does not change."""
        embedded = [embed_windows(method.encoder, *part) for part in (self._normal, self._asked)]
        return {"fault_auc_pr": self._separated(*embedded), "raw_auc_pr": self._raw}

    def _separated(self, normal: Floats, asked: Floats) -> float:
        if not np.isfinite(normal).all() or not np.isfinite(asked).all():
            return 0.0  # the fit says so in its end
        owners, places = np.unique(self._owners, return_inverse=True)
        wide = normal.astype(np.float64)
        centres = np.stack([wide[places == number].mean(axis=0) for number in range(len(owners))])
        covariance, _ = ledoit_wolf(wide - centres[places], assume_centered=True)
        moved = asked - centres[np.searchsorted(owners, self._whose)]
        distances = np.einsum("nd,de,ne->n", moved, np.linalg.pinv(covariance), moved)
        return auc_pr(self._labels, distances)


def _means(values: Floats, present: Floats) -> Floats:
    """What plain statistics see: the mean of each window, (n, F)."""
    mean: Floats = values.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return mean


@torch.no_grad()
def embed_windows(encoder: SeriesEncoder, values: Floats, present: Floats) -> Floats:
    """Embeddings (n, dim), not of unit length, of scaled windows (n, T, F); the encoder is in eval mode only meanwhile."""
    device = encoder.last.weight.device
    was_training = encoder.training
    encoder.eval()
    parts: list[Tensor] = [torch.zeros(0, encoder.dim)]
    try:
        for first in range(0, len(values), _WINDOWS_AT_A_TIME):
            some = slice(first, first + _WINDOWS_AT_A_TIME)
            window, there = (torch.from_numpy(part[some]).to(device) for part in (values, present))
            parts.append(encoder(window, there).float().cpu())
    finally:
        encoder.train(was_training)
    return np.asarray(torch.cat(parts).numpy(), np.float32)
