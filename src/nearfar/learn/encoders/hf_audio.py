"""The sound tower of a model of `transformers`: samples in, whatever the model itself looks at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.frontend.settings import AudioSettings
from nearfar.learn.encoders.log_mel import fourier_basis
from nearfar.learn.pretrained import keep_parts, load_model, loading
from nearfar.learn.views.audio import hidden_places, with_hidden
from nearfar.recipe.joint import HuggingFaceAudioEncoder

_FILES = "config.json, model.safetensors and preprocessor_config.json"
_LEAST_VARIANCE = 1e-7  # as `transformers` has it
_QUIETEST = 1e-10  # power, as `transformers` has it: -100 dB


class HuggingFaceSoundEncoder(nn.Module, ABC):
    """A pretrained encoder of samples.

    Attributes:
        dim: components of an embedding.
        shortest: samples that it takes at least.
        longest: samples that it takes at most; None for any number.
        frame: samples of the short-time spectrum that it begins with; None where it begins otherwise.
    """

    dim: int
    shortest: int
    longest: int | None = None
    frame: int | None = None

    @abstractmethod
    def prepared(self, waves: Tensor) -> Tensor:
        """What the model looks at, of samples (n, t) in [-1, 1]."""

    @abstractmethod
    def hidden(self, prepared: Tensor, time: Tensor, frequency: Tensor) -> Tensor:
        """The same with a piece of it hidden; see `with_hidden`."""

    @abstractmethod
    def embedded(self, prepared: Tensor) -> Tensor:
        """One vector (n, dim) of each."""

    def with_hidden(self, waves: Tensor, *, time: Tensor, frequency: Tensor) -> Tensor:
        """Embed samples (n, t) of which a piece is hidden; limits (n, 2) are shares of all moments and bands."""
        return self.embedded(self.hidden(self.prepared(waves), time, frequency))

    def forward(self, waves: Tensor) -> Tensor:
        """Embed samples (n, t) in [-1, 1]; returns (n, dim)."""
        return self.embedded(self.prepared(waves))


def build_hf_audio_encoder(
    settings: HuggingFaceAudioEncoder, audio: AudioSettings, *, weights: bool = True
) -> HuggingFaceSoundEncoder:
    """The sound tower of a model, in training mode.

    Args:
        settings: the recipe's encoder block.
        audio: how recordings are prepared.
        weights: those of its authors; else fresh ones, for a checkpoint that brings its own.

    Raises:
        RunError: the model cannot be loaded, hears nothing, or recordings of another rate or length.
        MissingExtraError: `transformers` is not installed.
    """
    model = load_model(settings.model, settings.revision, files=_FILES, kind="sound", weights=weights)
    import transformers

    untyped: Any = transformers
    with loading(settings.model, files=_FILES):
        said = untyped.AutoFeatureExtractor.from_pretrained(
            settings.model, revision=settings.revision, trust_remote_code=False
        )
    if str(model.config.model_type).startswith("clap"):
        encoder: HuggingFaceSoundEncoder = _Clap(model, said)
    elif hasattr(model.config, "conv_stride") and getattr(model, "main_input_name", "") == "input_values":
        encoder = _OfSamples(model, normalise=bool(getattr(said, "do_normalize", True)))
    else:
        raise RunError(
            f"encoder.model {settings.model!r} is of type {model.config.model_type}, which is not one of those that hear samples: "
            "give wav2vec2, HuBERT, WavLM and alike, or CLAP"
        )
    _check_fit(encoder, settings.model, audio, rate=int(said.sampling_rate))
    return encoder


def _check_fit(encoder: HuggingFaceSoundEncoder, model: str, audio: AudioSettings, *, rate: int) -> None:
    if audio.rate != rate:
        raise RunError(f"frontend.rate is {audio.rate}, but {model} hears {rate} samples a second: set it to {rate}")
    if audio.step < encoder.shortest:
        raise RunError(
            f"frontend.min_seconds is {audio.step / rate:g}, but {model} hears at least {encoder.shortest} samples: set it to "
            f"{encoder.shortest / rate:g} or more"
        )
    if encoder.longest is not None and audio.longest > encoder.longest:
        raise RunError(
            f"frontend.max_seconds is {audio.longest / rate:g}, but {model} hears {encoder.longest / rate:g} s at a time: set it to "
            f"{encoder.longest / rate:g} or less"
        )


class _OfSamples(HuggingFaceSoundEncoder):
    """Convolutions over samples, then a transformer (wav2vec2, HuBERT, WavLM): the mean over time of what it gives."""

    def __init__(self, model: Any, *, normalise: bool) -> None:
        super().__init__()
        self.model, self.normalise = model, normalise
        self.dim = int(model.config.hidden_size)
        self.shortest = _field(model.config.conv_kernel, model.config.conv_stride)

    def prepared(self, waves: Tensor) -> Tensor:
        if not self.normalise:
            return waves
        centred = waves - waves.mean(dim=1, keepdim=True)
        return centred / (centred.square().mean(dim=1, keepdim=True) + _LEAST_VARIANCE).sqrt()

    def hidden(self, prepared: Tensor, time: Tensor, frequency: Tensor) -> Tensor:
        # What lies in a band of samples cannot be left out without a filter, so only moments are.
        return prepared.masked_fill(hidden_places(time, prepared.shape[1]), 0.0)

    def embedded(self, prepared: Tensor) -> Tensor:
        pooled: Tensor = self.model(prepared).last_hidden_state.mean(dim=1)
        return pooled


def _field(kernels: list[int], strides: list[int]) -> int:
    """Samples that one output of convolutions in a row looks at."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


class _Clap(HuggingFaceSoundEncoder):
    """CLAP (arXiv:2211.06687): a log-mel spectrogram of ten seconds, shorter sounds repeated, as `ClapFeatureExtractor` has it, with
    real operations only.
    """

    basis: Tensor
    mel: Tensor

    def __init__(self, model: Any, said: Any) -> None:
        super().__init__()
        self.model = model
        self.shared = hasattr(model, "get_audio_features")
        if self.shared:
            keep_parts(model, "audio")
        self.longest, self.frame = int(said.nb_max_samples), int(said.fft_window_size)
        self.shortest = self.frame
        self.hop, self.padding = int(said.hop_length), str(said.padding)
        bands = said.mel_filters if said.truncation == "fusion" else said.mel_filters_slaney
        self.register_buffer("basis", fourier_basis(self.frame), persistent=False)
        self.register_buffer("mel", torch.from_numpy(bands.T.astype("float32")).unsqueeze(2), persistent=False)
        projected = getattr(model.config, "projection_dim", None) if self.shared else None
        self.dim = int(projected or model.config.hidden_size)

    def prepared(self, waves: Tensor) -> Tensor:
        """Bands in dB, (n, bands, frames)."""
        assert self.frame is not None
        with torch.autocast(waves.device.type, enabled=False):
            whole = F.pad(self._filled_up(waves.float()), (self.frame // 2, self.frame // 2), mode="reflect")
            real, imaginary = F.conv1d(whole.unsqueeze(1), self.basis, stride=self.hop).chunk(2, dim=1)
            power = F.conv1d(real.square() + imaginary.square(), self.mel)
            return 10 * torch.log10(power.clamp(min=_QUIETEST))

    def _filled_up(self, waves: Tensor) -> Tensor:
        """Samples (n, longest): a shorter sound again and again as often as the whole of it fits (`repeatpad`), then silence."""
        assert self.longest is not None
        places = torch.arange(self.longest, device=waves.device)
        heard = torch.full_like(
            places[:1], waves.shape[1]
        )  # a tensor, as a length that may be any is no number to the exporter
        whole = torch.div(torch.full_like(heard, self.longest), heard, rounding_mode="floor") * heard
        end = {"repeatpad": whole, "repeat": places[-1:] + 1}.get(self.padding, heard)
        return waves[:, places % heard] * (places < end)

    def hidden(self, prepared: Tensor, time: Tensor, frequency: Tensor) -> Tensor:
        mean = prepared.mean(dim=(1, 2), keepdim=True)
        return with_hidden(prepared - mean, time=time, frequency=frequency) + mean

    def embedded(self, prepared: Tensor) -> Tensor:
        features = prepared.transpose(1, 2).unsqueeze(1)
        found = self.model.get_audio_features(features) if self.shared else self.model(features)
        pooled: Tensor = found if isinstance(found, Tensor) else found.pooler_output
        return pooled
