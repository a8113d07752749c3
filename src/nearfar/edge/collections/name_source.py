"""Naming everything of one modality that a source holds, by the names of classes alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nearfar.bundle.bundle import Bundle
from nearfar.edge.items.sources import open_source
from nearfar.edge.towers import Towers
from nearfar.edge.zero_shot import Named, ZeroShot
from nearfar.errors import DataError
from nearfar.evaluate.zero_shot import TEMPLATES
from nearfar.progress import Stages, silent
from nearfar.sources.document import Document, ReadReport

_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class NamedItem:
    """An item of a source and its name.

    Attributes:
        id: of the item in its source.
        location: where a person finds it.
        named: what it is taken for.
    """

    id: str
    location: str
    named: Named


def name_items(
    bundle: str | Path | Bundle,
    source: str | Path,
    labels: Sequence[str],
    *,
    tower: str,
    columns: Sequence[str] = (),
    id: str | None = None,
    templates: Sequence[str] = TEMPLATES,
    abstain: float | None = None,
    threads: int = 1,
    stages: Stages = silent,
) -> tuple[list[NamedItem], ReadReport]:
    """Name the items of a folder or a table that one tower takes; see `ZeroShot.open`.

    Args:
        bundle: of several modalities, texts among them.
        source: a folder, one file, or a table.
        labels: names of the classes.
        tower: of the items; files that other towers take are passed over.
        columns: of a table, those with the items.
        id: of a table, the column with a unique id.
        templates: ways to say a name.
        abstain: give no label whose score is lower.
        threads: CPU threads.
        stages: told how far it is.

    Returns:
        The items in the order of the source, and what was passed over.

    Raises:
        BundleError: the bundle is damaged, or has not these towers.
        DataError: labels or templates cannot be used, or the source holds nothing that the tower takes.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    classifier = ZeroShot.open(opened, labels, tower=tower, templates=templates, abstain=abstain, threads=threads)
    towers = Towers.of_bundle(opened, threads=threads)
    reader = open_source(towers, source, items={tower: tuple(columns)} if columns else None, id=id)
    found: list[NamedItem] = []
    failed: list[tuple[str, str]] = []
    tick = stages("naming")
    waiting = _of_tower(towers, reader.documents(), tower)
    while batch := list(islice(waiting, _AT_A_TIME)):
        contents = [one.content if one.item is None else one.item for one in batch]
        vectors = towers.embed_each(tower, contents)
        for document, vector in zip(batch, vectors, strict=True):
            if isinstance(vector, DataError):
                failed.append((document.location or document.id, str(vector)))
            else:
                named = classifier.name_vectors(vector[None])[0]
                found.append(NamedItem(document.id, document.location or document.id, named))
        tick(len(batch))
    for location, reason in failed:
        reader.report.skip(location, "cannot be read", detail=reason)
    if not found:
        first = f" The first: {'; '.join(reader.report.examples)}" if reader.report.examples else ""
        raise DataError(f"{source}: holds nothing that tower {tower} ({towers.kinds[tower]}) takes.{first}")
    return found, reader.report


def _of_tower(towers: Towers, documents: Iterator[object], tower: str) -> Iterator[Document]:
    for document in documents:
        if isinstance(document, Document) and (document.modality or towers.texts) == tower:
            yield document
