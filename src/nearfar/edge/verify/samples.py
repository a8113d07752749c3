"""Samples of identities, from a folder with a folder for each or from a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nearfar.embedder import Item
from nearfar.errors import DataError
from nearfar.frontend.settings import AudioSettings, ImageSettings
from nearfar.sources.document import ReadReport

TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture or recording of somebody.

    Attributes:
        identity: of whom.
        item: as the encoder takes it.
        session: what was recorded in one go; empty where nothing says it.
        location: where a person finds it, for messages.
        attribute: whose groups error rates are told apart for; empty where nothing says it.
    """

    identity: str
    item: Item
    session: str = ""
    location: str = ""
    attribute: str = ""


_LINES = (".csv", ".tsv", ".jsonl", ".json")
"""Kinds of tables that do not hold pictures."""


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """The columns of a table of samples; a folder needs none.

    Attributes:
        item: with the picture or recording; by default `image` or `audio`.
        label: that says whose it is.
        session: that says what was recorded in one go.
        split: that says which part of a data set it is of.
        attribute: whose groups error rates are told apart for.
    """

    item: str | None = None
    label: str = "label"
    session: str | None = None
    split: str | None = None
    attribute: str | None = None


class SampleSource:
    """The samples of a folder or a table. Those of the split `train` are left out, and counted: an encoder that has seen them says
    nothing of others.

    Args:
        settings: of the frontend of the encoder, which decides what is read.
        path: a folder with a folder for each identity, whose folders are sessions; or a table: a Parquet file or a folder of
            them, and of recordings also .csv or .jsonl that name files.
        columns: of a table.

    Raises:
        DataError: the encoder takes neither pictures nor sound.

    Attributes:
        report: what was passed over, when it has been read.
        trained_on: samples of the split `train`, when it has been read.
    """

    def __init__(self, settings: object, path: str | Path, columns: SampleColumns | None = None) -> None:
        if not isinstance(settings, (ImageSettings, AudioSettings)):
            raise DataError(
                "only encoders of pictures and of sound tell identities apart: give a bundle of kind image-encoder or audio-encoder"
            )
        self._settings, self._path, self._columns = settings, Path(path), columns or SampleColumns()
        self.report = ReadReport()
        self.trained_on = 0

    def samples(self) -> Iterator[Sample]:
        """Yield the samples in a fixed order.

        Raises:
            DataError: there is nothing at the path, a column is missing, or nothing can be used.
            MissingExtraError: pyarrow is not installed, and the table is Parquet.
        """
        self.trained_on = 0
        settings = self._settings
        for split, sample in self._clips(settings.rate) if isinstance(settings, AudioSettings) else self._pictures():
            if split == TRAIN:
                self.trained_on += 1
            else:
                yield sample

    def _pictures(self) -> Iterator[tuple[str, Sample]]:
        from nearfar.sources.images import ImageFolder, ImageTable

        columns = self._columns
        if self._path.suffix.lower() in _LINES:
            raise DataError(
                f"{self._path}: this bundle is of kind image-encoder, whose samples are a folder of pictures for each identity, or a "
                "Parquet table; files that name others are read of recordings only (see the bundle with nearfar inspect)"
            )
        source = (
            ImageTable(
                self._path,
                columns.item or "image",
                columns.label,
                columns.split,
                session=columns.session,
                attribute=columns.attribute,
            )
            if _is_table(self._path)
            else ImageFolder(self._path, "folder")
        )
        for picture in source.pictures():
            self.report = source.report
            session = picture.session
            yield picture.split, Sample(picture.label, picture.content, session, picture.location, picture.attribute)

    def _clips(self, rate: int) -> Iterator[tuple[str, Sample]]:
        from nearfar.frontend.sound import AudioError, decode_sound
        from nearfar.sources.clip_table import ClipTable
        from nearfar.sources.clips import ClipFolder

        columns = self._columns
        source = (
            ClipTable(
                self._path,
                audio=columns.item or "audio",
                label=columns.label,
                split=columns.split,
                session=columns.session,
                attribute=columns.attribute,
            )
            if _is_table(self._path)
            else ClipFolder(self._path, "folder")
        )
        for clip in source.clips():
            self.report = source.report
            item: Item = clip.content
            if clip.start is not None or clip.end is not None:
                try:
                    item = decode_sound(item, rate, start=clip.start, end=clip.end)
                except AudioError as error:
                    source.report.skip(clip.location, error.reason, detail=error.detail)
                    continue
            yield clip.split, Sample(clip.label, item, clip.session, clip.location, clip.attribute)


def numbered(names: Iterable[str]) -> list[int]:
    """A number for each name, the same for the same: those that numpy can compare."""
    seen: dict[str, int] = {}
    return [seen.setdefault(name, len(seen)) for name in names]


def _is_table(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.glob("*.parquet")))
