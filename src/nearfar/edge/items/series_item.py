"""A file of samples as the item of a tower of series."""

from __future__ import annotations

import os
from pathlib import Path

from nearfar.embedder import Item
from nearfar.frontend.settings import SeriesSettings
from nearfar.frontend.windows import window_of
from nearfar.sources.series import open_series


def as_window(item: Item, settings: SeriesSettings) -> Item:
    """The window that stands for a file; a window as it is.

    Args:
        item: the path of a .csv, .tsv or .parquet file of samples, or float32 (T, F) in physical units.
        settings: of the tower.

    Raises:
        DataError: the file cannot be read, or has no window with enough values.
    """
    if not isinstance(item, str | os.PathLike):
        return item
    return window_of(list(open_series(Path(item)).recordings()), settings)
