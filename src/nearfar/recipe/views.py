"""The views block of a recipe: how the pictures that a method compares are made of each picture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from nearfar.recipe.settings import LIMITS, Settings

Probability = Annotated[float, Strict(), Field(ge=0.0, le=1.0)]
Share = Annotated[float, Strict(), Field(gt=0.0, le=1.0)]
Strength = Annotated[float, Strict(), Field(ge=0.0, le=4.0)]
Ratio = Annotated[float, Strict(), Field(ge=0.01, le=100.0)]
Pixels = Annotated[float, Strict(), Field(gt=0.0, le=100.0)]


Shares = Annotated[tuple[Share, ...], *LIMITS]
Ratios = Annotated[tuple[Ratio, ...], *LIMITS]
Sigmas = Annotated[tuple[Pixels, ...], *LIMITS]


class Crop(Settings):
    """A part of the picture, resized to the size of the view."""

    scale: Shares = (0.2, 1.0)
    """Smallest and largest share of the picture's area."""
    ratio: Ratios = (3 / 4, 4 / 3)
    """Smallest and largest width divided by height."""


class Jitter(Settings):
    """Random changes of brightness, contrast, saturation and hue."""

    probability: Probability = 0.8
    """How often."""
    brightness: Strength = 0.4
    """At most this much brighter or darker: the factor is drawn from 1 - b (at least 0) to 1 + b."""
    contrast: Strength = 0.4
    """At most this much more or less contrast, about the mean grey of the view."""
    saturation: Strength = 0.4
    """At most this much more or less colour; pictures of other than 3 channels have none."""
    hue: Annotated[float, Strict(), Field(ge=0.0, le=0.5)] = 0.1
    """At most this share of a turn of the colour circle, both ways; pictures of other than 3 channels have none."""


class Blur(Settings):
    """A Gaussian blur."""

    probability: Probability = 0.5
    """How often."""
    sigma: Sigmas = (0.1, 2.0)
    """Smallest and largest standard deviation, in pixels of the view."""


class Solarise(Settings):
    """Bright pixels inverted."""

    probability: Probability = 0.2
    """How often."""
    threshold: Annotated[float, Strict(), Field(ge=0.0, le=1.0)] = 0.5
    """What is at least so bright, of 1, is inverted, each channel on its own."""


class Cutout(Settings):
    """A rectangle overwritten with the mean of the view."""

    probability: Probability = 0.5
    """How often."""
    area: Shares = (0.02, 0.33)
    """Smallest and largest share of the view's area."""
    ratio: Ratios = (0.3, 3.3)
    """Smallest and largest width divided by height."""


class Warp(Settings):
    """A random affine map about the centre, and a smooth displacement."""

    stretch: Strength = 0.12
    """Standard deviation of the logarithm of width and of height."""
    slant: Strength = 0.15
    """Standard deviation of the shear."""
    shift: Strength = 0.06
    """Standard deviation of the shift, as a share of half the picture."""
    turn: Annotated[float, Strict(), Field(ge=0.0, le=180.0)] = 10.0
    """Standard deviation of the turn, in degrees."""
    bend: Strength = 0.0
    """Standard deviation of the displacement of a 4 x 4 grid, as a share of half the picture; smooth between."""


class View(Settings):
    """How one view of a picture is made. The steps come in the order of the keys."""

    crop: Crop | None = Crop()
    """Which part of the picture the view shows; `null` shows all of it, squashed to a square if it is not one."""
    flip: Probability = 0.5
    """How often left and right are swapped."""
    vertical_flip: Probability = 0.0
    """How often top and bottom are swapped: for pictures without an up, such as cells or the ground from above."""
    rotation: Annotated[float, Strict(), Field(ge=0.0, le=180.0)] = 0.0
    """Turned by at most so many degrees, both ways; what lies outside the picture is its mirror image."""
    warp: Warp | None = None
    """Stretched, slanted and bent a little, as handwriting is; what lies outside is the edge's pixel, repeated."""
    jitter: Jitter | None = Jitter()
    """Changes of brightness, contrast, saturation and hue."""
    greyscale: Probability = 0.2
    """How often colour is taken away; pictures of other than 3 channels have none."""
    blur: Blur | None = None
    """Gaussian blur. It helps with pictures of about 100 pixels and more; small ones have no detail to spare."""
    solarise: Solarise | None = None
    """Inversion of bright pixels (BYOL, arXiv:2006.07733)."""
    cutout: Cutout | None = None
    """A rectangle overwritten (arXiv:1708.04896)."""


class LocalViews(Settings):
    """Small views of small parts of the picture, besides the two of full size (multi-crop, SwAV, arXiv:2006.09882)."""

    count: Annotated[int, Strict(), Field(ge=1, le=16)] = 6
    """How many a picture."""
    size: Annotated[int, Strict(), Field(ge=4, le=2048)] = 16
    """Height and width, in pixels."""
    scale: Shares = (0.05, 0.2)
    """Smallest and largest share of the picture's area."""


class Views(View):
    """What is compared: two random views of each picture, drawn by these rules."""

    kind: Literal["image"] = "image"
    """Said by `frontend.kind`; need not be written."""
    second: View | None = None
    """Rules of the second view, where they are others than those of the first (BYOL, MoCo v3, Barlow Twins). What is left out here
    has its default, not the first view's value. `null` draws both alike."""
    local: LocalViews | None = None
    """Smaller views besides these two, drawn by the rules of the first view but for their crop."""

    def each(self) -> tuple[View, ...]:
        """The rules of every view, in order: the two of full size, then the local ones."""
        first = View(**{key: getattr(self, key) for key in View.model_fields})
        if self.local is None:
            return first, self.second or first
        ratio = (self.crop or Crop()).ratio
        local = first.model_copy(update={"crop": Crop(scale=self.local.scale, ratio=ratio)})
        return first, self.second or first, *[local] * self.local.count

    def sizes(self, size: int) -> tuple[int, ...]:
        """Height and width of every view in pixels, where those of full size have `size`."""
        return (size, size, *([self.local.size] * self.local.count if self.local else []))
