"""The training corpus on disk: texts in one file, which of them belong together in arrays of numbers.

Texts stay on disk; what is held in memory is a few numbers for each text (about 40 bytes).
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.learn.data.pairings import files, fixed_pairs, span_and_rest
from nearfar.learn.data.split import (
    DROPPED,
    TEST,
    TRAIN,
    VALIDATION,
    NearDuplicates,
    connected,
    sides_by_group,
    sides_by_key,
)
from nearfar.learn.data.textfile import FlatWriter, TextFile, append_text, text_key
from nearfar.recipe.schema import ColumnsPairing, Data, SpansPairing, Split, TableSource
from nearfar.recipe.schema import DocstringsSource as DocstringsSettings
from nearfar.recipe.schema import FolderSource as FolderSettings
from nearfar.sources import (
    DocstringsSource,
    Document,
    DocumentSource,
    FolderSource,
    Pair,
    ReadReport,
    TablePairs,
)
from nearfar.sources import TableSource as TableDocuments

Ints = npt.NDArray[np.int64]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Counts:
    """What the corpus holds."""

    queries: int
    documents: int
    train: int
    validation: int
    test: int
    near_duplicates_dropped: int
    span_documents: int
    fingerprint: str
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PairCorpus:
    """Unique queries and documents by number, and which belong together.

    Attributes:
        texts: every text by text number.
        query_texts: text number of each query (q,).
        document_texts: text number of each document (d,).
        positives: document numbers of query i are `positives[positive_starts[i]:positive_starts[i + 1]]`.
        positive_starts: (q + 1,).
        negatives: explicit negatives in the same form; often empty.
        negative_starts: (q + 1,).
        side: TRAIN, VALIDATION, TEST or DROPPED of each query (q,).
        span_documents: documents (s,) that training draws spans from.
        counts: how many of everything.
    """

    texts: TextFile
    query_texts: Ints
    document_texts: Ints
    positives: Ints
    positive_starts: Ints
    negatives: Ints
    negative_starts: Ints
    side: npt.NDArray[np.int8]
    span_documents: Ints
    counts: Counts

    def queries_of(self, side: int) -> Ints:
        """The query numbers of one side."""
        return np.flatnonzero(self.side == side)

    def positives_of(self, query: int) -> Ints:
        """The document numbers that belong to a query."""
        return self.positives[self.positive_starts[query] : self.positive_starts[query + 1]]

    def negatives_of(self, query: int) -> Ints:
        """The document numbers given as not belonging to a query."""
        return self.negatives[self.negative_starts[query] : self.negative_starts[query + 1]]

    def query(self, number: int) -> str:
        """Text of a query."""
        return self.texts[int(self.query_texts[number])]

    def document(self, number: int) -> str:
        """Text of a document."""
        return self.texts[int(self.document_texts[number])]

    def training_texts(self) -> Iterator[str]:
        """Every text that training may see, once each: the vocabulary is learned from these."""
        train = self.queries_of(TRAIN)
        for query in train:
            yield self.query(int(query))
        seen = (
            [self.positives_of(int(q)) for q in train]
            + [self.negatives_of(int(q)) for q in train]
            + [self.span_documents]
        )
        for document in np.unique(np.concatenate(seen)):
            yield self.document(int(document))

    @classmethod
    def open(cls, directory: Path) -> PairCorpus:
        """Open a corpus that `prepare_corpus` wrote."""
        counts = Counts(**json.loads((directory / "corpus.json").read_text("utf-8")))
        with np.load(directory / "corpus.npz") as arrays:
            return cls(
                texts=TextFile(directory / "texts"), counts=counts, **{name: arrays[name] for name in arrays.files}
            )


class _Relations:
    """Collects texts, and which belong together, in one pass over the source."""

    def __init__(self, writer: FlatWriter) -> None:
        self._writer = writer
        self.keys = array("q")  # identity of every text written
        self.query = array("q")  # text number of the query of each relation
        self.document = array("q")
        self.is_negative = array("b")
        self.group = array("q")  # group key of each relation
        self.span_of = array("q")  # text number of the document that this relation's query was cut from, or -1

    def _write(self, text: str) -> int:
        self.keys.append(text_key(text))
        return append_text(self._writer, text)

    def add(self, pair: Pair, span_of: int = -1) -> None:
        """Add the relations of one pair."""
        query, group = self._write(pair.query), text_key(pair.group)
        for negative, texts in enumerate((pair.positives, pair.negatives)):
            for text in texts:
                self.query.append(query)
                self.document.append(self._write(text))
                self.is_negative.append(negative)
                self.group.append(group)
                self.span_of.append(span_of)

    def add_span(self, document: Document, settings: SpansPairing, seed: int) -> None:
        """Add a document to draw spans from, with the fixed pair that stands for it if it is held out."""
        made = span_and_rest(document.content, settings, seed)
        if made is not None:
            self.add(Pair(made[0], (made[1],), group=document.group), span_of=self._write(document.content))


def _source(data: Data) -> DocumentSource:
    settings = data.source
    if isinstance(settings, FolderSettings):
        return FolderSource(settings.path, suffixes=settings.suffixes, max_file_mb=settings.max_file_mb)
    if isinstance(settings, DocstringsSettings):
        return DocstringsSource(settings.paths, limit_files=settings.limit_files)
    return TableDocuments(settings.path, settings.kind, **settings.columns.model_dump())


def _read(data: Data, relations: _Relations, seed: int, progress: Progress) -> list[ReadReport]:
    reports = []
    for pairing in data.pairings:
        if isinstance(pairing, ColumnsPairing) and isinstance(data.source, TableSource):
            table = TablePairs(
                data.source.path,
                data.source.kind,
                query=pairing.query,
                positive=pairing.positive,
                negative=pairing.negative,
                group=data.source.columns.group,
            )
            for pair in table.pairs():
                relations.add(pair)
                progress(1)
            reports.append(table.report)
    on_documents = [p for p in data.pairings if not isinstance(p, ColumnsPairing)]
    if on_documents:
        source = _source(data)
        for sections in files(source.documents()):
            for pairing in on_documents:
                if isinstance(pairing, SpansPairing):
                    for section in sections:
                        relations.add_span(section, pairing, seed)
                else:
                    for pair in fixed_pairs(sections, pairing):
                        relations.add(pair)
            progress(len(sections))
        reports.append(source.report)
    return reports


def _grouped(owners: Ints, members: Ints, count: int) -> tuple[Ints, Ints]:
    """Unique (owner, member) relations as (members, starts), sorted by owner."""
    relations = np.unique(np.stack([owners, members], axis=1), axis=0) if len(owners) else np.zeros((0, 2), np.int64)
    starts = np.searchsorted(relations[:, 0], np.arange(count + 1))
    return relations[:, 1].copy(), starts.astype(np.int64)


def prepare_corpus(data: Data, directory: Path, seed: int, progress: Progress = lambda _: None) -> PairCorpus:
    """Read the source once, pair it, split it, and leave the result in `directory`.

    Args:
        data: the recipe's data block.
        directory: where the files go; an unfinished earlier attempt there is overwritten.
        seed: of the split and of the held-out spans.
        progress: called with the number of items just read.

    Returns:
        The corpus, memory-mapped.

    Raises:
        DataError: where nothing could be read, rows were bad and `bad_rows` is `refuse`, or no pair came of it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with TextFile.writer(directory / "texts") as writer:
        relations = _Relations(writer)
        reports = _read(data, relations, seed, progress)
    skipped: dict[str, int] = {}
    for report in reports:
        for reason, number in report.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + number
    examples = [example for report in reports for example in report.examples]
    if skipped and data.bad_rows == "refuse":
        raise DataError(
            f"{sum(skipped.values())} items of the {data.source.kind} source could not be read, first: "
            f"{'; '.join(examples)}. Mend them, or set data.bad_rows to skip."
        )
    if not relations.query:
        read = sum(report.read for report in reports)
        because = f"; skipped {sum(skipped.values())}, first: {'; '.join(examples)}" if skipped else ""
        rules = ", ".join(p.kind for p in data.pairings)
        raise DataError(
            f"no pairs: {read} items were read from the {data.source.kind} source, but {rules} found nothing in them{because}"
        )
    arrays, near_duplicates = _relate(data.split, relations, TextFile(directory / "texts"), seed)
    np.savez(directory / "corpus.npz", allow_pickle=False, **arrays)
    side = arrays["side"]
    counts = Counts(
        queries=len(arrays["query_texts"]),
        documents=len(arrays["document_texts"]),
        train=int((side == TRAIN).sum()),
        validation=int((side == VALIDATION).sum()),
        test=int((side == TEST).sum()),
        near_duplicates_dropped=near_duplicates,
        span_documents=len(arrays["span_documents"]),
        fingerprint=hashlib.sha256(np.asarray(relations.keys, dtype="<i8").tobytes()).hexdigest(),
        skipped=skipped,
        examples=examples,
    )
    part = directory / "corpus.json.part"
    part.write_text(json.dumps(asdict(counts), indent=1, ensure_ascii=False), "utf-8")
    part.replace(directory / "corpus.json")  # last: its presence says that the corpus is whole
    return PairCorpus.open(directory)


def _relate(split: Split, relations: _Relations, texts: TextFile, seed: int) -> tuple[dict[str, npt.NDArray[Any]], int]:
    """Give the unique texts their numbers and every query its side."""
    keys = np.asarray(relations.keys, dtype=np.int64)
    query, document = np.asarray(relations.query, np.int64), np.asarray(relations.document, np.int64)
    negative, span_of = np.asarray(relations.is_negative, bool), np.asarray(relations.span_of, np.int64)

    query_texts, query_ids = _unique_texts(keys, query)
    side = _sides(
        split,
        keys[query_texts],
        query_ids,
        _unique_texts(keys, document)[1],
        np.asarray(relations.group, np.int64),
        negative,
        seed,
    )

    # Training draws spans anew at every step: there the fixed pair gives way to the document that it was cut from.
    drawn = (span_of >= 0) & (side[query_ids] == TRAIN)
    used = np.unique(query_ids[~drawn])
    side, query_texts = side[used], query_texts[used]
    query_ids, negative = np.searchsorted(used, query_ids[~drawn]), negative[~drawn]
    document_texts, ids = _unique_texts(keys, np.concatenate([document[~drawn], span_of[drawn]]))
    document_ids, span_documents = ids[: len(query_ids)], np.unique(ids[len(query_ids) :])

    positives, positive_starts = _grouped(query_ids[~negative], document_ids[~negative], len(query_texts))
    negatives, negative_starts = _grouped(query_ids[negative], document_ids[negative], len(query_texts))
    dropped = 0
    if split.by == "group":
        seen = np.unique(np.concatenate([document_ids[(side == TRAIN)[query_ids]], span_documents]))
        twins = NearDuplicates(texts[int(document_texts[d])] for d in seen)
        for number in np.flatnonzero(side != TRAIN):
            own = positives[positive_starts[number] : positive_starts[number + 1]]
            if any(texts[int(document_texts[d])] in twins for d in own):
                side[number] = DROPPED
                dropped += 1
    return {
        "query_texts": query_texts,
        "document_texts": document_texts,
        "positives": positives,
        "positive_starts": positive_starts,
        "negatives": negatives,
        "negative_starts": negative_starts,
        "side": side,
        "span_documents": span_documents,
    }, dropped


def _unique_texts(keys: Ints, numbers: Ints) -> tuple[Ints, Ints]:
    """The distinct texts among text `numbers`, in order of first use: (their text numbers, for each input its place)."""
    _, first, inverse = np.unique(keys[numbers], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return numbers[first[order]], place[inverse]


def _sides(
    split: Split,
    keys: Ints,
    query_ids: Ints,
    document_ids: Ints,
    groups: Ints,
    negative: npt.NDArray[np.bool_],
    seed: int,
) -> npt.NDArray[np.int8]:
    """Side of each unique query; `keys` are those of the unique queries."""
    count = len(keys)
    first = np.unique(query_ids, return_index=True)[1]
    if split.by == "group":
        return sides_by_group(groups[first].tolist(), split.validation, split.test, seed)
    edges = zip(query_ids[~negative].tolist(), (document_ids[~negative] + count).tolist(), strict=True)
    component = connected(edges, count + int(document_ids.max()) + 1)[:count]
    return sides_by_key([int(k) for k in keys[component]], split.validation, split.test, seed)
