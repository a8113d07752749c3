"""Made voices: several people, each heard in several sessions with another room and microphone, saying made words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.simulate.microphone import Microphone
from nearfar.simulate.phones import WORDS, tract_of
from nearfar.simulate.speaker import Speaker

_MOOD = 0.02  # how much the pitch differs from session to session, as a logarithm
_EFFORT = 0.3  # and the tilt of the voice, in dB an octave


class Utterance(NamedTuple):
    """One word that somebody said.

    Attributes:
        identity: who, as `voice-01`.
        session: when and where, as `session-1`.
        word: what, of `WORDS`.
        samples: float32 (t,) in [-1, 1].
    """

    identity: str
    session: str
    word: str
    samples: npt.NDArray[np.float32]


def simulate_voices(
    identities: int, clips: int, *, seed: int, rate: int = 16_000, sessions: int = 2
) -> Iterator[Utterance]:
    """Make recordings of made people.

    Pitch, size and shape of the vocal tract, and the manner of the voice belong to the person; room, microphone, noise and
    loudness to the session; length, melody and every pulse to the recording. A person is the same whatever the number of
    others.

    Args:
        identities: how many people.
        clips: recordings of each, spread evenly over the sessions; words in turn.
        seed: of all that is drawn.
        rate: samples a second, 8,000 or more.
        sessions: of each person.

    Yields:
        The recordings, person by person, session by session.
    """
    digits = len(str(identities))
    for person in range(identities):
        speaker = Speaker.draw(np.random.default_rng([seed, 0, person]))
        for session in range(sessions):
            rng = np.random.default_rng([seed, 1, person, session])
            microphone = Microphone.draw(rate, rng)
            mood = float(np.exp(rng.normal(0, _MOOD)))
            today = replace(speaker, tilt=speaker.tilt + float(rng.normal(0, _EFFORT)))
            for clip in range(session * clips // sessions, (session + 1) * clips // sessions):
                rng = np.random.default_rng([seed, 2, person, clip])
                word = WORDS[(person + clip) % len(WORDS)]
                sound = today.say(tract_of(word, speaker.pace, rng), rate, mood, rng)
                samples = microphone.record(sound, rate, rng)
                yield Utterance(f"voice-{person + 1:0{digits}}", f"session-{session + 1}", word, samples)
