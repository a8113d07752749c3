"""What every frontend offers to the device, so that the encoder knows graphs and nothing of texts or pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt

from nearfar.embedder import Item, Side
from nearfar.frontend.settings import AudioSettings, ImageSettings, SeriesSettings, TableSettings, TextSettings

Feed = dict[str, npt.NDArray[Any]]
"""The inputs of one run of a graph, by name; the first axis of each counts items."""


class GraphInput(NamedTuple):
    """One input that a graph must have.

    Attributes:
        element: its type as onnxruntime names it, for example `tensor(int64)`.
        rank: number of axes.
    """

    element: str
    rank: int


class Frontend(Protocol):
    """Makes the inputs of a graph of raw items."""

    @property
    def inputs(self) -> Mapping[str, GraphInput]:
        """The inputs of the graph by name: these and no others."""
        ...

    @property
    def contract(self) -> str:
        """The same in words, for messages."""
        ...

    @property
    def unit(self) -> str:
        """What the product of the first input's shape counts, for messages: tokens, pixel values."""
        ...

    @property
    def sides_differ(self) -> bool:
        """Whether a query is prepared in another way than a document."""
        ...

    def check(self, items: Sequence[Item]) -> None:
        """Refuse what is no list of items, before any is prepared.

        Raises:
            DataError: one item was passed instead of a list.
        """
        ...

    def feeds(self, items: Sequence[Item], side: Side, batch_size: int) -> Iterator[tuple[list[int], Feed]]:
        """Prepare items block by block, so that memory does not grow with their number.

        Args:
            items: n raw items.
            side: whose prompt and length to use.
            batch_size: most items in one feed.

        Yields:
            Positions in `items`, and the inputs of the graph for them; every position comes once.

        Raises:
            DataError: an item cannot be used; the message says which.
        """
        ...

    def trials(self, side: Side) -> Feed:
        """Extreme inputs, to try a graph with before the first item goes through it."""
        ...


def open_frontend(
    settings: TextSettings | ImageSettings | AudioSettings | SeriesSettings | TableSettings,
    read: Callable[[str], bytes],
    directory: Path,
) -> Frontend:
    """The frontend that a manifest describes.

    Args:
        settings: of the manifest.
        read: gives the content of one of `settings.files`.
        directory: where they lie, for messages.

    Raises:
        DataError: the vocabulary is damaged or does not fit the settings.
    """
    if isinstance(settings, ImageSettings):
        from nearfar.frontend.image import ImageFrontend

        return ImageFrontend(settings)
    if isinstance(settings, AudioSettings):
        from nearfar.frontend.audio import AudioFrontend

        return AudioFrontend(settings)
    if isinstance(settings, SeriesSettings):
        from nearfar.frontend.series import SeriesFrontend

        return SeriesFrontend(settings)
    if isinstance(settings, TableSettings):
        from nearfar.frontend.table import TableFrontend

        return TableFrontend(settings)
    from nearfar.frontend.text import TextFrontend

    name = settings.tokenizer
    return TextFrontend.from_bytes(read(name), settings, name=str(directory / name))
