"""The tower for files of sensor data: one file is one item, seen as a window of its frames."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from nearfar.errors import DataError
from nearfar.frontend import SeriesFrontend, SeriesSettings
from nearfar.frontend.fit_series import fit_series
from nearfar.frontend.windows import FileSamples, WindowError, frames_of, from_zero, window_ends
from nearfar.learn.data.noted import content_key
from nearfar.learn.data.whole import write_whole
from nearfar.learn.encoders.build_series import build_series_encoder
from nearfar.learn.export.series import choose_series_graph
from nearfar.learn.towers.once import Once
from nearfar.learn.towers.start import check_start, joint_prefixes, load_start
from nearfar.learn.towers.tower import Inputs, RefusedItem
from nearfar.learn.towers.unpacked import Unpacked
from nearfar.learn.views.series import WindowViews
from nearfar.recipe.joint import BundleEncoder, SeriesTower
from nearfar.recipe.series import SeriesFrontendSettings, SeriesViews
from nearfar.sources.recording import Channel
from nearfar.sources.series import open_series

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_FITTED = 1_000  # files that channels, period and scales are found out from
_CALIBRATED = 512
_LEAST_COMPARED = 3  # windows whose distances can be compared


class SeriesSide:
    """A tower for files of sensor data; see `Tower`.

    An item is a file. Its frames are cut as `frontend.windows` says; the device sees its last window that has enough values, and
    training draws one of all of these at each step, so that a longer file is seen from more than one side.

    Args:
        name: of the tower.
        settings: its block.
    """

    def __init__(self, name: str, settings: SeriesTower) -> None:
        self.name, self.settings = name, settings

    def check(self) -> None:
        """Meet a run to start from that is not there."""
        check_start(self.settings.start, f"towers.{self.name}.start")

    def writer(self, folder: Path, *, seed: int) -> SeriesWriter:
        """Begin to keep items in `folder`."""
        return SeriesWriter(folder, self.settings.frontend, seed=seed)

    def open(self, folder: Path) -> SeriesItems:
        """Open what the writer left."""
        return SeriesItems.open(folder, self.settings.views)

    def encoder(self, items: SeriesItems, *, dim: int, started: bool = True) -> Unpacked:
        """The encoder with fresh weights, or those of `start`."""
        del dim
        settings = self.settings.encoder
        assert not isinstance(settings, BundleEncoder)
        frontend = items.frontend
        encoder = build_series_encoder(settings, window=frontend.window, features=frontend.features)
        if started and self.settings.start is not None:
            prefixes = joint_prefixes(self.name)
            load_start(encoder, self.settings.start, f"towers.{self.name}.start", prefixes=prefixes)
        return Unpacked(encoder)

    def graph(self, encoder: nn.Module, items: SeriesItems, *, quantise: str, calibration: Ints) -> bytes:
        """The ONNX model of a trained encoder; in float where int8 would not keep distances."""
        assert isinstance(encoder, Unpacked)
        shown = items.scaled(items.last(calibration[:_CALIBRATED]))
        return choose_series_graph(
            encoder.encoder,
            window=items.frontend.window,
            features=items.frontend.features,
            quantise=quantise if len(shown[0]) >= _LEAST_COMPARED else "none",
            calibration=shown,
        ).content


class SeriesWriter:
    """Keeps the samples of files until it is known which are trained on, and then their frames; see `ItemWriter`.

    Args:
        folder: where the files go.
        frontend: the recipe's block.
        seed: of the recipe.
    """

    def __init__(self, folder: Path, frontend: SeriesFrontendSettings, *, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._frontend, self._seed = folder, frontend, seed
        self._samples = (folder / "samples.bin").open("wb")
        self._files: list[_Kept] = []
        self._numbers: dict[int, int] = {}
        self._once = Once(self._add)

    def add(self, content: Any, location: str) -> int:
        """Keep the file of a path, if nothing equal is there yet; see `ItemWriter.add`."""
        if not isinstance(content, (str, os.PathLike)):
            raise RefusedItem("no path of a file of samples", type(content).__name__)
        return self._once(os.fspath(content), location)

    def _add(self, content: str, location: str) -> int:
        path = Path(content)
        try:
            recordings = from_zero(list(open_series(path).recordings()))
        except WindowError as error:
            raise RefusedItem(error.reason, error.detail) from error
        except (DataError, OSError) as error:
            raise RefusedItem("a file of samples that cannot be read", str(error)) from error
        parts = [
            _Part([Channel(c.name, c.unit) for c in r.channels], r.times.tobytes(), r.values.tobytes(), len(r.times))
            for r in recordings
        ]
        key = content_key(b"".join(repr(p.channels).encode() + p.times + p.values for p in parts))
        if key not in self._numbers:
            kept = _Kept(key, f"{location}: {path}", [])
            for part in parts:
                kept.parts.append((self._samples.tell(), part.length, part.channels))
                self._samples.write(part.times + part.values)
            self._numbers[key] = len(self._files)
            self._files.append(kept)
        return self._numbers[key]

    def finish(self, training: Ints) -> None:
        """Find out channels, period and scales of the training items, and make the frames of all.

        Raises:
            DataError: they cannot be found out, or an item has none of these channels.
        """
        self._samples.close()
        if not len(training):
            raise DataError("there is no file of samples to train on: lower data.split, or leave this tower out")
        stored = np.memmap(self._folder / "samples.bin", np.uint8, mode="r")
        shown = training
        if len(training) > _FITTED:
            shown = np.sort(np.random.default_rng([self._seed, 5]).permutation(training)[:_FITTED])
        # Each file has a clock of its own, so they are kept apart as the machines of a fleet are.
        try:
            settings = fit_series(
                [r for number in shown.tolist() for r in self._files[number].samples(stored, machine=str(number))],
                self._frontend,
            )
        except DataError as error:
            raise DataError(f"{error}{self._unlike_most(shown)}") from error
        lengths = []
        with (self._folder / "frames.bin").open("wb") as file:
            for kept in self._files:
                try:
                    frames = frames_of(kept.samples(stored, machine=""), settings)
                except WindowError as error:
                    raise DataError(f"{kept.location}: {error}: give it those names, or empty its cell") from error
                file.write(frames.astype("<f4").tobytes())
                lengths.append(len(frames))
        del stored
        keys = np.array([kept.key for kept in self._files], np.int64)
        np.savez(self._folder / "series.npz", starts=np.concatenate([[0], np.cumsum(lengths)]), keys=keys)
        (self._folder / "samples.bin").unlink()
        # Last: its presence says that the items are whole.
        write_whole(self._folder / "series.json", json.dumps(settings.model_dump(mode="json"), ensure_ascii=False))

    def _unlike_most(self, shown: Ints) -> str:
        """The first file with other channels than most have, for a message; empty where all have the same."""
        sets = {
            number: frozenset(c.name for _, _, channels in self._files[number].parts for c in channels)
            for number in shown.tolist()
        }
        ((usual, _),) = Counter(sets.values()).most_common(1)
        odd = next((number for number, names in sets.items() if names != usual), None)
        if odd is None:
            return ""
        return f". Most files have {', '.join(sorted(usual))}; {self._files[odd].location} has {', '.join(sorted(sets[odd]))}"


@dataclass(frozen=True)
class _Part:
    channels: list[Channel]
    times: bytes
    values: bytes
    length: int


@dataclass(frozen=True)
class _Kept:
    """Where the samples of a file lie: for each of its recordings the first byte, how many, and the channels."""

    key: int
    location: str
    parts: list[tuple[int, int, list[Channel]]]

    def samples(self, stored: npt.NDArray[np.uint8], *, machine: str) -> list[FileSamples]:
        made = []
        for first, length, channels in self.parts:
            middle, end = first + 8 * length, first + (8 + 4 * len(channels)) * length
            times = np.frombuffer(stored[first:middle], np.float64)
            values = np.frombuffer(stored[middle:end], np.float32).reshape(length, len(channels))
            made.append(FileSamples(machine, channels, times, values, self.location))
        return made


@dataclass(frozen=True)
class SeriesItems:
    """The files of a tower on disk, as frames; see `Items`.

    Attributes:
        frontend: what the manifest says.
        keys: (n,) equal only for files of equal samples.
        frames: (m, F) float32 in physical units, of all files, one after the other.
        starts: (n + 1,) where each begins.
        ends: for each file where its windows end, as places in `frames`.
        views: how windows are changed in training; None leaves them.
    """

    frontend: SeriesSettings
    keys: Ints
    frames: Floats
    starts: Ints
    ends: Sequence[Ints]
    views: WindowViews | None

    @classmethod
    def open(cls, folder: Path, views: SeriesViews | None) -> SeriesItems:
        """Open what `SeriesWriter` left."""
        settings = SeriesSettings.model_validate_json((folder / "series.json").read_text("utf-8"))
        frames = np.memmap(folder / "frames.bin", "<f4", mode="r").reshape(-1, settings.features)
        with np.load(folder / "series.npz") as arrays:
            starts, keys = arrays["starts"], arrays["keys"]
        ends = [
            start + window_ends(frames[start:end], settings.window)
            for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        ]
        made = WindowViews(views, settings.channel_of_feature) if views is not None else None
        return cls(settings, keys, frames, starts, ends, made)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def files(self) -> Mapping[str, bytes]:
        """None are needed in a bundle."""
        return {}

    @property
    def counts(self) -> Mapping[str, int]:
        """What there is, for the manifest."""
        return {"series": len(self), "frames": len(self.frames), "windows": sum(map(len, self.ends))}

    def inputs(self, numbers: Ints, rng: np.random.Generator) -> Inputs:
        """A window of each file, drawn, and changed by the tower's views; see `Items.inputs`."""
        ends = [self.ends[number] for number in numbers.tolist()]
        drawn = [own[int(share * len(own))] for own, share in zip(ends, rng.random(len(ends)), strict=True)]
        window, present = map(torch.from_numpy, self.scaled(self._windows(drawn)))
        if self.views is None:
            return window, present
        draws = self.views.draw((len(window), 1, *window.shape[1:]), rng)
        changed = self.views.apply(window.unsqueeze(1), present.unsqueeze(1), draws)
        return changed[0].squeeze(1), changed[1].squeeze(1)

    def seen(self, numbers: Ints, at_a_time: int) -> Iterator[tuple[Ints, Inputs]]:
        """The last window of each file; see `Items.seen`."""
        for first in range(0, len(numbers), at_a_time):
            places = np.arange(first, min(first + at_a_time, len(numbers)))
            window, present = self.scaled(self.last(numbers[places]))
            yield places, (torch.from_numpy(window), torch.from_numpy(present))

    def raw(self, numbers: Ints) -> list[Any]:
        """The last window (T, F) of each file in physical units; see `Items.raw`."""
        return list(self.last(numbers))

    def last(self, numbers: Ints) -> Floats:
        """The windows (n, T, F) that the device sees of some files, in physical units, NaN where missing."""
        return self._windows([self.ends[number][-1] for number in numbers.tolist()])

    def scaled(self, windows: Floats) -> tuple[Floats, Floats]:
        """Windows as the encoder takes them, and what is there of them; both (n, T, F)."""
        return SeriesFrontend(self.frontend).scaled(windows)

    def _windows(self, ends: Sequence[int]) -> Floats:
        length = self.frontend.window
        taken = np.empty((len(ends), length, self.frontend.features), np.float32)
        for place, end in enumerate(ends):
            taken[place] = self.frames[end - length : end]
        return taken
