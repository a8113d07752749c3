"""A made speaker: the source and the filter of a voice (Fant, Acoustic Theory of Speech Production, 1960)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from nearfar.simulate.phones import STEP, Tract

_Floats = npt.NDArray[np.float64]

_GROUPS = ((105.0, 0.92), (185.0, 1.06), (290.0, 1.19))  # average pitch in Hz and size
_FRAME = 4  # steps that share a frame of the filter
_UPPER = (3500.0, 4500.0)  # resonances of an average adult above those that tell sounds apart
_WIDTHS = (70.0, 90.0, 120.0, 200.0, 300.0)


@dataclass(frozen=True)
class Speaker:
    """What stays the same of a voice, whatever it says and wherever.

    Attributes:
        pitch: of the voice, in Hz.
        size: of the vocal tract, as a factor of all formants: above 1 for a short one.
        formants: (5,) a further factor of each formant.
        widths: factor of the formants' bandwidths.
        tilt: how steeply the spectrum of the glottal pulses falls above 500 Hz, beyond 6 dB an octave, in dB an octave.
        breath: noise of the throat beside the voice, as a share of it.
        jitter: how much periods differ, as a share of them; `shimmer`: how much pulses do.
        melody: how far the pitch moves within a word, as a share of it.
        pace: words in the time of an average speaker's one.
        teeth: factor of where hissing sounds lie.
    """

    pitch: float
    size: float
    formants: tuple[float, ...]
    widths: float
    tilt: float
    breath: float
    jitter: float
    shimmer: float
    melody: float
    pace: float
    teeth: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw one of three overlapping groups by pitch and length of the vocal tract: men, women and children."""
        pitch, size = _GROUPS[rng.integers(len(_GROUPS))]
        return cls(
            pitch=float(pitch * np.exp(rng.normal(0, 0.2))),
            size=float(np.clip(size * np.exp(rng.normal(0, 0.07)), 1 / 1.2, 1 / 0.8)),
            formants=tuple(np.exp(rng.normal(0, (0.18, 0.16, 0.14, 0.12, 0.12))).tolist()),
            widths=float(np.exp(rng.normal(0, 0.5))),
            tilt=float(rng.uniform(-6.0, 8.0)),
            breath=float(np.exp(rng.uniform(np.log(0.005), np.log(0.5)))),
            jitter=float(np.exp(rng.uniform(np.log(0.002), np.log(0.03)))),
            shimmer=float(rng.uniform(0.02, 0.15)),
            melody=float(rng.uniform(0.01, 0.08)),
            pace=float(np.exp(rng.normal(0, 0.2))),
            teeth=float(np.exp(rng.normal(0, 0.25))),
        )

    def say(self, tract: Tract, rate: int, pitch: float, rng: np.random.Generator) -> _Floats:
        """The sound at the lips.

        Args:
            tract: what is said.
            rate: samples a second.
            pitch: factor of the speaker's own, as of mood.
            rng: no two pulses are alike.

        Returns:
            float64 (t,), of no particular loudness.
        """
        states = len(tract.voice)
        hop = max(1, round(STEP * rate))
        pulses = self._pulses(states * hop, rate, pitch, rng)
        throat, teeth = rng.standard_normal((2, states * hop))
        hertz = np.arange(_FRAME * hop + 1, dtype=np.float64) * (rate / (2 * _FRAME * hop))
        mouth = self._mouth(tract, hertz) / np.sqrt(1 + (hertz / 500.0) ** 2) ** (1 + self.tilt / 6)
        hiss = np.exp(-0.5 * ((hertz - self.teeth * tract.hiss_at[:, None]) / tract.hiss_width[:, None]) ** 2)
        breath = tract.breath + self.breath * tract.voice
        return (
            _filtered(pulses, mouth * tract.voice[:, None], hop)
            + _filtered(throat, mouth * breath[:, None], hop)
            + _filtered(teeth, hiss * tract.hiss[:, None], hop)
        )

    def _pulses(self, length: int, rate: int, pitch: float, rng: np.random.Generator) -> _Floats:
        """Glottal pulses (length,), of power 1 on average."""
        along = np.linspace(0, 1, length)
        accent, slope = rng.normal(0.0, 0.6), rng.normal(1.0, 0.3)
        melody = 1 + self.melody * (slope * (0.5 - along) + accent * np.sin(np.pi * along))
        turns = np.cumsum(self.pitch * pitch * melody / rate)
        count = int(turns[-1])
        times = np.interp(np.arange(1, count + 1), turns, np.arange(length))
        period = rate / (self.pitch * pitch)
        times = np.clip(times + rng.normal(0, self.jitter * period, count), 0, length - 2)
        heights = np.sqrt(period) * np.maximum(0, 1 + rng.normal(0, self.shimmer, count))
        whole = times.astype(np.int64)
        pulses = np.zeros(length)
        np.add.at(pulses, whole, heights * (1 - (times - whole)))
        np.add.at(pulses, whole + 1, heights * (times - whole))
        return pulses

    def _mouth(self, tract: Tract, hertz: _Floats) -> npt.NDArray[np.complex128]:
        """The response of the resonances in cascade (Klatt, JASA 67, 1980), (m, frequencies)."""
        response = np.ones((len(tract.voice), len(hertz)), np.complex128)
        upper = np.broadcast_to(_UPPER, (len(tract.voice), len(_UPPER)))
        average = np.concatenate([tract.formants, upper], axis=1)
        for number, width in enumerate(_WIDTHS):
            at = average[:, number, None] * self.size * self.formants[number]
            response *= at**2 / (at**2 - hertz**2 + 1j * hertz * width * self.widths)
        return response


def _filtered(source: _Floats, responses: npt.NDArray[np.complex128] | _Floats, hop: int) -> _Floats:
    """Filter a source by a response that changes every `hop` samples, in overlapping frames zero-padded to twice their length.

    Args:
        source: (m * hop,).
        responses: (m, frame + 1), of frames of `_FRAME * hop` samples.
        hop: samples from one to the next.
    """
    frame, count = _FRAME * hop, len(responses)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(frame) + 0.5) / frame)
    wide = np.pad(source, frame // 2)
    frames = np.lib.stride_tricks.sliding_window_view(wide, frame)[::hop][:count] * (window * 2 / _FRAME)
    pieces = np.fft.irfft(np.fft.rfft(frames, 2 * frame, axis=1) * responses, 2 * frame, axis=1)
    out = np.zeros((count - 1) * hop + 2 * frame)
    for number, piece in enumerate(pieces):
        out[number * hop : number * hop + 2 * frame] += piece
    return out[frame // 2 : frame // 2 + len(source) + frame // 2]
