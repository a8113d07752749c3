"""What a caller hands to a monitor, as blocks of samples with times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.settings import SeriesSettings

Values = npt.ArrayLike | Mapping[str, npt.ArrayLike]
When = float | datetime | npt.ArrayLike | None


class Samples(NamedTuple):
    """Samples of some channels that were taken together.

    Attributes:
        times: float64 (n,) seconds.
        values: float32 (n, c), NaN where one is missing.
        channels: int64 (c,), which they are of.
    """

    times: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]
    channels: npt.NDArray[np.int64]


class Intake:
    """Understands what is passed to `Monitor.update`, and counts time on where none is given.

    Args:
        settings: of the frontend.
    """

    def __init__(self, settings: SeriesSettings) -> None:
        self._names = [channel.name for channel in settings.channels]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._all = np.arange(len(self._names))
        self._period = settings.period
        self._steps = [settings.period if channel.rate is None else 1 / channel.rate for channel in settings.channels]
        # In the middle of a frame, so that rounding never moves a counted sample into its neighbour.
        self._next = [step / 2 for step in self._steps]

    def take(self, values: Values, times: When, channels: Sequence[str | int] | None) -> Iterator[Samples]:
        """Check and cut into blocks what `Monitor.update` describes.

        Raises:
            DataError: shapes, names or times do not fit; the message says which. Nothing was taken then.
        """
        if isinstance(values, Mapping):
            if channels is not None:
                raise DataError(
                    "values that name their channels leave nothing for `channels` to say: pass one of the two"
                )
            return self._named(values, times)
        numbers = self._all if channels is None else self._known(channels)
        block = _numbers(values, "values")
        if block.ndim == 1:
            block = block[:, None] if len(numbers) == 1 else block[None]
        if block.ndim != 2 or block.shape[1] != len(numbers):
            raise DataError(
                f"values of shape {np.shape(values)} do not fit {len(numbers)} channels ({', '.join(self._of(numbers))}): pass one value a "
                f"channel, or rows (n, {len(numbers)})"
            )
        return iter([Samples(self._times(times, len(block), numbers), block, numbers)])

    def state(self) -> list[float]:
        """What `restore` takes."""
        return list(self._next)

    def restore(self, state: Sequence[float]) -> None:
        """Go on counting where another was."""
        self._next = list(state)

    def _named(self, values: Mapping[str, npt.ArrayLike], times: When) -> Iterator[Samples]:
        """Channels by name; those with as many values as each other were taken together."""
        if not values:
            return iter(())
        numbers = self._known(list(values))
        columns = [_numbers(column, f"channel {name}").reshape(-1) for name, column in values.items()]
        lengths = sorted({len(column) for column in columns})
        if times is not None and len(lengths) > 1:
            raise DataError(
                f"channels of {' and '.join(map(str, lengths))} values cannot share their times: pass one mapping for each rate"
            )
        blocks = []
        for length in lengths:
            some = [column for column, each in enumerate(columns) if len(each) == length]
            block = np.stack([columns[column] for column in some], axis=1)
            blocks.append(Samples(self._times(times, length, numbers[some]), block, numbers[some]))
        return self._in_turns(blocks)

    def _in_turns(self, blocks: list[Samples]) -> Iterator[Samples]:
        """Blocks of several rates frame by frame: a frame closes with the first later sample, whichever channel it is of."""
        if len(blocks) == 1:
            return iter(blocks)
        edges = np.unique(np.concatenate([np.ceil(block.times / self._period) for block in blocks])) * self._period
        parts = []
        for block in blocks:
            cuts = [0, *np.searchsorted(block.times, edges).tolist(), len(block.times)]
            parts += [
                (turn, Samples(block.times[start:stop], block.values[start:stop], block.channels))
                for turn, (start, stop) in enumerate(pairwise(cuts))
                if stop > start
            ]
        parts.sort(key=lambda part: part[0])
        return iter([samples for _, samples in parts])

    def _times(self, times: When, count: int, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        step = min(self._steps[number] for number in numbers) if len(numbers) else self._period
        if times is None:
            start = max((self._next[number] for number in numbers), default=0.0)
            found = start + np.arange(count) * step
        else:
            found = np.atleast_1d(_seconds(times))
            if found.shape != (count,):
                raise DataError(f"{count} samples have {found.size} times: pass one time for each")
        if count:
            if not np.isfinite(found).all():
                raise DataError("a time is not a finite number of seconds: leave samples out whose time is unknown")
            for number in numbers:
                self._next[number] = float(found[-1]) + step
        return found

    def _known(self, channels: Sequence[str | int]) -> npt.NDArray[np.int64]:
        found = []
        for channel in channels:
            number = self._numbers.get(channel) if isinstance(channel, str) else int(channel)
            if number is None or not 0 <= number < len(self._names):
                raise DataError(f"there is no channel {channel!r}: this monitor has {', '.join(self._names)}")
            found.append(number)
        if len(set(found)) < len(found):
            raise DataError(f"channels {', '.join(self._of(found))} name one twice")
        return np.array(found, np.int64)

    def _of(self, numbers: Sequence[int] | npt.NDArray[np.int64]) -> list[str]:
        return [self._names[number] for number in numbers]


def _numbers(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            found = np.array(values, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what}: not numbers ({error}): pass NaN or None where a value is missing") from error
    found[~np.isfinite(found)] = np.nan
    return found


def _seconds(times: Any) -> npt.NDArray[np.float64]:
    """Seconds since 1970-01-01 UTC of numbers, dates (without a zone: UTC) or numpy's datetime64."""
    if isinstance(times, datetime):
        return np.array([(times if times.tzinfo else times.replace(tzinfo=UTC)).timestamp()])
    found = np.asarray(times)
    if found.dtype.kind == "M":
        missing = np.isnat(found)
        return np.where(missing, np.nan, found.astype("datetime64[ns]").astype(np.int64) / 1e9)
    if found.dtype == object and found.size and isinstance(found.flat[0], datetime):
        return np.concatenate([_seconds(each) for each in found.reshape(-1)])
    try:
        return found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"times: not numbers or dates ({error}): pass seconds since 1970-01-01 UTC") from error
