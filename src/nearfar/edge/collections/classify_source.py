"""Classifying everything that a source or an index holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from nearfar.bundle.bundle import Bundle
from nearfar.edge.collections.classify import Classifier, Label
from nearfar.edge.collections.collection import Collection, Entry
from nearfar.edge.collections.gather import Columns, gather, is_index, open_pictures
from nearfar.errors import BundleError, DataError
from nearfar.frontend.settings import JointSettings
from nearfar.progress import Stages, silent
from nearfar.sources.document import ReadReport

_BLOCK = 4096
_PICTURES = 64


@dataclass(frozen=True, slots=True)
class Classified:
    """Items with their labels.

    Attributes:
        entries: n items, read when they are asked for.
        labels: n labels.
        truth: n names that the source gives; empty where it gives none.
        report: what was passed over.
    """

    entries: Iterable[Entry]
    labels: list[Label]
    truth: list[str]
    report: ReadReport

    @property
    def answered_rightly(self) -> tuple[int, int, int]:
        """Of the items that the source has a label for: how many there are, are answered, and are answered rightly."""
        pairs = [(found.label, true) for found, true in zip(self.labels, self.truth, strict=True) if true]
        answered = [(label, true) for label, true in pairs if label is not None]
        return len(pairs), len(answered), sum(label == true for label, true in answered)


@contextmanager
def classified(
    bundle: Path,
    source: str,
    columns: Columns | None = None,
    *,
    abstain: float | None = None,
    tower: str | None = None,
    threads: int = 1,
    stages: Stages = silent,
) -> Iterator[Classified]:
    """Classify the items of a source, or the documents of an index by the vectors that it keeps.

    Args:
        bundle: with a classifier.
        source: a folder, a table, an index.
        columns: of a table; with `label` the truth is read, to compare with.
        abstain: as in `Classifier.open`.
        tower: likewise; of an index it is not needed.
        threads: CPU threads.
        stages: told how far it is.

    Yields:
        Items and labels; the items are gone at the end of the `with`.

    Raises:
        BundleError: the bundle has no classifier, or the index was made by another encoder.
        DataError: the source holds nothing that can be used.
    """
    opened = Bundle.open(bundle, verify=False)
    if tower is None and is_index(Path(source)) and isinstance(opened.manifest.frontend, JointSettings):
        tower = next(iter(opened.manifest.frontend.towers))  # only vectors are classified, whose towers share a space
    classifier = Classifier.open(bundle, abstain=abstain, tower=tower, threads=threads)
    columns = columns or Columns()
    if is_index(Path(source)):
        with gather(Path(source), None, stages=stages) as gathered:
            _check_encoder(opened, gathered.bundle, gathered.collection.vectors.shape[1], source)
            collection = gathered.collection
            yield Classified(collection, _of(classifier, collection), [""] * len(collection), ReadReport())
    elif opened.manifest.head is None:
        yield _by_graph(classifier, source, columns, stages)
    else:
        with gather(bundle, source, columns, tower=tower, threads=threads, stages=stages) as gathered:
            collection = gathered.collection
            truth = gathered.labels() if columns.label is not None else [""] * len(collection)
            yield Classified(collection, _of(classifier, collection), truth, collection.report)


def _of(classifier: Classifier, collection: Collection) -> list[Label]:
    labels: list[Label] = []
    for start in range(0, len(collection), _BLOCK):
        labels += classifier.classify_vectors(np.asarray(collection.vectors[start : start + _BLOCK], dtype=np.float32))
    return labels


def _by_graph(classifier: Classifier, source: str, columns: Columns, stages: Stages) -> Classified:
    """By a classifier that is part of the graph, which needs the pictures themselves."""
    pictures = open_pictures(source, columns)
    entries: list[Entry] = []
    labels: list[Label] = []
    failed: list[tuple[str, str]] = []
    tick = stages("classifying")
    waiting = iter(pictures.pictures())
    while batch := list(islice(waiting, _PICTURES)):
        try:
            found: list[Label | None] = list(classifier.classify([picture.content for picture in batch]))
        except DataError:
            # One by one, so that one bad picture costs no other.
            found = []
            for picture in batch:
                try:
                    found += classifier.classify([picture.content])
                except DataError as error:
                    failed.append((picture.location or picture.id, str(error)))
                    found.append(None)
        for picture, label in zip(batch, found, strict=True):
            if label is not None:
                entries.append(Entry(picture.id, "", picture.location or picture.id, "", picture.label))
                labels.append(label)
        tick(len(batch))
    for location, reason in failed:
        pictures.report.skip(location, "not a picture that can be read", detail=reason)
    if not entries:
        raise DataError(f"{source}: no picture in it can be used. The first: {'; '.join(pictures.report.examples)}")
    return Classified(entries, labels, [entry.label for entry in entries], pictures.report)


def _check_encoder(bundle: Bundle, of_index: Bundle, dim: int, source: str) -> None:
    """Vectors mean something to the encoder alone that made them."""
    if of_index.digest not in {bundle.digest, bundle.manifest.provenance.parent}:
        raise BundleError(
            f"{source}: this index was made by another bundle ({of_index.manifest.name}): "
            "classify the source itself, or build the index again with this bundle"
        )
    if dim != bundle.manifest.dim:
        raise BundleError(
            f"{source}: the index keeps {dim} of {bundle.manifest.dim} components, and the classifier needs all: "
            "classify the source itself, or build the index again without --dim"
        )
