"""Made photos of machine parts: drawn with Pillow, painted, lit and turned, with the fault in plain sight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from nearfar.errors import MissingExtraError

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Part = Literal["gear", "bearing", "impeller", "coupling"]
Condition = Literal["sound", "broken tooth", "pitted outer ring", "pitted inner ring", "lost vane", "offset halves"]

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (178, 52, 44),
    "green": (58, 130, 72),
    "blue": (52, 88, 168),
    "yellow": (206, 172, 48),
    "grey": (130, 134, 138),
    "white": (216, 216, 210),
}
"""Paint, as red, green and blue."""

_FINER = 4  # times as large as the photo it is drawn, so that edges come out smooth
_TEETH, _VANES, _BALLS = 14, 6, 9

Colour = tuple[int, int, int]
Points = npt.NDArray[np.float64]


def photo_of(
    part: Part, condition: Condition, colour: str, rng: np.random.Generator, *, size: int
) -> npt.NDArray[np.uint8]:
    """Take a photo.

    Args:
        part: what is on it.
        condition: how it is.
        colour: one of `COLOURS`.
        rng: draws light, background, angle, distance and place.
        size: height and width in pixels.

    Returns:
        uint8 (size, size, 3).

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise MissingExtraError("images", "drawing pictures") from error
    side = _FINER * size
    ground = tuple(int(level) for level in rng.integers(40, 110) + rng.integers(-8, 9, 3))
    picture = Image.new("RGB", (side, side), ground)
    pen = _Pen(ImageDraw.Draw(picture), side, rng)
    red, green, blue = (int(np.clip(level + rng.normal(0, 8), 0, 255)) for level in COLOURS[colour])
    _DRAWN[part](pen, (red, green, blue), condition, rng)
    small = np.asarray(picture.resize((size, size), Image.Resampling.BOX), np.float64)
    # Light from one side, and the noise of a sensor.
    ramp = np.linspace(-1, 1, size)
    light = rng.uniform(0.8, 1.15) + 0.18 * (rng.normal() * ramp[:, None] + rng.normal() * ramp[None, :])
    lit = small * light[:, :, None] + rng.normal(0, 4, small.shape)
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


class _Pen:
    """Draws in units of the part, whose radius is 1, turned and moved as the camera stands."""

    def __init__(self, draw: ImageDraw, side: int, rng: np.random.Generator) -> None:
        self._draw = draw
        self._scale = side * float(rng.uniform(0.34, 0.44))
        self._centre = side / 2 + side * rng.normal(0, 0.03, 2)
        self._angle = float(rng.uniform(0, 2 * np.pi))
        self._tilt = np.array([1.0, float(rng.uniform(0.85, 1.0))])

    def outline(self, points: Points, colour: Colour) -> None:
        """Fill what points (n, 2) surround."""
        cos, sin = np.cos(self._angle), np.sin(self._angle)
        turned = points @ np.array([[cos, sin], [-sin, cos]]) * self._tilt
        self._draw.polygon([tuple(map(float, point)) for point in turned * self._scale + self._centre], fill=colour)

    def disc(self, radius: float, colour: Colour, at: tuple[float, float] = (0.0, 0.0)) -> None:
        """Fill a circle around `at`."""
        self.outline(_circle(radius, 48) + np.array(at), colour)


def _circle(radius: float, corners: int) -> Points:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _darker(colour: Colour, share: float) -> Colour:
    return (int(colour[0] * share), int(colour[1] * share), int(colour[2] * share))


def _gear(pen: _Pen, paint: Colour, condition: Condition, rng: np.random.Generator) -> None:
    steps = np.arange(4 * _TEETH)
    radius = np.where(steps % 4 < 2, 1.0, 0.78)
    if condition == "broken tooth":
        first = int(rng.integers(_TEETH))
        for tooth in (first, (first + 1) % _TEETH):
            radius[4 * tooth : 4 * tooth + 2] = 0.76
    angles = 2 * np.pi * steps / len(steps)
    pen.outline(radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1), paint)
    pen.disc(0.62, _darker(paint, 0.8))
    pen.disc(0.24, (28, 28, 30))


def _bearing(pen: _Pen, paint: Colour, condition: Condition, rng: np.random.Generator) -> None:
    pen.disc(1.0, paint)
    pen.disc(0.8, (70, 70, 74))
    for place in _circle(0.66, _BALLS):
        pen.disc(0.13, (205, 208, 212), (float(place[0]), float(place[1])))
    pen.disc(0.52, _darker(paint, 0.9))
    pen.disc(0.3, (28, 28, 30))
    if condition in ("pitted outer ring", "pitted inner ring"):
        ring = 0.9 if condition == "pitted outer ring" else 0.41
        start = rng.uniform(0, 2 * np.pi)
        for angle in start + np.linspace(0, 1.6, 6) + rng.normal(0, 0.05, 6):
            pit = (float(ring * np.cos(angle)), float(ring * np.sin(angle)))
            pen.disc(float(rng.uniform(0.05, 0.08)), (34, 22, 16), pit)


def _impeller(pen: _Pen, paint: Colour, condition: Condition, rng: np.random.Generator) -> None:
    lost = int(rng.integers(_VANES)) if condition == "lost vane" else -1
    curve = np.linspace(0, 1, 12)
    for vane in range(_VANES):
        if vane == lost:
            continue
        bend = 2 * np.pi * vane / _VANES + 0.9 * curve
        radius = 0.2 + 0.8 * curve
        front = radius[:, None] * np.stack([np.cos(bend), np.sin(bend)], axis=1)
        back = radius[:, None] * np.stack([np.cos(bend + 0.34), np.sin(bend + 0.34)], axis=1)
        pen.outline(np.concatenate([front, back[::-1]]), paint)
    pen.disc(0.34, _darker(paint, 0.75))
    pen.disc(0.13, (28, 28, 30))


def _coupling(pen: _Pen, paint: Colour, condition: Condition, rng: np.random.Generator) -> None:
    offset = float(rng.choice([-1, 1])) * 0.2 if condition == "offset halves" else 0.0
    for left, shift in ((-0.8, 0.0), (0.06, offset)):
        flange = np.array([[left, -0.62], [left + 0.74, -0.62], [left + 0.74, 0.62], [left, 0.62]])
        pen.outline(flange + np.array([0.0, shift]), paint if left < 0 else _darker(paint, 0.85))
        for height in (-0.4, 0.0, 0.4):
            pen.disc(0.09, (40, 40, 44), (left + 0.37, height + shift))
    for begin, end, shift in ((-1.15, -0.8, 0.0), (0.8, 1.15, offset)):
        shaft = np.array([[begin, -0.16], [end, -0.16], [end, 0.16], [begin, 0.16]])
        pen.outline(shaft + np.array([0.0, shift]), (150, 152, 156))


_DRAWN: Final = {"gear": _gear, "bearing": _bearing, "impeller": _impeller, "coupling": _coupling}
