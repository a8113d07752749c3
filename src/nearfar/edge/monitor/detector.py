"""Scores of frames: what a monitor compares with its threshold, and which channels make a score."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.bundle.monitor_record import DetectorRecord
from nearfar.edge.monitor.distance import Distance, Floats
from nearfar.edge.monitor.events import Share
from nearfar.edge.monitor.threshold import p_value
from nearfar.errors import BundleError
from nearfar.frontend.series import SeriesFrontend
from nearfar.frontend.settings import SeriesSettings

Embed = Callable[[Floats, Floats], Floats]
"""Scaled windows (n, T, F) with 0 where a value is missing, and 1 or 0 for there or not of the same shape -> embeddings (n, d)."""

_WINDOWS_AT_A_TIME = 256


class Detector:
    """How far each frame of a stream is from normal, by the frames up to it.

    Args:
        settings: channels, frames and windows.
        record: what is scored and when it is alarming.
        distance: from normal.
        maxima: float32 (b,), ascending, the highest decision statistics of healthy blocks.
        embed: what makes embeddings of windows; None where raw features are scored.

    Attributes:
        history: frames that a score needs, the last one included.
    """

    def __init__(
        self,
        settings: SeriesSettings,
        record: DetectorRecord,
        distance: Distance,
        maxima: Floats,
        embed: Embed | None = None,
    ) -> None:
        self.frontend = SeriesFrontend(settings)
        self.settings, self.record, self.distance, self.block_maxima = settings, record, distance, maxima
        self.history = record.smooth if record.features == "raw" else settings.window
        self.embed = embed

    @classmethod
    def open(cls, bundle: str | Path | Bundle, *, threads: int = 1) -> Detector:
        """The detector of a bundle.

        Args:
            bundle: a directory, or a bundle that is already open.
            threads: CPU threads of its encoder, where it has one.

        Raises:
            BundleError: the bundle is damaged, or is no monitor.
        """
        bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        record, settings = bundle.manifest.detector, bundle.manifest.frontend
        if record is None or not isinstance(settings, SeriesSettings):
            raise BundleError(
                f"{bundle.path}: this bundle (kind {bundle.manifest.kind}) watches nothing: give one that was trained from a recipe with "
                "frontend.kind series"
            )
        where = bundle.path / record.weights
        try:
            distance, maxima = _read(bundle.read(record.weights))
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(f"{where}: not the numbers of a detector ({error}): export the bundle again") from error
        embed, width = None, settings.features
        if record.features == "embedding":
            from nearfar.edge.monitor.embedding import open_embedding

            embed, width = open_embedding(bundle, threads), bundle.manifest.dim
        if len(distance.centre) != width:
            raise BundleError(
                f"{where}: made for {len(distance.centre)} features, but there are {width}: export the bundle again"
            )
        return cls(settings, record, distance, maxima, embed)

    def to_bytes(self) -> bytes:
        """The file that `record.weights` names."""
        target = io.BytesIO()
        np.savez(target, allow_pickle=False, maxima=self.block_maxima, **self.distance.arrays())
        return target.getvalue()

    def score(self, frames: Floats) -> Floats:
        """Distances from normal.

        Args:
            frames: float32 (k, F) in physical units, consecutive, NaN where a value is missing.

        Returns:
            float32 (k,): the score of each frame by it and the `history - 1` frames before it. NaN for the first ones, and where
            more than half of what is scored is missing.
        """
        scores = np.full(len(frames), np.nan, np.float32)
        if len(frames) < self.history:
            return scores
        for start in range(0, len(frames) - self.history + 1, _WINDOWS_AT_A_TIME * 16):
            stop = min(len(frames), start + _WINDOWS_AT_A_TIME * 16 + self.history - 1)
            features = self.features(frames[start:stop])
            scores[start + self.history - 1 : stop] = self.distance.of(features)
        return scores

    def features(self, frames: Floats, stride: int = 1) -> Floats:
        """What is scored of frames (k, F): float32 (k - history + 1, d) or every `stride`th row of it, NaN where too much is missing."""
        if self.record.features == "raw":
            # A distance that is cut saturates: of two large faults the larger one must stay so.
            return trailing_mean(*self.frontend.scaled(frames, clip=False), self.history)[::stride]
        values, present = self.frontend.scaled(frames)
        assert self.embed is not None
        return embedded_windows(self.embed, values, present, self.history, stride)

    def contributions(self, frames: Floats) -> tuple[Share, ...]:
        """Which channels make the score of the last of `history` frames (history, F): the one without which it falls most comes first.

        A channel's share is by how much the squared score falls when it is taken for missing.
        """
        owner = np.asarray(self.settings.channel_of_feature)
        names = [channel.name for channel in self.settings.channels]
        frames = frames[-self.history :]
        cases = np.repeat(frames[None], len(names) + 1, axis=0)
        for number in range(len(names)):
            cases[number + 1][:, owner == number] = np.nan
        scores = np.array([float(self.distance.of(self.features(case))[-1]) for case in cases])
        falls = np.nan_to_num(np.maximum(scores[0] ** 2 - scores[1:] ** 2, 0.0))
        total = falls.sum()
        shares = falls / total if total > 0 else np.full(len(names), 1 / len(names))
        order = np.argsort(-shares, kind="stable")
        return tuple(Share(names[i], float(shares[i])) for i in order)

    def p_value(self, score: float) -> float:
        """How likely a healthy block reaches `score`, by the blocks at calibration."""
        return p_value(self.block_maxima, score)


def _read(content: bytes) -> tuple[Distance, Floats]:
    """The distance and the block maxima of a file that `to_bytes` made."""
    arrays = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise ValueError("one array without a name")  # noqa: TRY004 - of the content, not of an argument
    with arrays:
        maxima = np.sort(arrays["maxima"].astype(np.float32))
        if maxima.ndim != 1 or np.isnan(maxima).any():
            raise ValueError("maxima are not a row of numbers")
        return Distance.from_arrays(arrays), maxima


def trailing_mean(values: Floats, present: Floats, length: int) -> Floats:
    """Means (k - length + 1, F) of the last `length` rows; NaN where fewer than half are present.

    Rows are added in a fixed order, so that a stream cut into other blocks gives the same bits.
    """
    count = len(values) - length + 1
    if count < 1:
        return np.zeros((0, values.shape[1]), np.float32)
    sums, there = np.zeros((count, values.shape[1])), np.zeros((count, values.shape[1]))
    for offset in range(length):
        sums += values[offset : offset + count]
        there += present[offset : offset + count]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (sums / there).astype(np.float32)
    means[there < length / 2] = np.nan
    return means


def embedded_windows(embed: Embed, values: Floats, present: Floats, length: int, stride: int = 1) -> Floats:
    """Embeddings (k - length + 1, d) of all windows of `length` rows, or of every `stride`th; NaN where less than half is present."""
    count = len(values) - length + 1
    parts, step = [], _WINDOWS_AT_A_TIME * stride
    for start in range(0, count, step):
        stop = min(count, start + step)
        windows, masks = (_windows(rows[start : stop + length - 1], length, stride) for rows in (values, present))
        vectors = embed(windows, masks)
        vectors[masks.mean(axis=(1, 2)) < 0.5] = np.nan
        parts.append(vectors)
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _windows(rows: npt.NDArray[np.float32], length: int, stride: int) -> Floats:
    seen = np.lib.stride_tricks.sliding_window_view(rows, length, axis=0)[::stride]
    return np.ascontiguousarray(seen.transpose(0, 2, 1))
