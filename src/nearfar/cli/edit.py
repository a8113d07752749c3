"""`nearfar add`, `nearfar remove`: single documents of an index, while the others stay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nearfar.cli.table_options import Id, Items, Location, MetadataColumns, TextIfAny, Title

if TYPE_CHECKING:
    from nearfar.edge import BuildReport

Index = Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")]


def add(
    index: Index,
    source: Annotated[str, typer.Argument(help="A folder, a file or a table, as for nearfar index.")],
    text: TextIfAny = None,
    title: Title = None,
    id_: Id = None,
    location: Location = None,
    metadata: MetadataColumns = None,
    items: Items = None,
) -> None:
    """Add documents to an index, or replace those with the same id; nothing else is removed."""
    from nearfar.bundle import Bundle
    from nearfar.cli.console import show_skipped
    from nearfar.cli.indexing import columns_of, items_of
    from nearfar.edge import SearchIndex
    from nearfar.edge.folder import known_cutting
    from nearfar.edge.items.sources import open_source
    from nearfar.edge.keys import key_if_any
    from nearfar.edge.store.reader import StoreReader
    from nearfar.edge.store.schema import BUNDLE_FOLDER
    from nearfar.edge.towers import Towers
    from nearfar.sources.document import Document

    StoreReader.check(index)
    key = key_if_any(index)
    documents = open_source(
        Towers.of_bundle(Bundle.open(index / BUNDLE_FOLDER, verify=False)),
        source,
        items=items_of(items),
        cutting=known_cutting(index, key),
        text=text,
        title=title,
        id=id_,
        location=location,
        metadata=columns_of(metadata),
        exclude=[index],
    )
    with SearchIndex.edit(index, ask=key) as editor:
        editor.upsert(document for document in documents.documents() if isinstance(document, Document))
    report = editor.report
    show_skipped(documents.report.skipped, [*documents.report.examples, *report.examples])
    _say(index, report)


def remove(
    index: Index,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of documents, as search shows them.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Remove the documents that satisfy a condition, such as: year < 2020")
    ] = None,
) -> None:
    """Remove documents from an index; their files stay."""
    from nearfar.edge import SearchIndex
    from nearfar.errors import DataError

    if bool(ids) == (where is not None):
        raise DataError("say which documents to remove: either their ids, or a condition with --where")
    with SearchIndex.edit(index) as editor:
        removed = editor.delete_where(where) if where is not None else editor.delete(ids or [])
    _say(index, editor.report)
    if not removed:
        raise DataError(
            f"{index}: no document was removed: none has such an id" if ids else f"{index}: no document satisfies that"
        )


def _say(index: Path, report: BuildReport) -> None:
    from nearfar.cli.console import out

    out.print(
        f"{index}: {report.added:,} added, {report.updated:,} updated, {report.unchanged:,} unchanged, "
        f"{report.removed:,} removed, {report.skipped:,} skipped",
        markup=False,
        soft_wrap=True,
    )
