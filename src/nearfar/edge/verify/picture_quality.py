"""Pictures that say too little of who or what is on them; in doubt a picture passes."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from nearfar.edge.verify.problem import Problem
from nearfar.embedder import Item
from nearfar.frontend.decoding import PictureError, decode
from nearfar.frontend.image import ImageFrontend, scaled
from nearfar.frontend.settings import ImageSettings

ENLARGED: Final = 2.0
"""A picture may be enlarged so many times to fill the pixels of the encoder."""
DARK: Final = 0.12
"""Share of full brightness that the brightest 1 in 200 pixels must reach; `BRIGHT` the darkest must stay below."""
BRIGHT: Final = 0.92
CONTRAST: Final = 0.08
"""Least difference in brightness of the darkest and the brightest 1 in 200 pixels, as a share of full brightness."""
SHARPNESS: Final = 0.002
"""Least variance of the Laplacian, as a share of that of the pixels. Sharp photographs and glyphs have 0.06 and more at the
sizes that encoders take, those blurred by a Gaussian of 1 pixel 0.01, of 2 pixels 0.002."""

_ENDS = (0.5, 99.5)


def picture_problem(settings: ImageSettings, item: Item) -> Problem | None:
    """What is wrong with a picture: the first of too small, blank, too dark, too bright, blurred; None where nothing is.

    Args:
        settings: of the encoder's frontend.
        item: a path, the bytes of a file, or an array (h, w) or (h, w, c).

    Raises:
        DataError: `item` is none of these.
        MissingExtraError: Pillow is not installed.

    Source of the measure of sharpness: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000; divided by the
    variance of the pixels it does not depend on the contrast.
    """
    try:
        picture = decode(item, settings.channels)
    except PictureError as error:
        return Problem("cannot be read", f"{error.reason}; {error.detail}" if error.detail else error.reason)
    height, width = picture.shape[:2]
    if min(height, width) * ENLARGED < settings.size:
        least = int(np.ceil(settings.size / ENLARGED))
        return Problem(
            "too small",
            f"{width} x {height} pixels",
            f"give a picture of {least} pixels or more on each side, or come nearer",
        )
    # As the encoder sees it: what is soft in a large photograph may be sharp at the size that counts.
    seen = ImageFrontend(settings).prepare(picture) if min(height, width) >= settings.size else picture
    grey = scaled(seen).mean(axis=2)
    darkest, brightest = (float(end) for end in np.percentile(grey, _ENDS))
    if brightest < DARK:
        return Problem("too dark", f"no brighter than {brightest:.0%}", "give more light")
    if darkest > BRIGHT and brightest - darkest < CONTRAST:
        return Problem("too bright", f"no darker than {darkest:.0%}", "give less light, or a shorter exposure")
    if brightest - darkest < CONTRAST:
        return Problem("blank", f"brightness from {darkest:.0%} to {brightest:.0%}", "check what is before the camera")
    if (sharp := sharpness(grey)) < SHARPNESS:
        return Problem("blurred", f"sharpness {sharp:.4f} of {SHARPNESS}", "hold still, clean the lens and focus")
    return None


def sharpness(grey: npt.NDArray[np.float32]) -> float:
    """Variance of the Laplacian of a picture (h, w), divided by the variance of its pixels; 0 where it is blank or a line."""
    if min(grey.shape) < 3:
        return 0.0
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    spread = float(grey.var())
    return float(laplacian.var()) / spread if spread > 0 else 0.0
