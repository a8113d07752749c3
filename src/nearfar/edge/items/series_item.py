"""A file of samples as the item of a tower of series."""

from __future__ import annotations

import os
from pathlib import Path

from nearfar.embedder import Item
from nearfar.errors import DataError
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
    recordings = list(open_series(Path(item)).recordings())  # names the file by itself
    try:
        return window_of(recordings, settings)
    except DataError as error:
        raise DataError(f"{os.fsdecode(item)}: {error}") from error
