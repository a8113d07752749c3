"""A log of events to the actions of a run: weighed, filtered, numbered, split in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.frontend.events import EventsFrontend
from nearfar.frontend.settings import EventsSettings
from nearfar.frontend.table_columns import ColumnChoice, TableLook
from nearfar.learn.data.actions import ActionCorpus, ActionCounts, Content, Floats, Ints
from nearfar.learn.data.histories import Histories, sides_of
from nearfar.learn.data.item_content import ContentForm, Embed, embedded, facts_of, open_items
from nearfar.learn.data.kept_events import Kept, filtered
from nearfar.learn.data.shown import impressions_of, misses_of
from nearfar.learn.data.split import TEST, TRAIN, VALIDATION
from nearfar.recipe.data import Data, Split
from nearfar.recipe.events import EventsFrontendSettings, EventsSource, ItemContent
from nearfar.sources.event_log import EventLog, EventNames
from nearfar.sources.event_table import EventTable
from nearfar.sources.item_table import ItemRow

Flags = npt.NDArray[np.bool_]

_SHOWN = 40  # characters of a name in a message


def prepare_actions(
    data: Data,
    frontend: EventsFrontendSettings,
    directory: Path,
    progress: Callable[[int], None] = lambda _: None,
    *,
    facts: Sequence[str] = (),
    embed: Embed | None = None,
) -> ActionCorpus:
    """Read the source, and leave its actions in `directory`.

    Args:
        data: the recipe's data block.
        frontend: the recipe's frontend block.
        directory: where the files go; an unfinished earlier attempt there is overwritten.
        progress: called with the number of rows just read.
        facts: columns of the table of items that are kept besides.
        embed: makes vectors of pictures and texts of items, where the recipe names bundles for that.

    Raises:
        DataError: where nothing could be read, rows were bad and `bad_rows` is `refuse`, or nothing is left to learn from.
    """
    source = data.source
    assert isinstance(source, EventsSource)
    log = open_log(source)
    table = log.read(progress)
    skipped, examples = dict(log.report.skipped), list(log.report.examples)
    known: dict[str, ItemRow] = {}
    if source.items is not None:
        items = open_items(source.items, facts)
        known = {row.name: row for row in items.rows()}
        _refuse_strangers(table, known, source.items)
        for reason, count in items.report.skipped.items():
            skipped[f"items: {reason}"] = count
        examples += items.report.examples
    if skipped and data.bad_rows == "refuse":
        raise DataError(
            f"{sum(skipped.values())} rows could not be read, first: {'; '.join(examples[:5])}. Mend them, or set data.bad_rows to skip."
        )
    settings = settings_of(source, frontend)
    kept = filtered(table, source, EventsFrontend(settings), data.split, known)
    corpus = _assembled(table, kept, source, settings, data.split, known, embed)
    counts = replace(corpus.counts, dropped=kept.dropped, skipped=skipped, examples=examples)
    corpus = replace(corpus, counts=counts).fingerprinted()
    corpus.save(directory)
    return corpus


def _refuse_strangers(table: EventTable, known: dict[str, ItemRow], items: ItemContent) -> None:
    """Refuse a table of items that knows none of those in the log: it is another shop's, or calls them otherwise."""
    if not any(name in known for name in table.item_names):
        raise DataError(
            f"{items.path}: knows no item of the log: it has {next(iter(known))[:_SHOWN]!r} in {items.columns.item}, and the log "
            f"{table.item_names[0][:_SHOWN]!r}. Say in data.source.items.columns.item which column holds what the log calls an item"
        )


def open_log(source: EventsSource) -> EventLog:
    """What reads the log of a recipe."""
    columns, weights = source.columns, source.weights
    names = EventNames(
        item=columns.item,
        timestamp=columns.timestamp,
        user=columns.user,
        action=columns.action,
        dwell=columns.dwell,
        rating=columns.rating,
        propensity=columns.propensity,
        context=columns.context,
    )
    kinds = weights.actions if columns.action is not None and weights.other is None else None
    return EventLog(source.path, names, timezone=source.timezone, kinds=kinds)


def settings_of(source: EventsSource, frontend: EventsFrontendSettings) -> EventsSettings:
    """What the device does with events, before the context is known."""
    weights, filters = source.weights, source.filters
    return EventsSettings(
        length=frontend.length,
        actions=weights.actions,
        other=weights.other,
        full_dwell=weights.full_dwell,
        least_dwell=filters.least_dwell,
        repeat=filters.repeat,
        liked=weights.liked,
    )


def _assembled(
    table: EventTable,
    kept: Kept,
    source: EventsSource,
    settings: EventsSettings,
    split: Split,
    known: dict[str, ItemRow],
    embed: Embed | None,
) -> ActionCorpus:
    rows = np.flatnonzero(kept.actions)
    rows = rows[np.lexsort((rows, table.times[rows], table.users[rows]))]
    owners, users = np.unique(table.users[rows], return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(owners)))]).astype(np.int64)
    learned = kept.learned[table.users[rows]]
    side = sides_of(offsets, table.times[rows], learned, kept.moments, split)
    numbers, names = _numbered(table, kept, table.items[rows][side == TRAIN], known, source)
    place = np.full(len(table.user_names) if source.columns.user is not None else len(table), -1, np.int64)
    place[owners] = np.arange(len(owners))
    history = Histories(offsets, table.times[rows], side, rows, place)
    shown = np.flatnonzero(kept.shown)
    impressions = impressions_of(table, kept, history, shown, numbers) if len(shown) else None
    sides = side if impressions is None else np.concatenate([side, impressions.side])
    settings, values, codes = _context(table, settings, np.concatenate([rows, shown]), sides == TRAIN)
    if impressions is not None:
        impressions = replace(impressions, values=values[len(rows) :], codes=codes[len(rows) :])
    misses = misses_of(table, kept, history)
    content_rows = [known.get(name) or ItemRow(name) for name in names]
    content = _content(content_rows, source, embed)
    cold = len(names) - int(kept.own.sum())
    return ActionCorpus(
        offsets=offsets,
        items=numbers[table.items[rows]],
        times=table.times[rows],
        weights=kept.weights[rows],
        side=side,
        values=values[: len(rows)],
        codes=codes[: len(rows)],
        names=names,
        facts=[facts_of(row) for row in content_rows],
        content=content,
        impressions=impressions,
        settings=settings,
        counts=ActionCounts(
            users=len(owners),
            items=len(names),
            cold=cold,
            actions=len(rows),
            train=int((side == TRAIN).sum()),
            validation=int((side == VALIDATION).sum()),
            test=int((side == TEST).sum()),
            impressions=len(shown),
            fingerprint="",
            misses=len(misses.users),
        ),
        misses=misses,
    )


def _numbered(
    table: EventTable, kept: Kept, trained: Ints, known: dict[str, ItemRow], source: EventsSource
) -> tuple[Ints, list[str]]:
    """A number for each item of the log, -1 for those that are not in the catalogue, and the names by number."""
    popularity = np.bincount(trained, minlength=len(table.item_names))
    codes = np.flatnonzero(kept.catalogue)
    codes = codes[np.lexsort((codes, -popularity[codes], ~kept.own[codes]))]
    # An item that comes up in rows that were dropped only is one that nobody acted on.
    numbers = np.full(len(table.item_names), -1, np.int64)
    numbers[codes] = np.arange(len(codes))
    names = [table.item_names[code] for code in codes.tolist()]
    if source.items is not None and source.items.cold:
        there = set(names)
        names += [name for name in known if name not in there]
    return numbers, names


def _context(
    table: EventTable, settings: EventsSettings, rows: Ints, train: Flags
) -> tuple[EventsSettings, Floats, Ints]:
    """The context of some rows (n,) of the log, scaled by those that are trained on."""
    if not table.context:
        return settings, np.zeros((len(rows), 0), np.float32), np.zeros((len(rows), 0), np.int64)
    cells: list[dict[str, Any]] = [
        {name: column[row] for name, column in table.context.items()} for row in rows.tolist()
    ]
    look = TableLook()
    for one in cells:
        look.add(one)
    try:
        found = look.settings(ColumnChoice(), train=train)
    except DataError as error:
        raise DataError(f"data.source.columns.context: {error}") from error
    settings = settings.model_copy(update={"context": found})
    features = EventsFrontend(settings).context_of(cells)
    return settings, features.values, features.codes


def _content(rows: list[ItemRow], source: EventsSource, embed: Embed | None) -> Content | None:
    if source.items is None:
        return None
    form = ContentForm.of([row for row in rows if row.location])
    return form.content_of(rows, embedded(source.items, rows, embed))
