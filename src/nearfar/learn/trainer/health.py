"""Watching over the health of a method while it trains, whatever it learns from."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from torch import Tensor

from nearfar.errors import CollapseWarning
from nearfar.evaluate.diagnose import diagnose
from nearfar.evaluate.health import Health, measure_health


class HealthWatch:
    """Measures what comes of a step, remembers it, and warns once where it looks like a collapse.

    Args:
        kind: the name of the method in the recipe, for messages.
        total_steps: of the whole run.
    """

    def __init__(self, kind: str, total_steps: int) -> None:
        self._kind, self._total_steps = kind, total_steps
        self._features: list[Health] = []
        self._compared: list[Health] = []
        self._warned = False

    @property
    def note(self) -> str:
        """Spread and effective rank of the features, as of the last look; empty before the first."""
        if not self._features:
            return ""
        last = self._features[-1]
        return f"std {last.embedding_std:.2f} rank {last.effective_rank:.0f}"

    def look(self, features: Tensor, compared: Tensor, step: int) -> dict[str, float]:
        """The figures of a step for the log.

        Args:
            features: (n, V, d) or (n, d), what the encoder makes of the views of n items.
            compared: likewise, what the loss compares.
            step: their step.

        Returns:
            Figures by name; nothing of fewer than two items, which tell nothing.
        """
        if len(features) < 2 or len(compared) < 2:
            return {}
        seen, held = (measure_health(_views(vectors), step) for vectors in (features, compared))
        self._features.append(seen)
        self._compared.append(held)
        if not self._warned:
            found = diagnose(self._features, self._compared, method=self._kind, total_steps=self._total_steps)
            if found is not None:
                self._warned = True
                warnings.warn(found, CollapseWarning, stacklevel=2)
        figures = {f"health/{name}": value for name, value in seen._asdict().items() if name != "step"}
        return figures | {"health/compared_std": held.embedding_std, "health/compared_rank": held.effective_rank}


def _views(vectors: Tensor) -> npt.NDArray[np.float32]:
    """As (n, V, d), V of 1 where there is none."""
    whole = vectors if vectors.ndim == 3 else vectors.unsqueeze(1)
    rows: npt.NDArray[np.float32] = whole.detach().float().cpu().numpy()
    return rows
