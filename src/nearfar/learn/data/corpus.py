"""The training corpus on disk: texts in one file, which of them belong together in arrays of numbers.

Texts stay on disk; what is held in memory is a few numbers for each text (about 40 bytes).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.learn.data.pairings import FixedPairing, files, fixed_pairs
from nearfar.learn.data.relations import Relations, relate
from nearfar.learn.data.split import (
    TEST,
    TRAIN,
    VALIDATION,
)
from nearfar.learn.data.textfile import TextFile
from nearfar.recipe.data import ColumnsPairing, Data, SpansPairing, TableSource
from nearfar.recipe.data import DocstringsSource as DocstringsSettings
from nearfar.recipe.data import FolderSource as FolderSettings
from nearfar.sources import (
    DocstringsSource,
    DocumentSource,
    FolderSource,
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
        component: (q,) queries with equal numbers hang together: one's positives are no negatives for the other.
        candidates: bool (d,), the documents that held-out queries are measured against.
        span_documents: documents (s,) that training draws spans from.
        span_component: (s,) as `component`.
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
    component: Ints
    candidates: npt.NDArray[np.bool_]
    span_documents: Ints
    span_component: Ints
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
        for query in self.queries_of(TRAIN):
            yield self.query(int(query))
        for document in self.training_documents():
            yield self.document(int(document))

    def training_documents(self) -> Ints:
        """The numbers of all documents that training may see: positives, explicit negatives, and those to cut spans from."""
        trains = self.side == TRAIN
        positives = self.positives[np.repeat(trains, np.diff(self.positive_starts))]
        negatives = self.negatives[np.repeat(trains, np.diff(self.negative_starts))]
        return np.unique(np.concatenate([positives, negatives, self.span_documents]))

    def with_all_documents(self) -> PairCorpus:
        """The same, but spans are also drawn from the documents of held-out queries; the queries stay unseen.

        For a model that is made for these very documents: what it has not met before are the questions. Nothing changes where no
        spans are drawn at all.
        """
        if not len(self.span_documents):
            return self
        known = self.training_documents()
        more = np.setdiff1d(np.flatnonzero(self.candidates), known)
        first = 1 + max(int(self.component.max(initial=-1)), int(self.span_component.max(initial=-1)))
        return replace(
            self,
            span_documents=np.concatenate([self.span_documents, more]),
            span_component=np.concatenate([self.span_component, first + np.arange(len(more))]),
        )

    @classmethod
    def open(cls, directory: Path) -> PairCorpus:
        """Open a corpus that `prepare_corpus` wrote."""
        counts = Counts(**json.loads((directory / "corpus.json").read_text("utf-8")))
        with np.load(directory / "corpus.npz") as arrays:
            return cls(
                texts=TextFile(directory / "texts"), counts=counts, **{name: arrays[name] for name in arrays.files}
            )


def _source(data: Data) -> DocumentSource:
    settings = data.source
    if isinstance(settings, FolderSettings):
        return FolderSource(settings.path, suffixes=settings.suffixes, max_file_mb=settings.max_file_mb)
    if isinstance(settings, DocstringsSettings):
        return DocstringsSource(settings.paths, limit_files=settings.limit_files)
    assert isinstance(settings, TableSource)
    return TableDocuments(settings.path, settings.kind, **settings.columns.model_dump())


def _read(data: Data, relations: Relations, seed: int, progress: Progress) -> list[ReadReport]:
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
                relations.add(pair, measured=pairing.measure)
                progress(1)
            reports.append(table.report)
    on_documents = [p for p in data.pairings if isinstance(p, FixedPairing | SpansPairing)]
    if on_documents:
        source = _source(data)
        for sections in files(source.documents()):
            for pairing in on_documents:
                if isinstance(pairing, SpansPairing):
                    for section in sections:
                        relations.add_span(section, pairing, seed)
                else:
                    for pair, origin in fixed_pairs(sections, pairing):
                        relations.add(pair, origin, measured=pairing.measure)
            progress(len(sections))
        reports.append(source.report)
    return reports


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
        relations = Relations(writer)
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
    arrays, near_duplicates = relate(relations, data.split, TextFile(directory / "texts"), seed)
    np.savez(directory / "corpus.npz", **arrays)  # type: ignore[arg-type]  # the stub takes a name for allow_pickle
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
