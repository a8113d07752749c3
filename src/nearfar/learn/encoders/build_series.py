"""The encoder of windows that a recipe asks for."""

from __future__ import annotations

from typing import assert_never

from nearfar.learn.encoders.dilated_cnn import DilatedCnn
from nearfar.learn.encoders.patch_transformer import PatchTransformer
from nearfar.learn.encoders.series import SeriesEncoder
from nearfar.learn.encoders.spectral import Spectral
from nearfar.recipe.series import (
    DilatedCnnEncoder,
    PatchTransformerEncoder,
    SeriesEncoderSettings,
    SpectralEncoder,
)


def build_series_encoder(settings: SeriesEncoderSettings, *, window: int, features: int) -> SeriesEncoder:
    """The encoder that a recipe asks for, with fresh weights from torch's own generator.

    Args:
        settings: the recipe's encoder block.
        window: frames of a window, `frontend.window`.
        features: numbers of a frame.
    """
    match settings:
        case DilatedCnnEncoder():
            return DilatedCnn(settings, window=window, features=features)
        case PatchTransformerEncoder():
            return PatchTransformer(settings, window=window, features=features)
        case SpectralEncoder():
            return Spectral(settings, window=window, features=features)
        case _:
            assert_never(settings)
