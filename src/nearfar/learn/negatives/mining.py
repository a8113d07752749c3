"""Hard negatives: for each query the nearest documents that do not belong to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from nearfar.evaluate.bm25 import Analysis, rank_bm25
from nearfar.evaluate.task import RetrievalTask
from nearfar.index import HnswIndex, exact_search
from nearfar.learn.data.corpus import PairCorpus

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_QUERIES_AT_A_TIME = 256
_PAIRS_AT_A_TIME = 65_536
_SAMPLE = 8_192


@dataclass(frozen=True)
class MiningCounts:
    """What became of the documents that were looked at; each is counted once, under the first that applies.

    Attributes:
        looked_at: all of them.
        positive: left out, because they are positives of their query.
        owner: left out, because they are positives of a query that hangs together with theirs.
        skipped: left out, because they are among the first ranks of the rest.
        above_margin: left out, because they are too near to be trusted to be negative.
        beyond: not needed: enough nearer ones were kept.
        kept: the negatives.
        unfilled: places of the table for which no document was left.
    """

    looked_at: int = 0
    positive: int = 0
    owner: int = 0
    skipped: int = 0
    above_margin: int = 0
    beyond: int = 0
    kept: int = 0
    unfilled: int = 0

    def __add__(self, other: MiningCounts) -> MiningCounts:
        """Both together."""
        names = [field.name for field in fields(self)]
        return MiningCounts(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True)
class Mined:
    """What mining found.

    Attributes:
        documents: (q, keep) int64 numbers of documents, the hardest first, filled up with -1.
        counts: how many were left out, and why.
    """

    documents: Ints
    counts: MiningCounts


@dataclass(frozen=True)
class Known:
    """What is known to belong together, and is therefore never mined.

    Attributes:
        positives: document numbers of query i are `positives[starts[i]:starts[i + 1]]`, as in `PairCorpus`.
        starts: (q + 1,).
        query_owners: (q,) equal for queries that hang together; negative for those that do with none. None: not known.
        document_owners: (n,) the owner whose positive a document is; negative for nobody's.
    """

    positives: Ints
    starts: Ints
    query_owners: Ints | None = None
    document_owners: Ints | None = None

    @classmethod
    def of(cls, corpus: PairCorpus, queries: Ints) -> Known:
        """What a corpus says of some of its queries (of those trained on, say), and of the documents that spans are cut from."""
        lengths = np.diff(corpus.positive_starts)[queries]
        starts = np.concatenate([[0], lengths.cumsum()])
        members = corpus.positives[
            np.arange(starts[-1]) + np.repeat(corpus.positive_starts[queries] - starts[:-1], lengths)
        ]
        owners = np.full(len(corpus.document_texts), -1, np.int64)
        owners[corpus.span_documents] = corpus.span_component
        owners[members] = np.repeat(corpus.component[queries], lengths)
        return cls(members, starts, corpus.component[queries], owners)

    def pairs(self, rows: slice) -> tuple[Ints, Ints]:
        """The positives of some queries as pairs: place of the query among the rows, number of the document."""
        starts = self.starts[rows.start : rows.stop + 1]
        places = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        return places, self.positives[starts[0] : starts[-1]]


def mine(
    query_vectors: Floats,
    document_vectors: Floats,
    known: Known,
    *,
    depth: int,
    keep: int,
    skip: int = 0,
    margin: float | None = None,
    numbers: Ints | None = None,
    exact_up_to: int = 50_000,
    threads: int = 1,
) -> Mined:
    """The hardest negatives of every query by cosine.

    Of the `depth` nearest documents of a query these are left out, in this order: its positives, the positives of queries that
    hang together with it, the first `skip` of the rest, and those that are nearer than its positive by more than `margin`.

    Args:
        query_vectors: (q, d), rows of unit length.
        document_vectors: (c, d), rows of unit length; only these can become negatives.
        known: what belongs together, by document number.
        depth: nearest documents looked at, at least 1; positives are among them.
        keep: negatives kept of each query, at least 1.
        skip: ranks left out after the positives: the very nearest are often positives that nobody labelled.
        margin: in units of cosine, above the mean similarity of the query's positives; negative asks for a distance. None: no
            limit. Queries none of whose positives has a vector have no limit either. (`TopK-MarginPos` of
            NV-Retriever, arXiv:2407.15831; there with the opposite sign.)
        numbers: (c,) document number of each vector, ascending; None for 0, 1, 2, ...
        exact_up_to: with more documents than this a graph is searched instead of all of them, which from about there on is
            faster even with the time to build it (256 dimensions, a query for each document). One thread builds it, so that
            the same vectors give the same negatives, and what it finds is scored exactly.
        threads: of the search in the graph.

    Returns:
        The table, and what was left out. Equal similarities are ordered by the lower number. Memory beside inputs and outputs
        is bounded by blocks of queries (and the graph).

    Raises:
        ValueError: shapes that do not fit, rows that are not of unit length, or a number out of range.
    """
    numbers = np.arange(len(document_vectors)) if numbers is None else np.asarray(numbers, np.int64)
    _check(query_vectors, document_vectors, known, numbers, depth=depth, keep=keep, skip=skip)
    documents = np.full((len(query_vectors), keep), -1, np.int64)
    counts = MiningCounts()
    for rows, scores, places in nearest(query_vectors, document_vectors, depth, exact_up_to, threads):
        limit = None
        if margin is not None:
            limit = _positive_similarity(query_vectors[rows], document_vectors, numbers, *known.pairs(rows)) + margin
        too_near = np.zeros(places.shape, bool) if limit is None else scores > limit[:, None]
        found = np.where(places < 0, -1, numbers[places])
        documents[rows], counted = _kept(found, too_near, known, rows, keep=keep, skip=skip)
        counts += counted
    return Mined(documents, counts)


def mine_by_bm25(
    queries: Sequence[str],
    documents: Sequence[str],
    known: Known,
    *,
    depth: int,
    keep: int,
    skip: int = 0,
    numbers: Ints | None = None,
    analysis: Analysis = "english",
    split_identifiers: bool = False,
) -> Mined:
    """The hardest negatives of every query by shared words (DPR, arXiv:2004.04906, section 3.2).

    As `mine`, without a margin: a BM25 score means nothing beside that of another query, and a positive that shares no word
    with its query, which is what an encoder is for, would forbid all.

    Args:
        queries: q texts.
        documents: c texts; anything with a length and integer indexing will do.
        known: what belongs together, by document number.
        depth: best documents looked at, at least 1; positives are among them.
        keep: negatives kept of each query, at least 1.
        skip: ranks left out after the positives.
        numbers: (c,) document number of each text, ascending; None for 0, 1, 2, ...
        analysis: how text becomes terms.
        split_identifiers: whether snake_case and camelCase are cut into words.

    Returns:
        The table, and what was left out. Only documents that share a word with the query are looked at. Takes memory for
        all (q, depth) ranks, and time for all q * c scores.

    Raises:
        MissingExtraError: if bm25s or PyStemmer is not installed.
        ValueError: shapes that do not fit, or a number out of range.
    """
    numbers = np.arange(len(documents)) if numbers is None else np.asarray(numbers, np.int64)
    _check(queries, documents, known, numbers, depth=depth, keep=keep, skip=skip)
    table = np.full((len(queries), keep), -1, np.int64)
    counts = MiningCounts()
    if not len(queries):
        return Mined(table, counts)
    # A task names a relevant document for every query; nothing is measured here, so any will do.
    task = RetrievalTask(queries, documents, [{0: 1.0}] * len(queries))
    places = rank_bm25(task, depth, analysis=analysis, split_identifiers=split_identifiers)
    found = np.where(places < 0, -1, numbers[places])
    for rows in _blocks(len(queries)):
        block = found[rows]
        table[rows], counted = _kept(block, np.zeros(block.shape, bool), known, rows, keep=keep, skip=skip)
        counts += counted
    return Mined(table, counts)


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _QUERIES_AT_A_TIME):
        yield slice(start, min(start + _QUERIES_AT_A_TIME, count))


def nearest(
    queries: Floats, documents: Floats, depth: int, exact_up_to: int, threads: int
) -> Iterator[tuple[slice, Floats, Ints]]:
    """The nearest documents of each query: exact up to some number of documents, by a graph above it.

    Args:
        queries: float32 (q, d).
        documents: float32 (n, d).
        depth: how many a query.
        exact_up_to: documents that are all compared.
        threads: of searching a graph.

    Yields:
        Blocks of queries: which, and their similarities and places, best first, -1 where none was found.
    """
    if len(documents) <= exact_up_to:
        for rows in _blocks(len(queries)):
            yield rows, *exact_search(queries[rows], documents, depth, query_block=_QUERIES_AT_A_TIME)
        return
    blocks = (
        (np.arange(start, min(start + _SAMPLE, len(documents))), documents[start : start + _SAMPLE])
        for start in range(0, len(documents), _SAMPLE)
    )
    graph = HnswIndex.build(blocks, sample=documents[:: -(-len(documents) // _SAMPLE)])
    for rows in _blocks(len(queries)):
        part = queries[rows]
        _, places = graph.search(part, min(depth, len(documents)), ef=max(96, 2 * depth), threads=threads)
        # The graph holds 8-bit codes; their scores are too coarse to compare with a margin.
        scores = np.stack([documents[row] @ query for row, query in zip(places, part, strict=True)])
        scores = np.where(places < 0, -np.inf, scores).astype(np.float32)
        order = np.lexsort((places, -scores), axis=1)
        yield rows, np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)


def _positive_similarity(queries: Floats, documents: Floats, numbers: Ints, rows: Ints, positives: Ints) -> Floats:
    """Mean similarity of each query with its positives, (b,); infinite where none of them has a vector."""
    places = np.searchsorted(numbers, positives)
    there = numbers[np.minimum(places, len(numbers) - 1)] == positives
    rows, places = rows[there], places[there]
    similarity = np.empty(len(rows))
    for start in range(0, len(rows), _PAIRS_AT_A_TIME):
        part = slice(start, start + _PAIRS_AT_A_TIME)
        similarity[part] = np.einsum("kd,kd->k", queries[rows[part]], documents[places[part]])
    summed, count = (np.bincount(rows, weights, minlength=len(queries)) for weights in (similarity, None))
    return np.where(count > 0, summed / np.maximum(count, 1), np.inf).astype(np.float32)


def _kept(
    found: Ints, too_near: Bools, known: Known, rows: slice, *, keep: int, skip: int
) -> tuple[Ints, MiningCounts]:
    """The negatives (b, keep) among the documents found (b, depth), best first and -1 for none, of queries `rows`."""
    there = found >= 0
    owner_of, positives = known.pairs(rows)
    width = max(int(found.max(initial=0)), int(positives.max(initial=0))) + 1
    keys = np.where(there, np.arange(len(found))[:, None] * width + found, -1)
    positive = there & np.isin(keys, owner_of * width + positives)
    left = there & ~positive
    same_owner = np.zeros_like(left)
    if known.query_owners is not None and known.document_owners is not None:
        owners = known.query_owners[rows, None]
        same_owner = left & (owners >= 0) & (known.document_owners[found] == owners)
        left &= ~same_owner
    skipped = left & (left.cumsum(axis=1) <= skip)
    left &= ~skipped
    above = left & too_near
    left &= ~above
    beyond = left & (left.cumsum(axis=1) > keep)
    left &= ~beyond
    table = np.full((len(found), keep), -1, np.int64)
    queries, columns = left.nonzero()
    table[queries, left.cumsum(axis=1)[queries, columns] - 1] = found[queries, columns]
    whys = (there, positive, same_owner, skipped, above, beyond, left, table < 0)
    return table, MiningCounts(*(int(why.sum()) for why in whys))


def _check(
    queries: Sequence[str] | Floats,
    documents: Sequence[str] | Floats,
    known: Known,
    numbers: Ints,
    *,
    depth: int,
    keep: int,
    skip: int,
) -> None:
    if depth < 1 or keep < 1 or skip < 0:
        raise ValueError(f"depth ({depth}) and keep ({keep}) must be at least 1, and skip ({skip}) not negative")
    if not len(documents):
        raise ValueError("there are no documents to mine from")
    if len(known.starts) != len(queries) + 1:
        raise ValueError(f"{len(queries)} queries, but the positives are given for {len(known.starts) - 1}")
    if known.query_owners is not None and len(known.query_owners) != len(queries):
        raise ValueError(f"{len(queries)} queries, but owners for {len(known.query_owners)}")
    if numbers.shape != (len(documents),) or (np.diff(numbers) <= 0).any():
        raise ValueError(f"numbers must be ascending, one for each of the {len(documents)} documents")
    if known.document_owners is not None and len(known.document_owners) <= numbers[-1]:
        raise ValueError(f"document {numbers[-1]} has no owner: there are {len(known.document_owners)} owners")
    for name, vectors in (("query", queries), ("document", documents)):
        if isinstance(vectors, np.ndarray):
            lengths = np.sqrt(np.einsum("kd,kd->k", vectors, vectors))
            # A text of which the encoder knows nothing may have no direction.
            if not bool(((lengths == 0) | np.isclose(lengths, 1.0, atol=1e-3)).all()):
                raise ValueError(
                    f"{name} vectors must be of unit length; they have {lengths.min():g} to {lengths.max():g}"
                )
