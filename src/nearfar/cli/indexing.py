"""What `nearfar index` and `nearfar watch` do, and what they say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nearfar.edge.derive import Engine
    from nearfar.edge.keys import Key
    from nearfar.edge.towers import Towers
    from nearfar.sources.cut import Cutting


class Indexing:
    """Brings one index up to date with one source, once or whenever the source changes."""

    def __init__(
        self,
        bundle: Path,
        source: str,
        output: Path,
        columns: Mapping[str, str | None],
        *,
        metadata: str | None = None,
        words: int | None = None,
        overlap: int | None = None,
        engine: str | None = None,
        dim: int | None = None,
        teacher: Path | None = None,
        items: Sequence[str] | None = None,
    ) -> None:
        """Say what is indexed where; the arguments are those of the command.

        Raises:
            DataError: passages cannot be cut like that, there is no such engine, or an item is not TOWER=COLUMN.
        """
        from nearfar.edge.derive import check_engine

        self._bundle = bundle
        self._source = source
        self._output = output
        self._columns = {name: column for name, column in columns.items() if column is not None}
        self._metadata = columns_of(metadata)
        self._words, self._overlap = words, overlap
        self._engine: Engine | None = None if engine is None else check_engine(engine)
        self._dim = dim
        self._teacher = teacher
        self._items = items_of(items)
        self._key: Key | None = None

    def once(self, *, rebuild: bool = False, encrypt: str | None = None) -> None:
        """Index, and say what was done."""
        from nearfar.cli.console import notes, out, progress_lines, show_skipped
        from nearfar.edge import Encoder, SearchIndex
        from nearfar.edge.folder import known_stamps
        from nearfar.edge.items.sources import open_source
        from nearfar.edge.keys import key_if_any
        from nearfar.progress import cumulative

        teacher = None if self._teacher is None else Encoder.open(self._teacher, threads=os.cpu_count() or 1)
        # Once, so that a passphrase is asked for once.
        self._key = self._key or (None if rebuild else key_if_any(self._output))
        cutting = self._cut(rebuild=rebuild)
        with known_stamps(self._output, rebuild=rebuild, ask=self._key) as unchanged, progress_lines() as stages:
            documents = open_source(
                self._towers(),
                self._source,
                items=self._items,
                metadata=self._metadata,
                cutting=cutting,
                unchanged=unchanged,
                exclude=[self._output],
                **self._columns,
            )
            progress = cumulative(stages, {"documents": "indexing", "graph": "making it fast to search"})
            with SearchIndex.build(
                self._bundle,
                documents.documents(),
                self._output,
                rebuild=rebuild,
                dim=self._dim,
                cutting=cutting,
                engine=self._engine,
                encrypt=encrypt,
                ask=self._key,
                teacher=teacher,
                progress=progress,
            ) as built:
                size, passages = len(built), built.passages
        report = built.report
        assert report is not None
        show_skipped(documents.report.skipped, [*documents.report.examples, *report.examples])
        if report.untaught:
            passages_were = "passage was" if report.untaught == 1 else "passages were"
            notes.print(
                f"note: {report.untaught:,} {passages_were} embedded by the bundle itself; its teacher does it better, where it is "
                "at hand (--teacher)",
                soft_wrap=True,
            )
        passed_over = documents.report.skipped_total + report.skipped
        parts = f" in {passages:,} passages" if passages != size else ""
        out.print(
            f"{self._output}: {size:,} documents{parts} ({report.added:,} added, {report.updated:,} updated, "
            f"{report.unchanged:,} unchanged, {report.removed:,} removed, {passed_over:,} skipped)",
            markup=False,
            soft_wrap=True,
        )

    def _towers(self) -> Towers:
        from nearfar.bundle import Bundle
        from nearfar.edge.towers import Towers

        return Towers.of_bundle(Bundle.open(self._bundle, verify=False))

    def _cut(self, *, rebuild: bool) -> Cutting:
        """As the user says, and where he says nothing as it was the last time."""
        from nearfar.edge.folder import known_cutting
        from nearfar.sources.cut import Cutting

        known = (None if rebuild else known_cutting(self._output, self._key)) or Cutting()
        words = known.words if self._words is None else self._words
        return Cutting(words, min(known.overlap, words // 2) if self._overlap is None else self._overlap)

    def watch(self, *, rebuild: bool = False, encrypt: str | None = None) -> None:
        """Index, and again whenever files change, until Ctrl-C."""
        from nearfar.cli.console import out
        from nearfar.edge.items.sources import watched_suffixes
        from nearfar.errors import DataError, NearfarError
        from nearfar.sources.watch import changes

        if not Path(self._source).exists():
            raise DataError(f"{self._source} does not exist: name a folder to watch")
        # Before the first indexing, so that nothing that changes meanwhile is missed.
        changed = changes(Path(self._source), watched_suffixes(self._towers()), exclude=[self._output])
        self.once(rebuild=rebuild, encrypt=encrypt)
        out.print(f"watching {self._source}; Ctrl-C ends it")
        for _ in changed:
            try:
                self.once()
            except NearfarError as error:
                # A folder may be empty, or a disk full, for a moment only.
                out.print(f"not indexed: {error}", markup=False)


def columns_of(names: str | None) -> tuple[str, ...] | Literal["all"]:
    """The columns of a table to keep as metadata: those listed with commas between, or the word all."""
    if names == "all":
        return "all"
    return tuple(name.strip() for name in (names or "").split(",") if name.strip())


def items_of(given: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Tower -> columns of a table, of texts such as `image=photo` and `settings=speed,load`.

    Raises:
        DataError: one is not so.
    """
    from nearfar.errors import DataError

    items: dict[str, tuple[str, ...]] = {}
    for one in given or ():
        tower, equals, columns = one.partition("=")
        names = tuple(name.strip() for name in columns.split(",") if name.strip())
        if not equals or not tower.strip() or not names:
            raise DataError(
                f"--item {one}: is not TOWER=COLUMN, such as image=photo; several columns have commas between"
            )
        items[tower.strip()] = (*items.get(tower.strip(), ()), *names)
    return items
