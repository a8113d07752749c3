"""All that is random about views, drawn at once, on the CPU, for a whole batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.recipe.views import View, Warp

Floats = NDArray[np.float64]

TRIES = 10
"""Boxes drawn in search of one that fits, as torchvision has it."""
_BOX = 2 * TRIES + 2
_SLOTS = 2 * _BOX + 13
"""Uniform numbers a view: every rule takes its own, drawn or not, so that no setting shifts what the others draw."""
BENDS = 4
"""Points along a side of the grid that `warp.bend` displaces."""
_WARP = 6 + 2 * BENDS**2
"""Further numbers a view where a rule has `warp`: only then, so that all others draw what they drew before there was one."""


class Draws(NamedTuple):
    """The random parameters of V views of each of n pictures.

    Attributes:
        affine: (n, V, 2, 3) float32, from the coordinates of the view to those of the picture as it is stored; both run from
            -1 to 1, x before y.
        bend: (n, V, 2, 4, 4) float32, displacement x and y of a grid over the view, in its coordinates, before `affine`.
        colour: (n, V, 4) float32, factors of brightness, contrast and saturation, then hue in turns; (1, 1, 1, 0) changes
            nothing.
        sigma: (n, V) float32, of the blur in pixels of the view; 0 for none.
        solarised: (n, V) bool.
        cutout: (n, V, 4) float32, left, top, right and bottom of a rectangle, from 0 to 1; all 0 for none.
    """

    affine: Tensor
    bend: Tensor
    colour: Tensor
    sigma: Tensor
    solarised: Tensor
    cutout: Tensor

    def rows(self, index: slice | Tensor) -> Draws:
        """Those of some of the pictures."""
        return Draws(*(field[index] for field in self))

    def of_view(self, view: int) -> Draws:
        """Those of one view: fields without their second dimension."""
        return Draws(*(field[:, view] for field in self))

    def to(self, device: torch.device | str) -> Draws:
        """The same on another device."""
        return Draws(*(field.to(device, non_blocking=True) for field in self))


def draw(rules: Sequence[View], aspects: NDArray[np.floating], channels: int, rng: np.random.Generator) -> Draws:
    """Draw the parameters of all views of n pictures.

    What a picture gets depends on its row, its aspect and the state of `rng` alone: the first m rows of a draw for n pictures
    are the draw for m pictures.

    Args:
        rules: of each of the V views.
        aspects: (n,), width / height of the pictures before they were squashed to squares.
        channels: of the pictures; only those of 3 have saturation and hue.
        rng: the source; moves on by the same amount whatever the rules are, but for whether one of them has `warp`.

    Returns:
        Draws on the CPU.
    """
    slots = _SLOTS + (_WARP if any(rule.warp is not None for rule in rules) else 0)
    uniform = rng.random((len(aspects), len(rules), slots)).transpose(1, 2, 0).copy()
    widths = np.asarray(aspects, dtype=np.float64)
    drawn = [_one_view(rule, widths, channels, own) for rule, own in zip(rules, uniform, strict=True)]
    return Draws(*(torch.from_numpy(np.stack(field, axis=1)) for field in zip(*drawn, strict=True)))


def _one_view(rule: View, aspects: Floats, channels: int, uniform: Floats) -> tuple[NDArray[np.generic], ...]:
    crop_slots, cutout_slots, slots = uniform[:_BOX], uniform[_BOX : 2 * _BOX], iter(uniform[2 * _BOX : _SLOTS])
    affine = _affine(rule, aspects, crop_slots, slots)
    bend = np.zeros((len(aspects), 2, BENDS, BENDS))
    if rule.warp is not None:
        affine, bend = _warped(rule.warp, affine, uniform[_SLOTS:])

    jittered = next(slots)
    brightness, contrast, saturation, hue = (2 * next(slots) - 1 for _ in range(4))
    jitter = rule.jitter
    colour = np.zeros((len(aspects), 4))
    if jitter is not None:
        strengths = (jitter.brightness, jitter.contrast, jitter.saturation)
        for place, (strength, at) in enumerate(zip(strengths, (brightness, contrast, saturation), strict=True)):
            # Uniform from max(0, 1 - strength) to 1 + strength.
            low = max(-1.0, -strength)
            colour[:, place] = low + (strength - low) * (at + 1) / 2
        colour[:, 3] = jitter.hue * hue
        colour[jittered >= jitter.probability] = 0.0
    colour[:, :3] += 1.0
    colour[next(slots) < rule.greyscale, 2] = 0.0
    if channels != 3:
        colour[:, 2:] = 1.0, 0.0

    blurred, blur_at = next(slots), next(slots)
    sigma = np.zeros(len(aspects))
    if rule.blur is not None:
        low, high = rule.blur.sigma
        sigma = np.where(blurred < rule.blur.probability, low + (high - low) * blur_at, 0.0)

    solarised = next(slots) < (rule.solarise.probability if rule.solarise else 0.0)

    cut = next(slots)
    cutout = np.zeros((len(aspects), 4))
    if rule.cutout is not None:
        centre, extent = boxes(cutout_slots, np.ones_like(aspects), rule.cutout.area, rule.cutout.ratio)
        sides = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1)
        cutout = np.where((cut < rule.cutout.probability)[:, None], sides, 0.0)

    single = np.float32
    parts = (affine, bend, colour, sigma)
    return *(part.astype(single) for part in parts), solarised, cutout.astype(single)


def _affine(rule: View, aspects: Floats, crop_slots: Floats, slots: Iterator[Floats]) -> Floats:
    """(n, 2, 3): crop, then flips, then a turn about the middle of the crop, in the proportions of the original picture."""
    centre, extent = np.full((len(aspects), 2), 0.5), np.ones((len(aspects), 2))
    if rule.crop is not None:
        centre, extent = boxes(crop_slots, aspects, rule.crop.scale, rule.crop.ratio)
    signs = np.stack(
        [np.where(next(slots) < rule.flip, -1.0, 1.0), np.where(next(slots) < rule.vertical_flip, -1.0, 1.0)], axis=1
    )
    angle = np.deg2rad(rule.rotation) * (2 * next(slots) - 1)
    half = extent * signs
    affine = np.zeros((len(aspects), 2, 3))
    affine[:, 0, 0] = half[:, 0] * np.cos(angle)
    affine[:, 0, 1] = -half[:, 1] * np.sin(angle) / aspects
    affine[:, 1, 0] = half[:, 0] * np.sin(angle) * aspects
    affine[:, 1, 1] = half[:, 1] * np.cos(angle)
    affine[:, :, 2] = 2 * centre - 1
    return affine


def _warped(warp: Warp, affine: Floats, uniform: Floats) -> tuple[Floats, Floats]:
    """What a warp makes of the map (n, 2, 3) from the view to the picture, and the displacement (n, 2, 4, 4) that comes before it.

    The view is stretched along its axes, slanted, turned and shifted, all about its centre.
    """
    # Away from 0 and 1, where the quantiles of the normal distribution end.
    normal = torch.special.ndtri(torch.from_numpy(uniform.clip(1e-9, 1 - 1e-9))).numpy()
    width, height, slant, turn, right, down = normal[:6]
    cosine, sine = np.cos(np.deg2rad(warp.turn) * turn), np.sin(np.deg2rad(warp.turn) * turn)
    stretch = np.exp(warp.stretch * np.stack([width, height], axis=-1))
    sheared = np.zeros((normal.shape[1], 2, 2))
    sheared[:, 0, 0], sheared[:, 1, 1] = stretch.T
    sheared[:, 0, 1] = warp.slant * slant * stretch[:, 1]
    rotation = np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=1)
    shift = warp.shift * np.stack([right, down], axis=-1)
    linear = affine[:, :, :2]
    moved = np.concatenate([linear @ rotation @ sheared, affine[:, :, 2:] + linear @ shift[:, :, None]], axis=2)
    bend = warp.bend * normal[6:].T.reshape(-1, 2, BENDS, BENDS)
    return moved, bend


def boxes(uniform: Floats, aspects: Floats, scale: Sequence[float], ratio: Sequence[float]) -> tuple[Floats, Floats]:
    """Boxes of random area, proportions and place, by the rule of torchvision's RandomResizedCrop.

    The area is uniform, the logarithm of width / height is uniform, and of ten such boxes the first that fits into the picture
    is taken, at a uniform place. Where none fits, the largest central box within the limits of `ratio` is.

    Args:
        uniform: (22, n), uniform in [0, 1).
        aspects: (n,), width / height of the pictures.
        scale: least and largest share of the area.
        ratio: least and largest width / height.

    Returns:
        centre and extent, each (n, 2), x before y, as shares of the picture's width and height.
    """
    share = scale[0] + (scale[1] - scale[0]) * uniform[:TRIES]
    low, high = np.log(ratio[0]), np.log(ratio[1])
    proportion = np.exp(low + (high - low) * uniform[TRIES : 2 * TRIES])
    extents = np.sqrt(np.stack([share * proportion / aspects, share / proportion * aspects], axis=-1))
    fits = (extents <= 1.0).all(axis=-1)
    first = fits.argmax(axis=0)
    extent = extents[first, np.arange(len(aspects))]
    centre = extent / 2 + (1.0 - extent) * uniform[2 * TRIES :].T
    widest = np.clip(aspects, ratio[0], ratio[1])
    central = np.minimum(1.0, np.stack([widest / aspects, aspects / widest], axis=-1))
    found = fits.any(axis=0)[:, None]
    return np.where(found, centre, 0.5), np.where(found, extent, central)
