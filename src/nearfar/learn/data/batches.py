"""What shares a batch: a pure function of seed and step, so a resumed run sees what an unbroken one would, on any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
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

    def split(self, bounds: Sequence[int]) -> list[Tokens]:
        """The texts before, between and after `bounds`."""
        starts = F.pad(self.lengths.cumsum(0), (1, 0))[list(bounds)].tolist()
        parts = zip(self.ids.tensor_split(starts), self.lengths.tensor_split(list(bounds)), strict=True)
        return [Tokens(*part) for part in parts]


class PairBatch(NamedTuple):
    """What a dual encoder needs for one step.

    Attributes:
        queries: n anchors.
        documents: one positive for each anchor.
        negatives: m explicit negatives of any of the anchors; m may be 0.
        query_ids: (n,) equal for anchors that hang together: the positive of one is no negative for the other.
        document_ids: (n + m,) equal for equal texts: documents, then negatives.
        positive_ids: (n, p) ids of all in the batch, that of all ranks, that is positive to each anchor, filled up with -1.
        rows: (n,) the number in the corpus of the query that each anchor is; -1 for spans, which have none.
    """

    queries: Tokens
    documents: Tokens
    negatives: Tokens
    query_ids: Tensor
    document_ids: Tensor
    positive_ids: Tensor
    rows: Tensor

    def split(self, size: int) -> list[PairBatch]:
        """The batch in parts of at most `size` anchors, as even as can be; each takes its share of the negatives.

        What `embed` makes of the parts, joined field by field, is what it makes of the whole.
        """
        n, m = len(self.query_ids), len(self.negatives.lengths)
        count = -(-n // size)
        if count <= 1:
            return [self]
        anchors = [n * i // count for i in range(1, count)]
        others = [m * i // count for i in range(1, count)]
        own, negative_ids = self.document_ids.tensor_split([n])
        document_ids = zip(own.tensor_split(anchors), negative_ids.tensor_split(others), strict=True)
        parts = zip(
            self.queries.split(anchors),
            self.documents.split(anchors),
            self.negatives.split(others),
            self.query_ids.tensor_split(anchors),
            map(torch.cat, document_ids),
            self.positive_ids.tensor_split(anchors),
            self.rows.tensor_split(anchors),
            strict=True,
        )
        return [PairBatch(*part) for part in parts]


class Share(NamedTuple):
    """What one rank takes of one batch: every `world`-th of its rows.

    Attributes:
        step: of the run.
        rows: training rows of the whole batch.
        rank: of `world` ranks.
        world: how many ranks there are.
    """

    step: int
    rows: Ints
    rank: int = 0
    world: int = 1

    @property
    def own(self) -> Ints:
        """The rows of this rank."""
        return self.rows[self.rank :: self.world]


@dataclass(frozen=True)
class PairDataset(Dataset[PairBatch]):
    """Training rows by number: the training queries first, then the documents to draw spans from.

    An index is a `Share`; the item is that share as a batch. What is drawn at random is drawn for the whole batch, so that all
    ranks together hold what one would, and each knows the positives of its anchors among what the others hold.
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

    def __getitem__(self, index: Share) -> PairBatch:
        step, rows, rank, world = index
        rng = np.random.default_rng([self.seed, 1, step])
        all_documents, all_negatives = self._drawn(rows, rng)
        span_draws = rng.random((len(rows), 3))[rank::world] if self.spans else None
        drawn, given = all_documents[rank::world], all_negatives[rank::world]
        negatives = given[given >= 0]
        queries, documents, query_ids, positives, numbers = [], [], [], [], []
        for place, (row, document) in enumerate(zip(index.own, drawn, strict=True)):
            if row < len(self.train_queries):
                query = int(self.train_queries[row])
                queries.append(self.query_tokens[query])
                documents.append(self.document_tokens[int(document)])
                query_ids.append(int(self.corpus.component[query]))
                positives.append(self.corpus.positives_of(query))
                numbers.append(query)
            else:
                assert span_draws is not None
                span, rest = self._span(self.document_tokens[int(document)], span_draws[place])
                queries.append(span)
                documents.append(rest)
                query_ids.append(int(self.corpus.span_component[row - len(self.train_queries)]))
                positives.append(np.array([document]))
                numbers.append(-1)
        anywhere = np.zeros(len(self.document_tokens), bool)
        anywhere[all_documents] = anywhere[all_negatives[all_negatives >= 0]] = True
        positives = [own if len(own) == 1 else own[anywhere[own]] for own in positives]
        padded = np.full((len(positives), max(len(p) for p in positives)), -1, np.int64)
        for i, own in enumerate(positives):
            padded[i, : len(own)] = own
        return PairBatch(
            Tokens.of(queries, self.empty_token),
            Tokens.of(documents, self.empty_token),
            Tokens.of([self.document_tokens[int(d)] for d in negatives], self.empty_token),
            torch.tensor(query_ids),
            torch.from_numpy(np.concatenate([drawn, negatives])),
            torch.from_numpy(padded),
            torch.tensor(numbers),
        )

    def _drawn(self, rows: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """For each row one of its documents and one of its explicit negatives, -1 where it has none."""
        documents, negatives = (np.full(len(rows), -1, np.int64) for _ in range(2))
        fixed = rows < len(self.train_queries)
        queries = self.train_queries[rows[fixed]]
        corpus = self.corpus
        documents[fixed] = _one_of_each(corpus.positives, corpus.positive_starts, queries, rng.random(len(queries)))
        negatives[fixed] = _one_of_each(corpus.negatives, corpus.negative_starts, queries, rng.random(len(queries)))
        documents[~fixed] = corpus.span_documents[rows[~fixed] - len(self.train_queries)]
        return documents, negatives

    def _span(
        self, tokens: npt.NDArray[np.int32], draws: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """A span of a document with what stands around a query, and the document without it (or whole).

        `draws` (3,) in [0, 1) say how long it is, where it starts, and whether the document stays whole.
        """
        assert self.spans is not None
        before, after = self.document_frame
        same = before[: len(tokens)] == tokens[: len(before)]
        first, last = int(np.cumprod(same).sum()), len(tokens) - len(after)
        room = self.max_query_tokens - sum(map(len, self.query_frame))
        longest = max(1, min(self.spans.max_tokens, room, (last - first) // 2))
        shortest = min(self.spans.min_tokens, longest)
        length = shortest + int(draws[0] * (longest + 1 - shortest))
        start = first + int(draws[1] * max(1, last - first - length + 1))
        end = min(start + length, last)
        stays = draws[2] < self.spans.keep
        query = np.concatenate([self.query_frame[0], tokens[start:end], self.query_frame[1]])
        return query, tokens if stays else np.concatenate([tokens[:start], tokens[end:]])


def _one_of_each(members: Ints, starts: Ints, owners: Ints, draws: npt.NDArray[np.float64]) -> Ints:
    """One member of each owner, by a draw in [0, 1); -1 where it has none. Those of owner i are `members[starts[i]:starts[i + 1]]`."""
    first, count = starts[owners], starts[owners + 1] - starts[owners]
    taken = np.full(len(owners), -1, np.int64)
    some = count > 0
    taken[some] = members[(first + (draws * count).astype(np.int64))[some]]
    return taken


class StepSampler(Sampler[Share]):
    """Yields the `Share` of a rank in every step from `start` to `total_steps`.

    Every epoch is a permutation drawn from (seed, epoch). The last incomplete batch of an epoch is left out: its pairs come
    up elsewhere in the next permutation.
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

    def __iter__(self) -> Iterator[Share]:
        epoch, order = -1, np.zeros(0, np.int64)
        for step in range(self.start, self.total_steps):
            if step // self.steps_per_epoch != epoch:
                epoch = step // self.steps_per_epoch
                order = np.random.default_rng([self.seed, 0, epoch]).permutation(self.rows)
            first = (step % self.steps_per_epoch) * self.batch_size
            yield Share(step, order[first : first + self.batch_size], self.rank, self.world)
