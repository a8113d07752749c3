"""The encoder of sound that a recipe asks for."""

from __future__ import annotations

from nearfar.frontend.settings import AudioSettings
from nearfar.learn.encoders.audio import AudioEncoder
from nearfar.learn.encoders.ecapa import Ecapa
from nearfar.learn.encoders.mel_cnn import MelCnn
from nearfar.recipe.audio import AudioEncoderSettings, EcapaEncoder


def build_audio_encoder(settings: AudioEncoderSettings, audio: AudioSettings) -> AudioEncoder:
    """The encoder that a recipe asks for, with fresh weights from torch's own generator, in training mode.

    Args:
        settings: the recipe's encoder block.
        audio: how samples become a spectrogram.
    """
    return Ecapa(settings, audio) if isinstance(settings, EcapaEncoder) else MelCnn(settings, audio)
