"""Made inputs of a graph, in which two runtimes that differ are found out."""

from __future__ import annotations

import numpy as np

from nearfar.embedder import Side
from nearfar.frontend.audio import AudioFrontend
from nearfar.frontend.frontend import Feed, Frontend
from nearfar.frontend.image import ImageFrontend
from nearfar.frontend.series import SeriesFrontend
from nearfar.frontend.settings import CategoryColumn
from nearfar.frontend.table import PRESENT, TableFrontend
from nearfar.frontend.text import TextFrontend

_BATCHES = (1, 1, 2, 4, 8, 16)  # the scales of int8 depend on the batch, so there must be several sizes


def sample_feeds(frontend: Frontend, side: Side, *, seed: int = 0) -> list[Feed]:
    """Make 32 items in batches of growing size.

    Texts are tokens drawn from the whole vocabulary, from one to as many as the side takes; pictures are smooth spots of
    colour with noise over them; recordings are gliding tones in noise, longer from batch to batch; rows have any of the known cells;
    windows are noise about levels, a tenth of it missing. Nothing comes from the user's data, so the sample can be made wherever the
    bundle is.

    Args:
        frontend: of the bundle.
        side: whose prompt and length to use.
        seed: of all that is random.

    Returns:
        The inputs of the graph, batch by batch.
    """
    source = np.random.default_rng(seed)
    if isinstance(frontend, ImageFrontend):
        settings = frontend.settings
        return [{"pixels": _pictures(source, n, settings.channels, settings.size)} for n in _BATCHES]
    if isinstance(frontend, AudioFrontend):
        step, rate = frontend.settings.step, frontend.settings.rate
        longest = max(1, frontend.settings.longest // step)
        return [{"pcm": _sounds(source, n, step * min(place + 1, longest), rate)} for place, n in enumerate(_BATCHES)]
    if isinstance(frontend, TableFrontend):
        return [_rows(source, n, frontend) for n in _BATCHES]
    if isinstance(frontend, SeriesFrontend):
        return [_windows(source, n, frontend) for n in _BATCHES]
    assert isinstance(frontend, TextFrontend)
    before, after = frontend.frame(side)
    longest = frontend.trials(side)["ids"].shape[1]
    room = max(1, longest - len(before) - len(after))
    lengths = np.geomspace(1, room, sum(_BATCHES)).round().astype(int)
    rows = [
        np.concatenate([before, source.integers(0, frontend.vocab_size, length), after]).astype(np.int32)[:longest]
        for length in lengths
    ]
    feeds: list[Feed] = []
    start = 0
    for n in _BATCHES:
        ids, mask = frontend.pad(rows[start : start + n])
        feeds.append({"ids": ids, "mask": mask})
        start += n
    return feeds


def _rows(source: np.random.Generator, n: int, frontend: TableFrontend) -> Feed:
    """Features of n rows: any code of each, and any value between the ends where there is one."""
    codes = source.integers(0, frontend.widths, size=(n, len(frontend.widths)))
    values = np.zeros(codes.shape, np.float32)
    for feature, owner in enumerate(frontend.column_of_feature):
        column = frontend.settings.columns[owner]
        if not isinstance(column, CategoryColumn):
            drawn = source.uniform(column.levels[0], column.levels[-1], n)
            values[:, feature] = np.where(codes[:, feature] == PRESENT, drawn, 0.0)
    return {"values": values, "codes": codes}


def _windows(source: np.random.Generator, n: int, frontend: SeriesFrontend) -> Feed:
    """Scaled windows (n, T, F), with levels as far out as faults."""
    shape = (n, frontend.settings.window, frontend.settings.features)
    levels = source.normal(0, 3, (n, 1, shape[2]))
    present = (source.random(shape) < 0.9).astype(np.float32)
    values = (levels + source.standard_normal(shape)).astype(np.float32)
    return {"window": values * present, "present": present}


def _sounds(
    source: np.random.Generator, n: int, samples: int, rate: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Recordings float32 (n, samples) in [-1, 1]: three tones each that glide, in noise."""
    time = np.arange(samples) / rate
    start = source.uniform(100, 0.3 * rate, (n, 3, 1))
    glide = source.uniform(-0.5, 0.5, (n, 3, 1)) * start
    tones = np.sin(2 * np.pi * (start * time + glide * time * time / 2)).mean(1)
    noise = source.standard_normal((n, samples)) * source.uniform(0.001, 0.05, (n, 1))
    pcm: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = np.clip(0.5 * tones + noise, -1, 1).astype(np.float32)
    return pcm


def _pictures(
    source: np.random.Generator, n: int, channels: int, size: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Pictures float32 (n, channels, size, size) in [0, 1]."""
    coarse = source.random((n, channels, 4, 4), dtype=np.float32)
    cells = np.arange(size) * 4 // size  # which of the four spots a pixel lies in
    noise = source.random((n, channels, size, size), dtype=np.float32)
    return 0.9 * coarse[:, :, cells[:, None], cells[None, :]] + np.float32(0.1) * noise
