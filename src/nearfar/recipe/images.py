"""The frontend of pictures. The docstrings are its documentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from nearfar.recipe.settings import Settings

Side = Annotated[int, Strict(), Field(ge=8, le=2048)]


class ImageFrontendSettings(Settings):
    """How a picture becomes pixels: the same in training and on the device."""

    kind: Literal["image"]
    size: Side = 32
    """Height and width that the encoder sees, in pixels."""
    channels: Annotated[int, Strict(), Field(ge=1, le=64)] = 3
    """1 for grey, 3 for colour, or as many as the pictures have."""
    fit: Literal["crop", "squash"] = "crop"
    """How a picture that is not square becomes so on the device: its central square, or all of it without its proportions."""
    store_size: Side | None = None
    """Height and width that pictures are prepared with, from which views are cut; by default half as large again as `size`, but no
    larger than the pictures are."""
