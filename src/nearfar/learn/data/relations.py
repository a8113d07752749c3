"""Which texts belong together: collected while reading, then numbered, split, and laid out in arrays."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.learn.data.pairings import span_and_rest
from nearfar.learn.data.split import (
    DROPPED,
    TRAIN,
    NearDuplicates,
    components,
    sides_by_component,
    sides_by_group,
)
from nearfar.learn.data.textfile import FlatWriter, TextFile, append_text, text_key
from nearfar.recipe.data import SpansPairing, Split
from nearfar.sources import Document, Pair

Ints = npt.NDArray[np.int64]

_LARGEST_COMPONENT = 32
"""Queries of a larger component are taken as strangers in a batch: something as common as a heading `Examples` links them."""


class Relations:
    """Collects texts, and which belong together, in one pass over the source.

    Args:
        writer: where the texts go.
    """

    def __init__(self, writer: FlatWriter) -> None:
        self._writer = writer
        self.keys = array("q")
        """Identity of every text written."""
        self.query = array("q")
        """Of each relation: the text number of its query."""
        self.document = array("q")
        """Of each relation: the text number of its positive or negative."""
        self.negative = array("b")
        self.measured = array("b")
        self.group = array("q")
        """Of each relation: the key of its group."""
        self.origin = array("q")
        """Of each relation: identity of the document that its texts were cut from."""
        self.span_of = array("q")
        """Of each relation: text number of the document that the query is a span of, or -1."""

    def __len__(self) -> int:
        return len(self.query)

    def _write(self, text: str) -> int:
        self.keys.append(text_key(text))
        return append_text(self._writer, text)

    def add(self, pair: Pair, origin: Document | None = None, *, measured: bool = True, span_of: int = -1) -> None:
        """Add the relations of one pair.

        Args:
            pair: the texts.
            origin: the document that they were cut from, where they are parts of one.
            measured: whether the pair is measured if it is held out.
            span_of: text number of the document that the query is a span of.
        """
        query, group = self._write(pair.query), text_key(pair.group)
        for negative, texts in enumerate((pair.positives, pair.negatives)):
            for text in texts:
                self.query.append(query)
                self.document.append(self._write(text))
                self.origin.append(self.keys[-1] if origin is None else text_key(origin.text))
                self.negative.append(negative)
                self.measured.append(measured)
                self.group.append(group)
                self.span_of.append(span_of)

    def add_span(self, document: Document, settings: SpansPairing, seed: int) -> None:
        """Add a document to draw spans from, with the fixed pair that stands for it if it is held out."""
        made = span_and_rest(document.content, settings, seed)
        if made is not None:
            pair = Pair(made[0], (made[1],), group=document.group)
            self.add(pair, document, measured=settings.measure, span_of=self._write(document.content))


def relate(relations: Relations, split: Split, texts: TextFile, seed: int) -> tuple[dict[str, npt.NDArray[Any]], int]:
    """Give the unique texts their numbers and every query its side.

    Args:
        relations: at least one.
        split: the recipe's split block.
        texts: the texts that the relations name.
        seed: of the split.

    Returns:
        The arrays of a `PairCorpus` by name, and how many held-out queries were dropped.

    Raises:
        DataError: where whole groups are to be held out, but there is only one.
    """
    keys = np.asarray(relations.keys, np.int64)
    query, document = np.asarray(relations.query, np.int64), np.asarray(relations.document, np.int64)
    negative, measured = np.asarray(relations.negative, bool), np.asarray(relations.measured, bool)
    span_of = np.asarray(relations.span_of, np.int64)

    query_texts, query_ids = _unique_texts(keys, query)
    origin, own = np.asarray(relations.origin, np.int64), ~negative
    # What a query must not find does not tie it to the queries that must.
    linked = [(keys[query[own]], keys[document[own]]), (keys[query[own]], origin[own])]
    component = components(keys[query_texts], linked)
    if split.by == "group":
        side, kept = _sides_of_groups(query_ids, np.asarray(relations.group, np.int64), split, seed)
        query_ids, document, negative, measured, span_of = (
            values[kept] for values in (query_ids, document, negative, measured, span_of)
        )
    else:
        side = sides_by_component(component, split.validation, split.test, seed)
        # What nothing measures is not held out in vain.
        side[~np.isin(component, component[query_ids[measured]])] = TRAIN
    component = _small_components(component)

    # Training draws spans anew at every step: there the fixed pair gives way to the document that it was cut from.
    # Held-out pairs that are not measured are left out altogether.
    trained = side[query_ids] == TRAIN
    drawn = (span_of >= 0) & trained
    fixed = ~drawn & (trained | measured)
    document_texts, ids = _unique_texts(keys, np.concatenate([document[fixed], span_of[drawn]]))
    document_ids = ids[: np.count_nonzero(fixed)]
    span_documents, first = np.unique(ids[len(document_ids) :], return_index=True)
    span_component = component[query_ids[drawn][first]]
    candidates = np.zeros(len(document_texts), bool)
    candidates[document_ids[measured[fixed]]] = True
    candidates[ids[len(document_ids) :][measured[drawn]]] = True

    used, query_ids = np.unique(query_ids[fixed], return_inverse=True)
    query_texts, side, component, negative = query_texts[used], side[used], component[used], negative[fixed]
    positives, positive_starts = _grouped(query_ids[~negative], document_ids[~negative], len(used))
    negatives, negative_starts = _grouped(query_ids[negative], document_ids[negative], len(used))
    if split.by == "group":
        seen = np.unique(np.concatenate([document_ids[(side == TRAIN)[query_ids]], span_documents]))
        twins = NearDuplicates(texts[int(document_texts[d])] for d in seen)
        for number in np.flatnonzero(side != TRAIN):
            mine = positives[positive_starts[number] : positive_starts[number + 1]]
            if any(texts[int(document_texts[d])] in twins for d in mine):
                side[number] = DROPPED
    return {
        "query_texts": query_texts,
        "document_texts": document_texts,
        "positives": positives,
        "positive_starts": positive_starts,
        "negatives": negatives,
        "negative_starts": negative_starts,
        "side": side,
        "component": component,
        "candidates": candidates,
        "span_documents": span_documents,
        "span_component": span_component,
    }, int((side == DROPPED).sum())


def _sides_of_groups(
    query_ids: Ints, group: Ints, split: Split, seed: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_]]:
    """Side of each query by that of its groups, and which relations stay.

    A query that groups of several sides have in common (a heading, say) is trained on with what the training groups say
    of it, and with nothing else; one that only held-out groups of both sides have is dropped.
    """
    names, place = np.unique(group, return_inverse=True)
    if split.validation + split.test > 0 and len(names) == 1:
        raise DataError(
            "data.split.by is group, but all pairs are of one group, so none can be held out. Name the column with the "
            "groups (data.source.columns.group), or set data.split.by to random."
        )
    pairs = np.unique(np.stack([query_ids, place], axis=1), axis=0)
    side_of = np.zeros(len(names), np.int8)
    side_of[pairs[:, 1]] = sides_by_group(names[pairs[:, 1]].tolist(), split.validation, split.test, seed)
    sides = side_of[place]
    low, high = (np.full(int(query_ids.max()) + 1, start, np.int8) for start in (DROPPED, TRAIN))
    np.minimum.at(low, query_ids, sides)
    np.maximum.at(high, query_ids, sides)
    side = np.where((low == TRAIN) | (low == high), low, DROPPED).astype(np.int8)
    return side, (sides == TRAIN) | (side[query_ids] != TRAIN)


def _unique_texts(keys: Ints, numbers: Ints) -> tuple[Ints, Ints]:
    """The distinct texts among text `numbers`, in order of first use: (their text numbers, for each input its place)."""
    _, first, inverse = np.unique(keys[numbers], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return numbers[first[order]], place[inverse]


def _grouped(owners: Ints, members: Ints, count: int) -> tuple[Ints, Ints]:
    """Unique (owner, member) relations as (members, starts), sorted by owner."""
    pairs = np.unique(np.stack([owners, members], axis=1), axis=0) if len(owners) else np.zeros((0, 2), np.int64)
    starts = np.searchsorted(pairs[:, 0], np.arange(count + 1))
    return pairs[:, 1].copy(), starts.astype(np.int64)


def _small_components(component: Ints) -> Ints:
    """Components by small numbers; each member of a too large one gets a number of its own."""
    _, place, sizes = np.unique(component, return_inverse=True, return_counts=True)
    alone = sizes[place] > _LARGEST_COMPONENT
    numbers = np.where(alone, len(sizes) + np.arange(len(place)), place)
    return numbers.astype(np.int64)
