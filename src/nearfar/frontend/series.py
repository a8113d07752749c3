"""Windows of sensor frames to the inputs of a graph: one object, used by training, evaluation and the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Item, Side
from nearfar.errors import DataError
from nearfar.frontend.frontend import Feed, GraphInput
from nearfar.frontend.settings import SeriesSettings

_VALUES_PER_BATCH = 2**24  # 64 MB of float32 an input
_FARTHEST = 1e15  # spreads, whose squares float32 still holds


class SeriesFrontend:
    """Scales windows of frames and tells the graph what is missing. An item is a window, float32 (T, F), in physical units.

    Attributes:
        settings: channels, how they are scaled, and how long a window is.
    """

    def __init__(self, settings: SeriesSettings) -> None:
        self.settings = settings
        self._centre = np.array([c for channel in settings.channels for c in channel.centre], np.float32)
        self._scale = np.array([s for channel in settings.channels for s in channel.scale], np.float32)

    def scaled(
        self, frames: npt.ArrayLike, *, clip: bool = True
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Bring frames to healthy spreads from the healthy median.

        Args:
            frames: (..., F) in physical units, NaN where missing.
            clip: cut values to the settings' `clip` both ways, as encoders need it.

        Returns:
            Values float32 (..., F), 0 where missing; and float32 (..., F), 1 where there is a value.
        """
        values = np.asarray(frames, np.float32)
        present = np.isfinite(values)
        # Past what float32 holds a value is far beyond any limit anyway.
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (values - self._centre) / self._scale
        limit = self.settings.clip if clip else _FARTHEST
        np.clip(scaled, -limit, limit, out=scaled)
        scaled[~present] = 0.0
        return scaled, present.astype(np.float32)

    def unscaled(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Frames float32 (..., F) in physical units of scaled ones with NaN where missing."""
        return values * self._scale + self._centre

    @property
    def inputs(self) -> Mapping[str, GraphInput]:
        """What the graph takes."""
        return {"window": GraphInput("tensor(float)", 3), "present": GraphInput("tensor(float)", 3)}

    @property
    def contract(self) -> str:
        """The same in words."""
        shape = f"(n, {self.settings.window}, {self.settings.features})"
        return f"window, float32 {shape}, scaled and 0 where missing, and present, float32 {shape}, 1 where there is a value"

    @property
    def unit(self) -> str:
        """What a batch is counted in."""
        return "values"

    @property
    def sides_differ(self) -> bool:
        """A window that is searched for and one that is found are prepared alike."""
        return False

    def check(self, items: Sequence[Item]) -> None:
        """Refuse one window where a list is needed; an array (n, T, F) is a list of windows.

        Raises:
            DataError: `items` is a path, text, bytes or one window.
        """
        single = isinstance(items, (str, bytes)) or (isinstance(items, np.ndarray) and items.ndim <= 2)
        if single:
            raise DataError("got one window where a list of windows is needed: wrap it as [window]")

    def feeds(self, items: Sequence[Item], side: Side, batch_size: int) -> Iterator[tuple[list[int], Feed]]:
        """Scale and yield windows batch by batch, in their order; see `Frontend.feeds`."""
        step = max(1, min(batch_size, _VALUES_PER_BATCH // (self.settings.window * self.settings.features)))
        for start in range(0, len(items), step):
            positions = list(range(start, min(start + step, len(items))))
            values, present = self.scaled(np.stack([self._window(items[p], p) for p in positions]))
            yield positions, {"window": values, "present": present}

    def trials(self, side: Side) -> Feed:
        """Three windows: of noise, of the extremes, and one of which nothing is there."""
        shape = (self.settings.window, self.settings.features)
        noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        extremes = np.sign(noise) * np.float32(self.settings.clip)
        windows = np.stack([noise, extremes, np.zeros(shape, np.float32)])
        present = np.ones_like(windows)
        present[2] = 0.0
        return {"window": windows, "present": present}

    def _window(self, item: Item, position: int) -> npt.NDArray[np.float32]:
        shape = (self.settings.window, self.settings.features)
        try:
            window = np.asarray(item, np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"window {position} is {type(item).__name__}: pass an array {shape} of frames") from error
        if window.shape != shape:
            raise DataError(
                f"window {position} has the shape {window.shape}, but {shape} is needed: "
                f"{shape[0]} frames of {', '.join(self.settings.feature_names[:8])}{', ...' if shape[1] > 8 else ''}"
            )
        return window
