"""The tower for recordings of sound: samples on disk, parts of them in training, all of each on the device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.errors import DataError, RunError
from nearfar.frontend import AudioError, AudioFrontend, AudioSettings
from nearfar.frontend.sound import decode_sound
from nearfar.learn.clips import audio_settings, noise_in
from nearfar.learn.data.noted import content_key
from nearfar.learn.data.stored_sound import Samples, Stored, as_heard, as_stored, band_moments, measured, of_stored
from nearfar.learn.data.whole import write_whole
from nearfar.learn.encoders.audio import AudioEncoder
from nearfar.learn.encoders.build_audio import build_audio_encoder
from nearfar.learn.encoders.hf_audio import HuggingFaceSoundEncoder, build_hf_audio_encoder
from nearfar.learn.export.audio import choose_audio_graph
from nearfar.learn.towers.once import Once
from nearfar.learn.towers.start import check_start, joint_prefixes, load_start
from nearfar.learn.towers.tower import Inputs, RefusedItem
from nearfar.learn.views.audio import SoundViews, with_hidden
from nearfar.recipe.joint import AudioTower, BundleEncoder, HuggingFaceAudioEncoder

Ints = npt.NDArray[np.int64]

_CALIBRATED = 512
_AT_A_TIME = 32
_SAMPLES_AT_A_TIME = 2**21  # 8 MB: bounds the memory of one pass, whose spectrum is a few times larger


class AudioSide:
    """A tower for recordings; see `Tower`.

    Without views a recording is heard as on the device: trimmed, cut to the longest length, repeated to whole steps.

    Args:
        name: of the tower.
        settings: its block.
    """

    def __init__(self, name: str, settings: AudioTower) -> None:
        self.name, self.settings = name, settings

    @property
    def frontend(self) -> AudioSettings:
        """What the manifest says of how recordings are prepared."""
        return audio_settings(self.settings.frontend)

    def check(self) -> None:
        """Meet a model, a run to start from, or a folder of noise that is not there or does not fit."""
        check_start(self.settings.start, f"towers.{self.name}.start")
        noise = self.settings.views.noise if self.settings.views is not None else None
        if noise is not None and noise.folder is not None and not noise.folder.is_dir():
            raise RunError(f"towers.{self.name}.views.noise.folder is {noise.folder}, which is no folder: leave it out")
        if isinstance(self.settings.encoder, HuggingFaceAudioEncoder):
            try:
                with torch.random.fork_rng(devices=[]):
                    build_hf_audio_encoder(self.settings.encoder, self.frontend)
            except RunError as error:
                raise RunError(f"towers.{self.name}: {error}") from error

    def writer(self, folder: Path, *, seed: int) -> SoundWriter:
        """Begin to keep items in `folder`."""
        return SoundWriter(folder, AudioFrontend(self.frontend), seed=seed)

    def open(self, folder: Path) -> SoundItems:
        """Open what the writer left."""
        views, settings = None, self.settings.views
        if settings is not None:
            folder_of_noise = settings.noise.folder if settings.noise is not None else None
            noise = noise_in(folder_of_noise, self.frontend.rate) if folder_of_noise else None
            views = SoundViews(settings, rate=self.frontend.rate, count=1, noise=noise)
        return SoundItems.open(folder, self.frontend, views)

    def encoder(self, items: SoundItems, *, dim: int, started: bool = True) -> SoundTower:
        """The encoder with fresh weights, or those of `start` or of the pretrained model."""
        del dim
        settings = self.settings.encoder
        assert not isinstance(settings, BundleEncoder)
        encoder: AudioEncoder | HuggingFaceSoundEncoder
        if isinstance(settings, HuggingFaceAudioEncoder):
            encoder = build_hf_audio_encoder(settings, items.frontend, weights=started)
        else:
            encoder = build_audio_encoder(settings, items.frontend)
            encoder.normalise_by(items.mean, items.std)
        if started and self.settings.start is not None:
            prefixes = joint_prefixes(self.name)
            load_start(encoder, self.settings.start, f"towers.{self.name}.start", prefixes=prefixes)
        return SoundTower(encoder)

    def graph(self, encoder: nn.Module, items: SoundItems, *, quantise: str, calibration: Ints) -> bytes:
        """The ONNX model of a trained encoder; in float where int8 would not keep the directions of embeddings."""
        assert isinstance(encoder, SoundTower)
        batches = [waves.numpy() for _, (waves,) in items.seen(calibration[:_CALIBRATED], _AT_A_TIME)]
        quantise = quantise if batches else "none"
        return choose_audio_graph(encoder.encoder, dim=None, quantise=quantise, calibration=batches).content


class SoundTower(nn.Module):
    """An encoder of sound, which takes samples, and in training what is hidden of each spectrogram."""

    def __init__(self, encoder: AudioEncoder | HuggingFaceSoundEncoder) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, encoder.dim

    def forward(self, inputs: Inputs) -> Tensor:
        """Embed n recordings.

        Args:
            inputs: samples (n, t) in [-1, 1]; and where something is hidden limits (n, 2, 2), as shares: the first and the last
                moment, the lowest and the highest band.
        """
        waves, *limits = inputs
        if not limits:
            embedding: Tensor = self.encoder(waves)
            return embedding
        time, frequency = limits[0].unbind(1)
        if isinstance(self.encoder, HuggingFaceSoundEncoder):
            return self.encoder.with_hidden(waves, time=time, frequency=frequency)
        with torch.no_grad():
            spectrum = with_hidden(self.encoder.spectrum(waves), time=time, frequency=frequency)
        return self.encoder.embedded(spectrum)


class SoundWriter:
    """Keeps recordings at one rate, and where the sound in each is; see `ItemWriter`.

    Args:
        folder: where the files go.
        frontend: at which rate, and whether they are trimmed.
        seed: of the recipe.
    """

    def __init__(self, folder: Path, frontend: AudioFrontend, *, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._frontend, self._seed = folder, frontend, seed
        self._samples = (folder / "samples.bin").open("wb")
        self._starts, self._spans, self._keys = [0], list[tuple[int, int]](), list[int]()
        self._numbers: dict[int, int] = {}
        self._once = Once(self._add)

    def add(self, content: Any, location: str) -> int:
        """Keep a recording, if no equal one is there yet; see `ItemWriter.add`."""
        return self._once(content, location)

    def _add(self, content: Any, location: str) -> int:
        try:
            stored = as_stored(decode_sound(content, self._frontend.settings.rate, name=location))
        except AudioError as error:
            raise RefusedItem(error.reason, error.detail) from error
        except DataError as error:
            raise RefusedItem("no recording", str(error)) from error
        written = stored.astype("<i2").tobytes()
        key = content_key(written)
        if key not in self._numbers:
            spoken = self._frontend.spoken(as_heard(stored))
            self._samples.write(written)
            self._numbers[key] = len(self._keys)
            self._keys.append(key)
            self._spans.append((self._starts[-1] + spoken.start, self._starts[-1] + spoken.stop))
            self._starts.append(self._starts[-1] + len(stored))
        return self._numbers[key]

    def finish(self, training: Ints) -> None:
        """Measure the bands of the training items; see `ItemWriter.finish`."""
        self._samples.close()
        if not len(training):
            raise DataError("there is no recording to train on: lower data.split, or leave this tower out")
        starts, spans, keys = (np.array(values, np.int64) for values in (self._starts, self._spans, self._keys))
        np.savez(self._folder / "sounds.npz", starts=starts, spans=spans, keys=keys)
        stored = np.memmap(self._folder / "samples.bin", np.int16, mode="r")
        shown = (stored[slice(*self._spans[number])] for number in measured(training, self._seed).tolist())
        mean, std = band_moments(shown, self._frontend.settings)
        # Last: its presence says that the items are whole.
        write_whole(self._folder / "sounds.json", json.dumps({"mean": mean, "std": std}))


@dataclass(frozen=True)
class SoundItems:
    """The recordings of a tower on disk; see `Items`.

    Attributes:
        frontend: what the manifest says.
        keys: (n,) equal only for equal samples.
        samples: (t,) int16, of all, one after the other.
        starts: (n + 1,) where each begins.
        spans: (n, 2) from where to where it is heard.
        mean: of each band of the spectrogram over the training recordings.
        std: likewise.
        views: one view of each recording in training; None leaves them.
    """

    frontend: AudioSettings
    keys: Ints
    samples: Stored
    starts: Ints
    spans: Ints
    mean: list[float]
    std: list[float]
    views: SoundViews | None

    @classmethod
    def open(cls, folder: Path, frontend: AudioSettings, views: SoundViews | None) -> SoundItems:
        """Open what `SoundWriter` left."""
        moments = json.loads((folder / "sounds.json").read_text("utf-8"))
        samples = np.memmap(folder / "samples.bin", np.int16, mode="r")
        with np.load(folder / "sounds.npz") as arrays:
            starts, spans, keys = arrays["starts"], arrays["spans"], arrays["keys"]
        return cls(frontend, keys, samples, starts, spans, moments["mean"], moments["std"], views)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def files(self) -> Mapping[str, bytes]:
        """None are needed in a bundle."""
        return {}

    @property
    def counts(self) -> Mapping[str, int]:
        """What there is, for the manifest."""
        return {"recordings": len(self), "seconds": round(len(self.samples) / self.frontend.rate)}

    def inputs(self, numbers: Ints, rng: np.random.Generator) -> Inputs:
        """A view of each recording and what is hidden of it, or all of it; see `Items.inputs`."""
        if self.views is None:
            waves = [self._fitted(number) for number in numbers.tolist()]
            longest = max(map(len, waves), default=0)
            return (torch.from_numpy(np.stack([np.resize(wave, longest) for wave in waves])),)
        draws = self.views.draw(len(numbers), rng)
        parts = np.stack(
            [
                self.views.part(self._spoken(number), start)
                for number, start in zip(numbers.tolist(), draws.start[:, 0].tolist(), strict=True)
            ]
        )
        (heard,) = self.views.apply(torch.from_numpy(parts).unsqueeze(1), draws)
        if not self.views.settings.time_mask and not self.views.settings.frequency_mask:
            return (heard,)
        return heard, torch.stack([draws.time[:, 0], draws.frequency[:, 0]], dim=1)

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        """Recordings as the device hears them, those of one length together; see `Items.seen`."""
        alike: dict[int, list[int]] = {}
        for place, number in enumerate(numbers.tolist()):
            alike.setdefault(self._length(number), []).append(place)
        for length, places in sorted(alike.items()):
            size = max(1, min(at_a_time, _SAMPLES_AT_A_TIME // length))
            for first in range(0, len(places), size):
                some = np.array(places[first : first + size])
                waves = np.stack([self._fitted(int(number)) for number in numbers[some]])
                yield some, (torch.from_numpy(waves),)

    def raw(self, numbers: Ints) -> list[Any]:
        """Samples (t,) in [-1, 1] at the rate, with the silence around them; see `Items.raw`."""
        return [as_heard(self.samples[self.starts[n] : self.starts[n + 1]]) for n in numbers.tolist()]

    def _spoken(self, number: int) -> Stored:
        return self.samples[slice(*self.spans[number].tolist())]

    def _fitted(self, number: int) -> Samples:
        return of_stored(self.frontend).fitted(as_heard(self._spoken(number)))

    def _length(self, number: int) -> int:
        """Samples of what `_fitted` gives."""
        heard = min(int(self.spans[number, 1] - self.spans[number, 0]), self.frontend.longest)
        return -(-heard // self.frontend.step) * self.frontend.step
