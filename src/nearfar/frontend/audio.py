"""Recordings to samples for a graph: one object, used by training, evaluation and the device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nearfar.embedder import Item, Side
from nearfar.errors import DataError
from nearfar.frontend.frontend import Feed, GraphInput
from nearfar.frontend.samples import AudioError, Samples
from nearfar.frontend.settings import AudioSettings
from nearfar.frontend.silence import sounding
from nearfar.frontend.sound import decode_sound

__all__ = ["AudioError", "AudioFrontend", "Samples", "decode_sound"]

_SAMPLES_PER_BATCH = 2**21  # 8 MB: bounds the memory of one run, whose spectrum is a few times larger
_SAMPLES_AHEAD = 2**23  # decoded before they are sorted by length


class AudioFrontend:
    """Decodes recordings, leaves out the silence at their ends, and repeats each up to a whole number of steps.

    No recording is filled up with zeros: those of one length share a batch, so an embedding does not depend on what it
    is embedded beside.

    Attributes:
        settings: rate, step, longest.
    """

    def __init__(self, settings: AudioSettings) -> None:
        self.settings = settings

    def prepare(self, item: Item, *, name: str = "") -> Samples:
        """Decode one recording and make it fit.

        Args:
            item: a path, the bytes of a file, an array (t,) at the rate, or a pair of an array and its rate; see
                `decode_sound`.
            name: for messages.

        Returns:
            float32 (t,) in [-1, 1], t a multiple of `settings.step`.

        Raises:
            AudioError: it cannot be used.
            MissingExtraError: soundfile or soxr is needed and not installed.
        """
        return self.fitted(decode_sound(item, self.settings.rate, name=name))

    def spoken(self, samples: Samples) -> slice:
        """What trimming leaves of samples (t,) at the rate; all of them where the settings do not trim."""
        return sounding(samples, self.settings.rate) if self.settings.trim else slice(0, len(samples))

    def fitted(self, samples: Samples) -> Samples:
        """Trim, cut to the longest length, and repeat up to the next whole number of steps.

        Args:
            samples: float32 (t,) at the rate, t of 1 or more.

        Returns:
            float32, of a multiple of `settings.step` samples.
        """
        kept = samples[self.spoken(samples)][: self.settings.longest]
        step = self.settings.step
        return np.resize(kept, -(-len(kept) // step) * step)

    @property
    def inputs(self) -> Mapping[str, GraphInput]:
        """What the graph takes."""
        return {"pcm": GraphInput("tensor(float)", 2)}

    @property
    def contract(self) -> str:
        """The same in words."""
        return "pcm, float32 (n, t)"

    @property
    def unit(self) -> str:
        """What a batch is counted in."""
        return "samples"

    @property
    def sides_differ(self) -> bool:
        """A recording that is searched for and one that is found are prepared alike."""
        return False

    def check(self, items: Sequence[Item]) -> None:
        """Refuse one recording where a list is needed; an array (n, t) is a list of recordings.

        Raises:
            DataError: `items` is a path, bytes, one recording's array, or an array with its rate.
        """
        single = isinstance(items, (str, bytes, bytearray, memoryview, os.PathLike))
        with_rate = isinstance(items, tuple) and len(items) == 2 and isinstance(items[1], (int, float, np.number))
        if single or with_rate or (isinstance(items, np.ndarray) and items.ndim == 1):
            raise DataError("got one recording where a list of recordings is needed: wrap it as [recording]")

    def feeds(self, items: Sequence[Item], side: Side, batch_size: int) -> Iterator[tuple[list[int], Feed]]:
        """Decode a few recordings ahead, and yield those of one length together; see `Frontend.feeds`."""
        waiting: dict[int, list[tuple[int, Samples]]] = {}
        held = 0
        for position, item in enumerate(items):
            name = "" if isinstance(item, (str, os.PathLike)) else f"item {position}"
            samples = self.prepare(item, name=name)
            alike = waiting.setdefault(len(samples), [])
            alike.append((position, samples))
            held += len(samples)
            if len(alike) == max(1, min(batch_size, _SAMPLES_PER_BATCH // len(samples))):
                yield _batch(waiting.pop(len(samples)))
                held -= len(alike) * len(samples)
            elif held > _SAMPLES_AHEAD:
                yield from map(_batch, waiting.values())
                waiting.clear()
                held = 0
        yield from map(_batch, waiting.values())

    def trials(self, side: Side) -> Feed:
        """Noise and a tone of the shortest length. Silence would tell nothing of the norm."""
        step = self.settings.step
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, step)
        tone = 0.5 * np.sin(2 * np.pi * self.settings.highest / 4 / self.settings.rate * np.arange(step))
        return {"pcm": np.stack([noise, tone]).astype(np.float32)}


def _batch(alike: list[tuple[int, Samples]]) -> tuple[list[int], Feed]:
    return [position for position, _ in alike], {"pcm": np.stack([samples for _, samples in alike])}
