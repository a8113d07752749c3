"""The pictures of a run on disk: pixels in one file of squares, a few numbers for each picture beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nearfar.frontend.image import PictureError, decode
from nearfar.learn.data.noted import Noted, check_bad_rows, content_key, nothing_read, numbered, passed_over
from nearfar.learn.data.picture_store import (
    LOOKED_AT,
    PictureWriter,
    Pixels,
    aspect_of,
    moments,
    open_pixels,
    square,
    store_format,
    wanted_size,
)
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.learn.data.textfile import TextFile, append_text
from nearfar.learn.data.whole import write_whole
from nearfar.recipe.data import Data, DigitsSource, ImageSource, ImagesSource
from nearfar.recipe.identity import IdentityPairing
from nearfar.recipe.images import ImageFrontendSettings
from nearfar.sources.document import ReadReport
from nearfar.sources.images import DigitsSource as Digits
from nearfar.sources.images import ImageFolder, ImageTable, Picture

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PictureCounts:
    """What the corpus holds."""

    pictures: int
    train: int
    validation: int
    test: int
    labelled: int
    twins_dropped: int
    """Pictures to train or validate on whose exact content is held out from that too; where identities are learned, also those whose
    exact content two identities have."""
    store_size: int
    dtype: str
    channels: int
    classes: list[str]
    mean: list[float]
    std: list[float]
    fingerprint: str
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    """Names of the groups whose error rates are told apart."""
    sessions: int = 0
    """Sessions that pictures were taken in, each of one label; 0 where the data say nothing."""


@dataclass(frozen=True)
class PictureCorpus:
    """Pictures by number.

    Attributes:
        pixels: (n, c, S, S) in [0, 1] as fractions of the largest number of their format; squashed to squares.
        aspects: (n,) float32, width / height that each picture had.
        labels: (n,) int64, places in `counts.classes`; -1 for none.
        side: (n,) TRAIN, VALIDATION, TEST or DROPPED.
        sessions: (n,) int64, equal for pictures of one label that were taken in one go; -1 where the data say nothing.
        attributes: (n,) int64, places in `counts.attributes`; -1 for none.
        ids: the name of each picture in its source.
        counts: how many of everything.
    """

    pixels: npt.NDArray[Any]
    aspects: npt.NDArray[np.float32]
    labels: Ints
    side: npt.NDArray[np.int8]
    sessions: Ints
    attributes: Ints
    ids: TextFile
    counts: PictureCounts

    def numbers_of(self, side: int) -> Ints:
        """The numbers of the pictures of one side."""
        return np.flatnonzero(self.side == side)

    @classmethod
    def open(cls, directory: Path) -> PictureCorpus:
        """Open a corpus that `prepare_pictures` wrote."""
        counts = PictureCounts(**json.loads((directory / "pictures.json").read_text("utf-8")))
        shape = (counts.pictures, counts.channels, counts.store_size, counts.store_size)
        pixels = open_pixels(directory / "pixels.bin", shape, counts.dtype)
        with np.load(directory / "pictures.npz") as arrays:
            aspects, labels, side = (arrays[name] for name in ("aspects", "labels", "side"))
            unknown = np.full(counts.pictures, -1, np.int64)  # runs of earlier versions know of neither
            sessions, attributes = (arrays.get(name, unknown) for name in ("sessions", "attributes"))
        return cls(pixels, aspects, labels, side, sessions, attributes, TextFile(directory / "ids"), counts)


PictureReader = ImageFolder | ImageTable | Digits


def open_source(settings: ImageSource, *, unlabelled: Literal["skip", "keep"] = "keep") -> PictureReader:
    """What reads the pictures of a recipe; `unlabelled` says what becomes of rows of a table without label."""
    if isinstance(settings, DigitsSource):
        return Digits()
    if isinstance(settings, ImagesSource):
        return ImageFolder(settings.path, labels=settings.labels, suffixes=settings.suffixes)
    return ImageTable(settings.path, **settings.columns.model_dump(), unlabelled=unlabelled)


class _Decoded:
    """One picture as pixels, with what the reader said of it."""

    def __init__(self, picture: Picture, pixels: Pixels) -> None:
        self.of = picture
        self.pixels = pixels
        self.key = content_key(np.ascontiguousarray(pixels).tobytes())


def _decoded(
    source: PictureReader, channels: int, at_least: int, report: ReadReport, progress: Callable[[int], None]
) -> Iterator[_Decoded]:
    for picture in source.pictures():
        progress(1)
        try:
            pixels = decode(picture.content, channels, name=picture.location, at_least=at_least)
        except PictureError as error:
            report.skip(picture.location, error.reason, detail=error.detail)
            continue
        yield _Decoded(picture, pixels)


def prepare_pictures(
    data: Data,
    frontend: ImageFrontendSettings,
    directory: Path,
    seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> PictureCorpus:
    """Read the source once, split it, and leave the result in `directory`.

    Args:
        data: the recipe's data block.
        frontend: how large pictures are, and how many channels they have.
        directory: where the files go; an unfinished earlier attempt there is overwritten.
        seed: of the split.
        progress: called with the number of pictures just read.

    Returns:
        The corpus, memory-mapped.

    Raises:
        DataError: where nothing could be read, or pictures were bad and `bad_rows` is `refuse`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    assert isinstance(data.source, ImageSource)
    identity = isinstance(data.pairings[0], IdentityPairing)
    # A picture of nobody teaches nothing about anyone.
    source, report = open_source(data.source, unlabelled="skip" if identity else "keep"), ReadReport()
    decoded = _decoded(source, frontend.channels, wanted_size(frontend), report, progress)
    noted, written = _write(decoded, directory, frontend)
    skipped, examples = passed_over(source.report, report)
    check_bad_rows(data, skipped, examples)
    if not noted.keys:
        raise nothing_read("pictures", data, skipped, examples)
    side = noted.sides(data, identity=identity, seed=seed)
    # A session of one name is another with each label.
    sessions_of = [
        f"{label}\0{session}" if session else "" for label, session in zip(noted.labels, noted.sessions, strict=True)
    ]
    (classes, labels), (sessions, session), (attributes, attribute) = map(
        numbered, (noted.labels, sessions_of, noted.attributes)
    )
    np.savez(
        directory / "pictures.npz",
        aspects=np.array(written.aspects, np.float32),
        labels=labels,
        side=side,
        sessions=session,
        attributes=attribute,
    )
    pixels = open_pixels(
        directory / "pixels.bin", (len(side), frontend.channels, written.size, written.size), written.dtype
    )
    mean, std = moments(pixels, np.flatnonzero(side == TRAIN), seed)
    counts = PictureCounts(
        pictures=len(side),
        train=int((side == TRAIN).sum()),
        validation=int((side == VALIDATION).sum()),
        test=int((side == TEST).sum()),
        labelled=int((labels >= 0).sum()),
        twins_dropped=int((side == DROPPED).sum()),
        store_size=written.size,
        dtype=str(written.dtype),
        channels=frontend.channels,
        classes=classes,
        mean=mean,
        std=std,
        fingerprint=noted.fingerprint,
        skipped=skipped,
        examples=examples,
        attributes=attributes,
        sessions=len(sessions),
    )
    # Last: its presence says that the corpus is whole.
    write_whole(directory / "pictures.json", json.dumps(asdict(counts), indent=1, ensure_ascii=False))
    return PictureCorpus.open(directory)


def first_pictures(data: Data, frontend: ImageFrontendSettings, count: int) -> tuple[Tensor, npt.NDArray[np.float32]]:
    """The first pictures of a source as a run would store them: pixels (n, c, S, S) and aspects (n,).

    Raises:
        DataError: there are none.
    """
    assert isinstance(data.source, ImageSource)
    source, report = open_source(data.source), ReadReport()
    decoded = _decoded(source, frontend.channels, wanted_size(frontend), report, lambda _: None)
    first = [one.pixels for one in islice(decoded, max(count, LOOKED_AT))]
    if not first:
        raise nothing_read("pictures", data, *passed_over(source.report, report))
    size, dtype = store_format(first[:LOOKED_AT], frontend)
    first = first[:count]
    squares = [square(pixels, size, dtype) for pixels in first]
    return torch.from_numpy(np.stack(squares)), np.array([aspect_of(pixels) for pixels in first], np.float32)


def _write(
    pictures: Iterator[_Decoded], directory: Path, frontend: ImageFrontendSettings
) -> tuple[Noted, PictureWriter]:
    """Store pixels and names; returns what is said of each picture, and what knows of their format."""
    noted = Noted()
    with (
        PictureWriter(directory / "pixels.bin", frontend) as pixels,
        TextFile.writer(directory / "ids") as ids,
    ):
        for picture in pictures:
            pixels.add(picture.pixels)
            append_text(ids, picture.of.id)
            noted.add(picture.of, picture.key)
    return noted, pixels
