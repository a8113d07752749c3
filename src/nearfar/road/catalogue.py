"""The publisher's side of a catalogue: from a table of items as it is now to a signed update for the devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nearfar.errors import DataError, RunError
from nearfar.progress import Stages, silent
from nearfar.road.actions_of_run import kept_facts
from nearfar.road.content_vectors import embed_content

if TYPE_CHECKING:
    from nearfar.edge.recommend.catalogue import Catalogue
    from nearfar.learn.actions import TrainedActions
    from nearfar.recipe.events import ItemContent
    from nearfar.sources.item_table import ItemRow

PUBLISHED: Final = "catalogue"
"""Folder of a run with the catalogue that devices have after the latest update."""
_ALIKE: Final = 1
"""Steps of int8 by which a vector that was made anew may differ without having changed: sums in another order round otherwise."""
_NAMED: Final = 5


@dataclass(frozen=True)
class CatalogueUpdate:
    """What was made.

    Attributes:
        path: the file.
        sequence: its number; devices take them in this order.
        added: items that are new.
        changed: items of which something else is said.
        removed: items that are no more.
        items: in the catalogue afterwards.
        size_bytes: of the file.
        skipped: reason -> rows of the table that were passed over.
        examples: the first few of those.
    """

    path: Path
    sequence: int
    added: int
    changed: int
    removed: int
    items: int
    size_bytes: int
    skipped: dict[str, int]
    examples: list[str]


def make_catalogue_update(
    run: str | Path,
    items: Path,
    output: Path,
    *,
    key: Path,
    remove: Sequence[str] = (),
    only_these: bool = False,
    bundle: str | Path | None = None,
    stages: Stages = silent,
) -> CatalogueUpdate:
    """Compare a table of items with the catalogue that devices have, and write what differs as a signed update.

    Items that nobody had acted on in training get the vectors of their content. Those that somebody had keep theirs, and only what is said
    of them changes. A new item is as popular as the least popular one, and comes after nothing in the prior.

    What devices have afterwards is kept in the run (`catalogue/`), after the update is on the disk. Where that was interrupted, the same
    table gives the same update again.

    Args:
        run: directory of the run that the bundle is of.
        items: the table, with the columns that the recipe names.
        output: file of the update.
        key: file of the publisher's key.
        remove: names of items that shall be no more.
        only_these: remove all items that the table does not have.
        bundle: that devices have; the one in the run by default.
        stages: told what is being done.

    Raises:
        DataError: the table cannot be used, an item to be removed is not there, or nothing differs.
        RunError: the run is not over events, or knows nothing of its items but their names.
        BundleError: the bundle is not of this publisher.
        KeyUnavailableError: the key is not there, or others may read it.
    """
    from nearfar.bundle import Bundle
    from nearfar.edge.recommend.catalogue_store import CatalogueStore
    from nearfar.edge.recommend.delta import catalogue_statement, check_publisher, make_delta, write_delta
    from nearfar.edge.recommend.signing import Publisher
    from nearfar.index.derived_file import derived_file

    trained = _trained(Path(run))
    opened = Bundle.open(trained.directory / "bundle" if bundle is None else bundle)
    publisher = Publisher.open(key)
    check_publisher(opened, publisher, str(key))
    store = CatalogueStore(trained.directory / PUBLISHED)
    before = store.load(opened)
    tick = stages("reading items")
    content = _content(trained, items)
    rows, skipped, examples = _rows(trained, content)
    tick(len(rows))
    after = _next(trained, before, content, rows, remove=remove, only_these=only_these)
    delta, result = make_delta(opened, before, after)
    written = write_delta(delta, publisher)
    try:
        with derived_file(output) as file:
            file.write(written)
        store.directory.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror or error}") from error
    statement = catalogue_statement(opened.digest, result.sequence, result.digest)
    store.keep(opened, result, publisher.sign(statement))
    added = sum(before.number_of(name) is None for name in delta.names)
    changed, removed = len(delta.names) - added, len(delta.removed)
    return CatalogueUpdate(
        output, delta.sequence, added, changed, removed, len(result), len(written), skipped, examples
    )


def _trained(run: Path) -> TrainedActions:
    from nearfar.road.run import training_wing

    opened = training_wing().run.open_run(run)
    from nearfar.learn.actions import TrainedActions

    if not isinstance(opened, TrainedActions):
        raise RunError(
            f"{run}: is not a run over events, and has no catalogue: give the run that the recommender is of"
        )
    return opened


def _content(trained: TrainedActions, items: Path) -> ItemContent:
    """How the table of the recipe was read, for another file."""
    content = trained.recipe.of_events.source.items
    if content is None or trained.corpus.content is None:
        raise RunError(
            f"{trained.directory} has learned nothing of what items are like, so it has no vectors of new ones: "
            "train with a table of items (data.source.items)"
        )
    return content.model_copy(update={"path": items})


def _rows(trained: TrainedActions, content: ItemContent) -> tuple[list[ItemRow], dict[str, int], list[str]]:
    from nearfar.learn.data.item_content import open_items

    table = open_items(content, trained.recipe.of_events.recommend.facts)
    rows = list(table.rows())
    return rows, dict(table.report.skipped), list(table.report.examples)


def _next(
    trained: TrainedActions,
    before: Catalogue,
    content: ItemContent,
    rows: list[ItemRow],
    *,
    remove: Sequence[str],
    only_these: bool,
) -> Catalogue:
    """The catalogue as the table wants it."""
    import numpy as np

    from nearfar.edge.recommend.catalogue import Catalogue
    from nearfar.edge.recommend.catalogue_files import check_names, fact_line, round_vectors
    from nearfar.learn.data.item_content import ContentForm, embedded, facts_of

    told = {row.name for row in rows}
    if both := sorted(told & set(remove)):
        raise DataError(f"{both[0]!r} is to be removed, but the table has it: take it out of the table")
    before.numbers_of(remove)  # or it says which are not there
    gone = {*remove, *((name for name in before.names if name not in told) if only_these else ())}
    own = set(trained.corpus.names[: trained.corpus.warm])
    by_content = [row for row in rows if row.name not in own or before.number_of(row.name) is None]
    codes, scales = {}, {}
    if by_content:
        assert trained.corpus.content is not None
        vectors = embedded(content, by_content, embed_content(content))
        form = ContentForm.like(trained.corpus.content)
        made, steps = round_vectors(trained.vectors_of_content(form.content_of(by_content, vectors)))
        for row, code, step in zip(by_content, made, steps, strict=True):
            old = before.number_of(row.name)
            if old is not None and np.abs(code.astype(np.int64) - before.codes[old]).max() <= _ALIKE:
                code, step = before.codes[old], before.scales[old]
            codes[row.name], scales[row.name] = code, step
    facts = {
        row.name: fact_line(fact)
        for row, fact in zip(rows, kept_facts(trained.recipe, map(facts_of, rows)), strict=True)
    }
    least = before.popularity.min()
    names = [name for name in before.names if name not in gone]
    names += [row.name for row in rows if before.number_of(row.name) is None]
    check_names(names)
    olds = [before.number_of(name) for name in names]
    return Catalogue(
        tuple(names),
        np.stack([codes[name] if name in codes else before.codes[old] for name, old in zip(names, olds, strict=True)]),
        np.array(
            [scales[name] if name in scales else before.scales[old] for name, old in zip(names, olds, strict=True)]
        ),
        np.array([least if old is None else before.popularity[old] for old in olds]),
        None,
        tuple(
            facts[name] if name in facts else before.fact_lines[old] if before.fact_lines and old is not None else "{}"
            for name, old in zip(names, olds, strict=True)
        ),
    )
