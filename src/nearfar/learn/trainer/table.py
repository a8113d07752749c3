"""What happens around a step over rows: the health of what comes of it, and figures on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.evaluate.health import measure_health
from nearfar.learn.data.split import VALIDATION
from nearfar.learn.data.table_batches import RowBatch, TrainingRows, views_of
from nearfar.learn.data.table_rows import Ints, RowCorpus
from nearfar.learn.encoders.table import TableEncoder
from nearfar.learn.losses import Negatives
from nearfar.learn.methods.scarf import Scarf
from nearfar.learn.trainer.health import HealthWatch
from nearfar.learn.trainer.neighbours import Neighbours

_ROWS_AT_A_TIME = 1024
_BANK = 10_000
_VIEWED = 256


class RowSteps:
    """Watches over the health of a method over rows.

    Args:
        total_steps: of the whole run.

    Attributes:
        sources: nothing; all negatives are in the batch.
    """

    def __init__(self, *, total_steps: int) -> None:
        self.sources: nn.Module = nn.Module()
        self._step = 0
        self._health = HealthWatch("scarf", total_steps)

    @property
    def note(self) -> str:
        """Spread and effective rank of the features, as of the last ledger."""
        return self._health.note

    def before(self, batch: RowBatch, step: int) -> RowBatch:
        """The views are drawn already."""
        return batch

    def given(self, embedded: Any, step: int) -> tuple[Any, Sequence[Any]]:
        """Nothing besides the batch."""
        self._step = step
        return embedded, ()

    def for_loss(self, embedded: Any, sources: Sequence[Any]) -> tuple[Negatives, ...]:
        """Nothing."""
        return ()

    def remember(self, batch: RowBatch, embedded: Any, step: int) -> None:
        """Nothing."""

    def ledger(self, embedded: Any, sources: Sequence[Any]) -> dict[str, float]:
        """The health of the step; warns once where it looks like a collapse."""
        return self._health.look(embedded[0], embedded[1], self._step)


class OnlineRowFigures:
    """Figures on validation rows while training: kNN where there are labels, and the health of what was never trained on.

    Args:
        rows: what is trained on; also says how views are drawn.
        k: neighbours that vote.
    """

    def __init__(self, rows: TrainingRows, *, k: int) -> None:
        corpus = rows.corpus
        rng = np.random.default_rng([rows.seed, 2])
        self._corpus = corpus
        validation = rng.permutation(corpus.numbers_of(VALIDATION))
        self._neighbours = Neighbours.drawn(
            corpus, validation, rng, classes=len(corpus.counts.classes), k=k, most=_BANK
        )
        self._views = None
        if len(validation) >= 2:
            viewed = np.sort(validation[:_VIEWED])
            self._views = views_of(corpus, viewed, rows.numbers, rows.columns, rows.settings, rng)

    @property
    def has_labels(self) -> bool:
        """Whether kNN can be measured."""
        return self._neighbours.possible

    def measure(self, method: Scarf) -> dict[str, float]:
        """Health figures and, where there are labels, `knn_accuracy` of a method in training."""
        figures: dict[str, float] = {}
        if self._views is not None:
            values, codes = (torch.from_numpy(part) for part in self._views)
            views = [embed_features(method.encoder, values[:, view], codes[:, view]) for view in (0, 1)]
            health = measure_health(np.stack(views, axis=1), 0)
            figures = {name: value for name, value in health._asdict().items() if name not in ("step", "view_chance")}
        if self.has_labels:
            figures["knn_accuracy"] = self._neighbours.accuracy(
                lambda numbers: embed_stored(method.encoder, self._corpus, numbers)
            )
        return figures


def embed_stored(encoder: TableEncoder, corpus: RowCorpus, numbers: Ints) -> npt.NDArray[np.float32]:
    """Unit vectors (n, dim) of prepared rows."""
    return embed_features(encoder, torch.from_numpy(corpus.values[numbers]), torch.from_numpy(corpus.codes[numbers]))


@torch.no_grad()
def embed_features(
    encoder: TableEncoder, values: Tensor, codes: Tensor, dim: int | None = None
) -> npt.NDArray[np.float32]:
    """Unit vectors (n, dim) of the features of rows; the encoder is in eval mode only meanwhile.

    Args:
        encoder: what embeds.
        values: float32 (n, F).
        codes: int64 (n, F).
        dim: keep only the first so many components, before scaling to unit length.
    """
    device = next(encoder.parameters()).device
    training = encoder.training
    encoder.eval()
    try:
        parts = [np.zeros((0, dim or encoder.dim), np.float32)]
        for some, which in zip(torch.split(values, _ROWS_AT_A_TIME), torch.split(codes, _ROWS_AT_A_TIME), strict=True):
            vectors = encoder(some.to(device), which.to(device))[:, :dim].float()
            parts.append(nn.functional.normalize(vectors, dim=-1).cpu().numpy())
    finally:
        encoder.train(training)
    return np.concatenate(parts)
