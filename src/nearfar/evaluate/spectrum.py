"""Log-mel spectra as embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nearfar.embedder import Side
from nearfar.evaluate.knn import Vectors
from nearfar.evaluate.pixels import at_unit_length
from nearfar.frontend.audio import AudioFrontend
from nearfar.frontend.log_mel import log_mel


class SpectrumEmbedder:
    """The baseline that any encoder of sound has to beat: mean and standard deviation over time of each band, at unit length.

    The mean over the bands of either is taken away first: without it all sounds are much alike.

    Args:
        frontend: recording to samples; its bands are those of the encoder, but their means over the recording stay.
    """

    def __init__(self, frontend: AudioFrontend) -> None:
        self._frontend = frontend
        self._settings = frontend.settings.model_copy(update={"centre": False})

    @property
    def dim(self) -> int:
        """Twice the number of bands."""
        return 2 * self._settings.bands

    def embed(self, items: Sequence[Any], side: Side = "document") -> Vectors:
        """(n, dim) float32, rows of unit length."""
        del side
        vectors = np.empty((len(items), self.dim), dtype=np.float32)
        for row, item in enumerate(items):
            bands = log_mel(self._frontend.prepare(item)[None], self._settings)[0]
            parts = (bands.mean(axis=1), bands.std(axis=1))
            vectors[row] = np.concatenate([part - part.mean() for part in parts])
        return at_unit_length(vectors)
