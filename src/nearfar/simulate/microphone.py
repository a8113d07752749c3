"""What lies between a mouth and a file: a room, a microphone, noise, and how loud it was set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

_BANDS = 9  # points of the microphone's response, at equal distances on a logarithmic scale
_LOWEST = 60.0  # Hz, of the first
_QUIETEST, _LOUDEST = -28.0, -20.0  # dB of full scale, root mean square
_SNR = (30.0, 42.0)  # dB


@dataclass(frozen=True)
class Microphone:
    """One room with one microphone: what all recordings of a session share.

    Attributes:
        echo: (t,) impulse response of the room, the direct sound first.
        response: (9,) gain of the microphone in dB, from 60 Hz to half the rate.
        snr: signal to noise in dB.
        colour: slope of the noise's spectrum in dB an octave, 0 for white.
        level: root mean square of the sound in dB of full scale.
    """

    echo: _Floats
    response: _Floats
    snr: float
    colour: float
    level: float

    @classmethod
    def draw(cls, rate: int, rng: np.random.Generator) -> Self:
        """Draw one from rooms that die away by 60 dB within 0.05 to 0.4 s and microphones of some quality."""
        seconds = float(rng.uniform(0.05, 0.25))
        t = np.arange(round(seconds * rate)) / rate
        echo = rng.standard_normal(len(t)) * 10 ** (-3 * t / seconds)
        share = float(rng.uniform(0.03, 0.15))
        echo *= share / np.sqrt(np.sum(echo**2))
        echo[0] = 1.0
        walk = np.cumsum(rng.normal(0, 0.8, _BANDS))
        return cls(
            echo=echo,
            response=walk - walk.mean(),
            snr=float(rng.uniform(*_SNR)),
            colour=float(rng.uniform(-7.0, -5.0)),
            level=float(rng.uniform(_QUIETEST, _LOUDEST)),
        )

    def record(self, sound: _Floats, rate: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Record a sound with some silence about it.

        Args:
            sound: (t,).
            rate: samples a second.
            rng: of the noise and the silence.

        Returns:
            float32 (t',) in [-1, 1], longer than the sound.
        """
        before, after = (round(float(seconds) * rate) for seconds in rng.uniform(0.05, 0.25, 2))
        length = before + len(sound) + after + len(self.echo)
        size = 2 ** int(np.ceil(np.log2(length)))
        hertz = np.fft.rfftfreq(size, 1 / rate)
        places = np.geomspace(_LOWEST, rate / 2, _BANDS)
        gain = 10 ** (np.interp(np.log(np.maximum(hertz, 1.0)), np.log(places), self.response) / 20)
        gain *= (hertz / 40.0) ** 2 / (1 + (hertz / 40.0) ** 2)  # nothing records a standing pressure
        heard = np.fft.irfft(np.fft.rfft(np.pad(sound, (before, 0)), size) * np.fft.rfft(self.echo, size) * gain, size)
        noise = np.fft.irfft(
            np.fft.rfft(rng.standard_normal(size)) * np.maximum(hertz, 20.0) ** (self.colour / 6.02) * gain, size
        )
        loud = heard[before : before + len(sound)]
        power = float(np.mean(loud**2)) or 1.0
        noise *= np.sqrt(power / np.mean(noise**2)) * 10 ** (-self.snr / 20)
        scale = 10 ** (self.level / 20) / np.sqrt(power)
        recorded: npt.NDArray[np.float32] = np.clip(scale * (heard + noise)[:length], -1, 1).astype(np.float32)
        return recorded
