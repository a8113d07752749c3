"""What shares a batch. A batch is a pure function of (seed, step, rank), so a resumed run sees what an unbroken one would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from nearfar.errors import DataError
from nearfar.learn.data.corpus import Ints, PairCorpus
from nearfar.learn.data.split import TRAIN
from nearfar.learn.data.textfile import TokenFile
from nearfar.recipe.data import SpansPairing

Frame = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""Ids that the frontend puts before and after every text of one side."""

_NO_FRAME: Frame = (np.zeros(0, np.int32), np.zeros(0, np.int32))


class Tokens(NamedTuple):
    """Token ids of several texts without padding: `ids` (t,) int64 one text after the other, `lengths` (n,) int64."""

    ids: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, texts: Sequence[npt.NDArray[np.int32]], empty: int) -> Tokens:
        """Join the ids of each text; a text without tokens gets the one id `empty`."""
        filled = [t if len(t) else np.array([empty], np.int32) for t in texts]
        flat = np.concatenate(filled).astype(np.int64) if filled else np.zeros(0, np.int64)
        return cls(torch.from_numpy(flat), torch.tensor([len(t) for t in filled], dtype=torch.int64))


class PairBatch(NamedTuple):
    """What a dual encoder needs for one step.

    Attributes:
        queries: n anchors.
        documents: one positive for each anchor.
        negatives: m explicit negatives of any of the anchors; m may be 0.
        query_ids: (n,) equal for anchors that hang together: the positive of one is no negative for the other.
        document_ids: (n + m,) equal for equal texts: documents, then negatives.
        positive_ids: (n, p) ids of all in the batch that is positive to each anchor, filled up with -1.
    """

    queries: Tokens
    documents: Tokens
    negatives: Tokens
    query_ids: Tensor
    document_ids: Tensor
    positive_ids: Tensor


@dataclass(frozen=True)
class PairDataset(Dataset[PairBatch]):
    """Training rows by number: the training queries first, then the documents to draw spans from.

    An index is `(step, rank, rows)`; the item is the whole batch of these rows.
    """

    corpus: PairCorpus
    query_tokens: TokenFile
    document_tokens: TokenFile
    train_queries: Ints
    spans: SpansPairing | None
    max_query_tokens: int
    seed: int
    empty_token: int
    query_frame: Frame = _NO_FRAME
    document_frame: Frame = _NO_FRAME

    @classmethod
    def of(
        cls,
        corpus: PairCorpus,
        query_tokens: TokenFile,
        document_tokens: TokenFile,
        *,
        spans: SpansPairing | None,
        max_query_tokens: int,
        seed: int,
        empty_token: int,
        query_frame: Frame = _NO_FRAME,
        document_frame: Frame = _NO_FRAME,
    ) -> PairDataset:
        """All the training rows of a corpus.

        Args:
            corpus: what belongs together.
            query_tokens: token ids of its queries.
            document_tokens: token ids of its documents.
            spans: how to draw spans, where documents are there to draw them from.
            max_query_tokens: longest query, what stands around it included.
            seed: of the recipe.
            empty_token: stands for a text without tokens.
            query_frame: put around every span, as the frontend does with a query.
            document_frame: what the frontend put around every document; no part of a span.

        Raises:
            DataError: where fewer than two rows or two documents are left to train on: nothing would be negative.
        """
        rows = cls(
            corpus,
            query_tokens,
            document_tokens,
            corpus.queries_of(TRAIN),
            spans,
            max_query_tokens,
            seed,
            empty_token,
            query_frame,
            document_frame,
        )
        if len(rows) < 2:
            c = corpus.counts
            raise DataError(
                f"only {len(rows)} training pairs ({c.queries} pairs from {c.documents} texts; {c.validation} held out for validation, {c.test} for test): "
                "contrastive training needs at least 2 different ones. Add data, or lower data.split."
            )
        if len(corpus.training_documents()) < 2:
            raise DataError(
                f"all {len(rows)} training pairs have the same document, so nothing could be told apart: "
                "contrastive training needs at least 2 different ones. Look at data.pairings, or add data."
            )
        return rows

    def __len__(self) -> int:
        return len(self.train_queries) + len(self.corpus.span_documents)

    def __getitem__(self, index: tuple[int, int, Ints]) -> PairBatch:
        step, rank, rows = index
        rng = np.random.default_rng([self.seed, 1, step, rank])
        queries, documents, query_ids, document_ids, positives, negatives = [], [], [], [], [], []
        for row in rows:
            if row < len(self.train_queries):
                query = int(self.train_queries[row])
                own = self.corpus.positives_of(query)
                document = int(own[rng.integers(len(own))])
                queries.append(self.query_tokens[query])
                documents.append(self.document_tokens[document])
                query_ids.append(int(self.corpus.component[query]))
                positives.append(own)
                given = self.corpus.negatives_of(query)
                if len(given):
                    negatives.append(int(given[rng.integers(len(given))]))
            else:
                place = row - len(self.train_queries)
                document = int(self.corpus.span_documents[place])
                span, rest = self._span(self.document_tokens[document], rng)
                queries.append(span)
                documents.append(rest)
                query_ids.append(int(self.corpus.span_component[place]))
                positives.append(np.array([document]))
            document_ids.append(document)
        here = np.array(document_ids + negatives)
        positives = [own if len(own) == 1 else own[np.isin(own, here)] for own in positives]
        padded = np.full((len(positives), max(len(p) for p in positives)), -1, np.int64)
        for i, own in enumerate(positives):
            padded[i, : len(own)] = own
        return PairBatch(
            Tokens.of(queries, self.empty_token),
            Tokens.of(documents, self.empty_token),
            Tokens.of([self.document_tokens[d] for d in negatives], self.empty_token),
            torch.tensor(query_ids),
            torch.from_numpy(here),
            torch.from_numpy(padded),
        )

    def _span(
        self, tokens: npt.NDArray[np.int32], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """A span of a document with what stands around a query, and the document without it (or whole)."""
        assert self.spans is not None
        before, after = self.document_frame
        same = before[: len(tokens)] == tokens[: len(before)]
        first, last = int(np.cumprod(same).sum()), len(tokens) - len(after)
        room = self.max_query_tokens - sum(map(len, self.query_frame))
        longest = max(1, min(self.spans.max_tokens, room, (last - first) // 2))
        length = int(rng.integers(min(self.spans.min_tokens, longest), longest + 1))
        start = first + int(rng.integers(0, max(1, last - first - length + 1)))
        end = min(start + length, last)
        stays = rng.random() < self.spans.keep
        query = np.concatenate([self.query_frame[0], tokens[start:end], self.query_frame[1]])
        return query, tokens if stays else np.concatenate([tokens[:start], tokens[end:]])


class StepSampler(Sampler[tuple[int, int, Ints]]):
    """Yields `(step, rank, rows)` from `start` to `total_steps`.

    Every epoch is a permutation drawn from (seed, epoch); rank r of w takes every w-th row of the step's batch. The last
    incomplete batch of an epoch is left out: its pairs come up elsewhere in the next permutation.
    """

    def __init__(
        self, rows: int, batch_size: int, total_steps: int, *, seed: int, start: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.rows, self.batch_size, self.total_steps = rows, min(batch_size, rows), total_steps
        self.seed, self.start, self.rank, self.world = seed, start, rank, world

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.rows // self.batch_size

    def __len__(self) -> int:
        """All steps of the run, also those before `start`: the loop counts from zero when it resumes."""
        return self.total_steps

    def __iter__(self) -> Iterator[tuple[int, int, Ints]]:
        epoch, order = -1, np.zeros(0, np.int64)
        for step in range(self.start, self.total_steps):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = np.random.default_rng([self.seed, 0, epoch]).permutation(self.rows)
            first = (step % self.steps_per_epoch) * self.batch_size
            yield step, self.rank, order[first : first + self.batch_size][self.rank :: self.world]
