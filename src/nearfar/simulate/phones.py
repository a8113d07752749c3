"""The sounds that made words consist of, and how a vocal tract moves from one to the next."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

STEP: Final = 0.005
"""Seconds from one state of the vocal tract to the next."""
FORMANTS: Final = 3
"""Resonances that tell sounds apart; those above belong to the speaker."""

_MOVING = 5  # states over which a change is spread: tongues have mass


@dataclass(frozen=True)
class Phone:
    """One sound.

    Attributes:
        formants: resonances of an average adult in Hz (vowels: Peterson and Barney, JASA 24, 1952).
        seconds: mean length.
        voice: strength of the voice, 0 to 1.
        breath: strength of noise made in the throat, which goes through the formants.
        hiss: strength of noise made at the teeth or lips.
        hiss_at: where that is strongest, in Hz.
        hiss_width: its width in Hz.
        closed: seconds of silence before it, as of a stop.
    """

    formants: tuple[float, float, float]
    seconds: float
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    hiss_at: float = 4000.0
    hiss_width: float = 2000.0
    closed: float = 0.0


PHONES: Final = {
    "a": Phone((730, 1090, 2440), 0.13, voice=1.0),
    "e": Phone((530, 1840, 2480), 0.12, voice=0.9),
    "i": Phone((290, 2290, 3010), 0.11, voice=0.7),
    "o": Phone((570, 840, 2410), 0.13, voice=0.9),
    "u": Phone((310, 870, 2240), 0.11, voice=0.7),
    "m": Phone((250, 1000, 2200), 0.07, voice=0.35),
    "n": Phone((260, 1500, 2450), 0.07, voice=0.35),
    "l": Phone((360, 1200, 2600), 0.06, voice=0.5),
    "r": Phone((420, 1300, 1700), 0.06, voice=0.5),
    "v": Phone((300, 1100, 2200), 0.06, voice=0.3, hiss=0.05, hiss_at=5000.0, hiss_width=4000.0),
    "s": Phone((320, 1700, 2600), 0.11, hiss=0.35, hiss_at=6000.0, hiss_width=1500.0),
    "x": Phone((320, 1800, 2500), 0.11, hiss=0.4, hiss_at=3200.0, hiss_width=1200.0),
    "f": Phone((320, 1000, 2200), 0.09, hiss=0.08, hiss_at=5000.0, hiss_width=5000.0),
    "h": Phone((500, 1500, 2500), 0.06, breath=0.5),
    "t": Phone((320, 1700, 2600), 0.02, hiss=0.5, hiss_at=4500.0, hiss_width=2500.0, closed=0.05),
    "k": Phone((320, 1800, 2300), 0.03, hiss=0.4, hiss_at=2000.0, hiss_width=800.0, closed=0.05),
    "p": Phone((320, 900, 2200), 0.02, hiss=0.2, hiss_at=1000.0, hiss_width=1500.0, closed=0.05),
}
"""Letter -> sound."""

WORDS: Final = ("sima", "neko", "talu", "xori", "fanu", "meli", "kuvo", "hesa", "pirota", "lunami", "vokes", "raxin")
"""What is said, a letter a sound."""


@dataclass(frozen=True)
class Tract:
    """The states of a vocal tract while a word is said, `STEP` apart.

    Attributes:
        formants: (m, 3) in Hz, of an average adult.
        voice: (m,); likewise `breath`, `hiss`, `hiss_at` and `hiss_width`: see `Phone`.
    """

    formants: _Floats
    voice: _Floats
    breath: _Floats
    hiss: _Floats
    hiss_at: _Floats
    hiss_width: _Floats


def tract_of(word: str, pace: float, rng: np.random.Generator) -> Tract:
    """Say a word.

    Args:
        word: letters of `PHONES`.
        pace: how many times as fast as on average.
        rng: lengths and positions differ a little each time.
    """
    names = [field.name for field in fields(Tract)]
    states: dict[str, list[_Floats]] = {name: [] for name in names}
    for letter in word:
        phone = PHONES[letter]
        stretch = float(np.exp(rng.normal(0, 0.15))) / pace
        moved = np.asarray(phone.formants) * np.exp(rng.normal(0, 0.03, FORMANTS))
        closed = round(phone.closed * stretch / STEP)
        count = closed + max(2, round(phone.seconds * stretch / STEP))
        heard = (np.arange(count) >= closed).astype(np.float64)
        for name in names:
            value = moved[None, :] if name == "formants" else np.asarray(getattr(phone, name))
            sounding = heard if name in ("voice", "breath", "hiss") else np.ones(count)
            states[name].append(sounding[:, None] * value if name == "formants" else sounding * value)
    kernel = np.hanning(_MOVING + 2)[1:-1]
    kernel /= kernel.sum()
    silent = {"voice", "breath", "hiss"}
    return Tract(**{name: _moved(np.concatenate(states[name]), kernel, silent=name in silent) for name in names})


def _moved(track: _Floats, kernel: _Floats, *, silent: bool) -> _Floats:
    """Spread changes over a few states; before and after the word there is silence, or the position of its ends."""
    half = len(kernel) // 2
    wide = np.pad(track, [(half, half)] + [(0, 0)] * (track.ndim - 1), mode="constant" if silent else "edge")
    if track.ndim == 1:
        return np.convolve(wide, kernel, mode="valid")
    return np.stack([np.convolve(column, kernel, mode="valid") for column in wide.T], axis=1)
