"""From what a person names on a command line to a collection: an index, or a bundle and a source of texts, pictures or rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nearfar.bundle.bundle import Bundle
from nearfar.bundle.manifest import Frontend
from nearfar.edge.collections.collection import (
    Collection,
    collect_index,
    collect_pictures,
    collect_rows,
    collect_texts,
)
from nearfar.edge.collections.near_threshold import (
    Threshold,
    sample_ids,
    threshold_for_pictures,
    threshold_for_rows,
    threshold_for_texts,
)
from nearfar.edge.collections.row_cells import alike, top_cells
from nearfar.edge.collections.shingles import jaccard
from nearfar.edge.collections.top_terms import top_terms
from nearfar.edge.encoder import Encoder
from nearfar.edge.keys import has_key
from nearfar.edge.store.reader import StoreReader
from nearfar.edge.store.schema import BUNDLE_FOLDER, store_path
from nearfar.errors import DataError
from nearfar.frontend.settings import ImageSettings, JointSettings, TableSettings, TextSettings
from nearfar.progress import Stages, silent
from nearfar.sources import open_documents
from nearfar.sources.document import DocumentSource, SearchSource
from nearfar.sources.images import ImageFolder, ImageTable
from nearfar.sources.picture import PictureSource
from nearfar.sources.row_table import RowTable


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table that a source is read from.

    Attributes:
        text: of a table of texts.
        image: of a table of pictures.
        title: its text is embedded before the text.
        id: unique.
        location: where a person finds the item.
        label: the class. Of a folder any value makes the name of the first folder the class.
    """

    text: str = "text"
    image: str = "image"
    title: str | None = None
    id: str | None = None
    location: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """A collection and what made its vectors.

    Attributes:
        collection: the items.
        bundle: that embeds them.
        pictures: where they can be read again; None of anything else.
        rows: likewise.
        folder: the texts lie in a folder.
        tower: of a bundle of several modalities, which one embedded them.
    """

    collection: Collection
    bundle: Bundle
    pictures: PictureSource | None = None
    rows: RowTable | None = None
    folder: bool = False
    tower: str | None = None

    def labels(self) -> list[str]:
        """What a person called each item: of a folder the first folder in it, else what the table says; empty without one."""
        if not self.folder:
            return [entry.label for entry in self.collection]
        parts = (entry.id.partition("/") for entry in self.collection)
        return [folder if slash else "" for folder, slash, _ in parts]

    def threshold(self, *, edits: float = 0.05, seed: int = 0) -> Threshold:
        """Where near-identical begins among these items; see `near_threshold`.

        Raises:
            DataError: they are of several modalities, of which one threshold cannot be told.
        """
        if self.tower is None and isinstance(self.bundle.manifest.frontend, JointSettings):
            towers = ", ".join(self.bundle.manifest.frontend.towers)
            raise DataError(
                f"{self.bundle.path}: among items of several modalities there is no edited copy to take a threshold from: give one "
                f"(--threshold 0.98), or name the bundle, a source, and the tower that takes it (--tower, one of {towers})"
            )
        encoder = Encoder.open(self.bundle, dim=self.collection.vectors.shape[1], tower=self.tower)
        frontend = settings_of(self.bundle, self.tower)
        if self.rows is not None:
            assert isinstance(frontend, TableSettings)
            cells = list(self.rows.contents(sample_ids(self.collection, seed)))
            return threshold_for_rows(cells, encoder, self.collection.vectors, frontend, edits=edits, seed=seed)
        if self.pictures is None:
            return threshold_for_texts(self.collection, encoder, edits=edits, seed=seed)
        assert isinstance(frontend, ImageSettings)
        contents = self.pictures.contents(sample_ids(self.collection, seed))
        return threshold_for_pictures(contents, encoder, self.collection.vectors, channels=frontend.channels, seed=seed)

    def overlap(self) -> Callable[[int, int], float]:
        """What tells how much two items, by row, have in common, 0 to 1: word runs of texts, cells of rows."""
        if self.rows is not None:
            return alike(entry.text for entry in self.collection)
        return lambda one, other: jaccard(self.collection.entry(one).content, self.collection.entry(other).content)

    def terms(self, clusters: Sequence[int], *, count: int) -> list[list[str]]:
        """What tells the items of each cluster from the others: words of texts, cells of rows; nothing of pictures."""
        if self.pictures is not None:
            return [[] for _ in range(max(clusters, default=-1) + 1)]
        contents = (entry.content for entry in self.collection)
        frontend = settings_of(self.bundle, self.tower)
        if isinstance(frontend, TableSettings):
            return top_cells(contents, clusters, frontend, count=count)
        return top_terms(contents, clusters, count=count)


@contextmanager
def gather(
    place: Path,
    source: str | None,
    columns: Columns | None = None,
    *,
    passages: bool = False,
    tower: str | None = None,
    threads: int = 1,
    stages: Stages = silent,
) -> Iterator[Gathered]:
    """Open an index, or embed a source.

    Args:
        place: an index (then without `source`), or a bundle.
        source: what `open_documents` takes; for a bundle of pictures a folder or a Parquet table; for one of rows a
            table or a folder of such.
        columns: of a table.
        passages: look at the passages of documents instead of whole documents.
        tower: of a bundle of several modalities, which one takes the items.
        threads: CPU threads for embedding.
        stages: told how far it is.

    Yields:
        The collection, which is gone at the end of the `with`.

    Raises:
        DataError: a source is missing or one too many, or holds nothing that can be used.
        NearfarError: the bundle or the index is damaged.
    """
    columns = columns or Columns()
    if is_index(place):
        if source is not None:
            raise DataError(f"{place} is an index, which has its own items: leave out {source}, or name a bundle")
        if has_key(place):
            raise DataError(
                f"{place}: the index is encrypted, and its texts would be written in clear to a temporary folder; name its "
                "bundle and the source in its place"
            )
        store = StoreReader(place)
        try:
            with store.snapshot(), collect_index(store, passages=passages, stages=stages) as collection:
                yield Gathered(collection, Bundle.open(place / BUNDLE_FOLDER))
        finally:
            store.close()
        return
    encoder = Encoder.open(place, threads=threads, tower=tower)
    settings = settings_of(encoder.bundle, tower)
    if source is None:
        raise DataError(
            f"{place} is a bundle: name after it what to look at (a folder, a table), or name an index alone"
        )
    if isinstance(settings, ImageSettings):
        pictures = open_pictures(source, columns)
        with collect_pictures(pictures, encoder, stages=stages) as collection:
            yield Gathered(collection, encoder.bundle, pictures, tower=tower)
        return
    if isinstance(settings, TableSettings):
        rows = RowTable(Path(source), label=columns.label, id=columns.id)
        with collect_rows(rows, settings, encoder, stages=stages) as collection:
            yield Gathered(collection, encoder.bundle, rows=rows, tower=tower)
        return
    if not isinstance(settings, TextSettings):
        raise DataError(
            f"{place}: this {f'tower is of {settings.kind}' if tower else f'bundle is of kind {encoder.bundle.manifest.kind}'}, and collections are of texts, pictures or rows: give a bundle "
            "that embeds one of these"
        )
    texts = open_texts(source, columns)
    with collect_texts(texts, encoder, passages=passages, stages=stages) as collection:
        yield Gathered(collection, encoder.bundle, folder=Path(source).is_dir(), tower=tower)


def settings_of(bundle: Bundle, tower: str | None) -> Frontend:
    """How a bundle, or one tower of it, prepares its items."""
    frontend = bundle.manifest.frontend
    return frontend.towers[tower] if tower is not None and isinstance(frontend, JointSettings) else frontend


def is_index(place: Path) -> bool:
    """Whether a folder is an index and not a bundle."""
    return store_path(place).exists()


def open_texts(source: str, columns: Columns) -> DocumentSource | SearchSource:
    """The whole documents of a source, cut into passages; their group is the label where one is wanted of a table."""
    return open_documents(
        source,
        text=columns.text,
        title=columns.title,
        id=columns.id,
        location=columns.location,
        group=columns.label,
        whole=True,
    )


def open_pictures(source: str, columns: Columns) -> PictureSource:
    """The pictures of a folder or a Parquet table.

    Raises:
        DataError: it is neither.
    """
    path = Path(source)
    if path.is_dir():
        return ImageFolder(path, labels="folder" if columns.label is not None else "none")
    if path.suffix.lower() == ".parquet" and path.exists():
        return ImageTable(path, image=columns.image, label=columns.label, id=columns.id)
    what = "is not such" if path.exists() else "does not exist"
    raise DataError(
        f"{path} {what}: a bundle of pictures takes a folder of pictures or a .parquet table with their bytes"
    )
