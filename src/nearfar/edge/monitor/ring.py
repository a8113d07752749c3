"""The last frames of a stream, in one piece of memory that does not grow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]

_SLACK = 256  # rows that are appended before the rest is moved to the front again


class Ring:
    """Keeps at most `size` frames of `width` values with their times, and gives them and what follows as one array.

    Args:
        size: frames that are kept, 0 or more.
        width: values of a frame.
    """

    def __init__(self, size: int, width: int) -> None:
        self.size = size
        self._times: Times = np.empty(2 * size + _SLACK)
        self._frames: Frames = np.empty((2 * size + _SLACK, width), np.float32)
        self._start = self._stop = 0

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def times(self) -> Times:
        """Times (k,) of the frames that are kept."""
        return self._times[self._start : self._stop]

    @property
    def frames(self) -> Frames:
        """The frames (k, width) that are kept; a view, which may be written to."""
        return self._frames[self._start : self._stop]

    def push(self, times: Times, frames: Frames) -> Frames:
        """Append frames (m, width).

        Returns:
            float32 (k + m, width): those that were kept before, and the new ones. To be read before the next push.
        """
        m = len(frames)
        if m > _SLACK:  # a block: one copy costs nothing beside what is done with it
            both = np.concatenate([self.frames, frames])
            when = np.concatenate([self.times, times])
            self.fill(when, both)
            return both
        if self._stop + m > len(self._frames):
            kept = len(self)
            self._frames[:kept] = self._frames[self._start : self._stop].copy()
            self._times[:kept] = self._times[self._start : self._stop].copy()
            self._start, self._stop = 0, kept
        self._frames[self._stop : self._stop + m] = frames
        self._times[self._stop : self._stop + m] = times
        both = self._frames[self._start : self._stop + m]
        self._stop += m
        self._start = max(self._start, self._stop - self.size)
        return both

    def fill(self, times: Times, frames: Frames) -> None:
        """Keep the last of these frames and nothing else."""
        kept = min(self.size, len(frames))
        self._frames[:kept], self._times[:kept] = frames[len(frames) - kept :], times[len(times) - kept :]
        self._start, self._stop = 0, kept

    def shift(self, seconds: float) -> None:
        """Follow a clock that was set."""
        self.times[:] += seconds
