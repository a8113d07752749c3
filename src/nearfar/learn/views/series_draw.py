"""All that is random about views of windows, drawn at once, on the CPU, for a whole batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.recipe.series import SeriesViews

Floats = npt.NDArray[np.float64]

_KNOTS = 4  # places between which time runs faster or slower


class SeriesDraws(NamedTuple):
    """The random parameters of V views of each of n windows; a field is None where nothing of its kind is asked for.

    Attributes:
        places: (n, V, T) float32, for each frame of a view the place in the window that it shows, from 0 to T - 1.
        removed: (n, V, T // 2 + 1) bool, frequencies that are taken out; never the mean.
        factors: (n, V, C) float32, by which channels are multiplied.
        noise: (n, V, T, F) float32, what is added, in spreads.
        hidden: (n, V, T) bool, frames that count as missing.
        silent: (n, V, C) bool, channels that do.
    """

    places: Tensor | None
    removed: Tensor | None
    factors: Tensor | None
    noise: Tensor | None
    hidden: Tensor | None
    silent: Tensor | None

    def rows(self, index: slice) -> SeriesDraws:
        """Those of some of the windows."""
        return SeriesDraws(*(None if field is None else field[index] for field in self))

    def to(self, device: torch.device | str) -> SeriesDraws:
        """The same on another device."""
        return SeriesDraws(*(None if field is None else field.to(device, non_blocking=True) for field in self))


def draw_series(
    settings: SeriesViews, shape: tuple[int, int, int, int], channels: int, rng: np.random.Generator
) -> SeriesDraws:
    """Draw the parameters of all views of n windows.

    Args:
        settings: the rules.
        shape: (n, V, T, F).
        channels: C, of which the F features are.
        rng: the source.

    Returns:
        Draws on the CPU.
    """
    n, count, frames, features = shape
    places = _places(settings, (n, count), frames, rng)
    removed = factors = noise = hidden = silent = None
    if settings.frequency_mask:
        removed = rng.random((n, count, frames // 2 + 1)) < settings.frequency_mask
        removed[..., 0] = False
    if settings.scale:
        factors = 1 + settings.scale * rng.standard_normal((n, count, channels), np.float32)
    if settings.jitter:
        noise = np.float32(settings.jitter) * rng.standard_normal((n, count, frames, features), np.float32)
    if settings.mask:
        hidden = rng.random((n, count, frames)) < settings.mask
    if settings.channel_dropout:
        silent = rng.random((n, count, channels)) < settings.channel_dropout
        # A view of nothing shows nothing.
        silent[silent.all(axis=2)] = False
    fields = (places, removed, factors, noise, hidden, silent)
    return SeriesDraws(*(None if field is None else torch.from_numpy(np.ascontiguousarray(field)) for field in fields))


def _places(
    settings: SeriesViews, shape: tuple[int, int], frames: int, rng: np.random.Generator
) -> npt.NDArray[np.float32] | None:
    """Which place each frame shows, (n, V, T): a part of the window, stretched, at an uneven pace, in pieces that change places."""
    if settings.crop is None and not settings.time_warp and settings.permutation < 2:
        return None
    even = np.linspace(0.0, 1.0, frames)
    at = np.broadcast_to(even, (*shape, frames))
    if settings.time_warp:
        at = _warped(even, settings.time_warp, shape, rng)
    if settings.crop is not None:
        least, most = settings.crop
        share = rng.uniform(least, most, (*shape, 1))
        at = rng.random((*shape, 1)) * (1 - share) + share * at
    places = (at * (frames - 1)).astype(np.float32)
    if settings.permutation > 1:
        places = np.take_along_axis(places, _permuted(frames, settings.permutation, shape, rng), axis=2)
    return places


def _warped(even: Floats, strength: float, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Times from 0 to 1 that run unevenly, (n, V, T): at inner knots they are early or late by a share of the window.

    Knots keep their order, so that time never runs backwards.
    """
    knots = np.linspace(0.0, 1.0, _KNOTS + 2)
    late = np.zeros((*shape, _KNOTS + 2))
    late[..., 1:-1] = strength * rng.standard_normal((*shape, _KNOTS))
    moved = np.maximum.accumulate((knots + late).clip(0.0, 1.0), axis=2)
    moved[..., 0], moved[..., -1] = 0.0, 1.0
    place = even * (_KNOTS + 1)
    left = np.minimum(place.astype(np.int64), _KNOTS)
    weight = place - left
    warped: Floats = moved[..., left] * (1 - weight) + moved[..., left + 1] * weight
    return warped


def _permuted(frames: int, pieces: int, shape: tuple[int, int], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """The frames in the order of pieces of nearly equal length that have changed places, (n, V, T)."""
    piece = np.arange(frames) * pieces // frames
    order = rng.random((*shape, pieces)).argsort(axis=2)
    # A stable sort by the new place of each frame's piece keeps the frames of a piece in order.
    new_place: npt.NDArray[np.int64] = order[..., piece]
    return new_place.argsort(axis=2, kind="stable")
