"""What a recipe makes of the user's own pictures, to look at before hours of training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nearfar.errors import DataError, RecipeError
from nearfar.recipe import Recipe
from nearfar.recipe.modality import PARTS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def show_views(recipe: Recipe, target: Path, *, count: int = 8, columns: int = 6) -> npt.NDArray[np.uint8]:
    """Write a PNG with the first pictures of a recipe and views of each beside them.

    Args:
        recipe: for pictures.
        target: the file.
        count: pictures, one a row.
        columns: views of each, at least; local ones come besides.

    Returns:
        The grid, (H, W, 3).

    Raises:
        RecipeError: the recipe is not for pictures.
        DataError: there are no pictures, or the file cannot be written.
        MissingExtraError: torch or Pillow is not installed.
    """
    from nearfar.road.run import training_wing

    if recipe.modality != "image":
        raise RecipeError(
            f"recipe {recipe.name} is for {PARTS[recipe.modality].items}: only pictures have views to look at"
        )
    training_wing()
    import numpy as np

    from nearfar.learn.data.pictures import first_pictures
    from nearfar.learn.views import Views, sheet, write_png

    frontend = recipe.of_images.frontend
    pixels, aspects = first_pictures(recipe.data, frontend, count)
    views = Views(recipe.of_images.views, size=frontend.size, channels=frontend.channels)
    drawn = [
        views.apply(pixels, views.draw(aspects, np.random.default_rng([recipe.seed, 1, step])))
        for step in range(-(-columns // views.full))
    ]
    # Those of full size first, as in a batch.
    shown = [view for made in drawn for view in made[: views.full]] + [*drawn[0][views.full :]]
    grid = sheet(pixels, shown, aspects)
    try:
        write_png(grid, target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror or error}") from error
    return grid
