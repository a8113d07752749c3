"""Dual encoder: queries and documents in one space (DPR, arXiv:2004.04906), symmetric as in CLIP (arXiv:2103.00020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nearfar.embedder import Side
from nearfar.learn.data.batches import PairBatch, Tokens
from nearfar.learn.encoders import TextEncoder
from nearfar.learn.losses import Match, Negatives, info_nce
from nearfar.recipe.negatives import Negatives as NegativeSettings
from nearfar.recipe.pair_method import PairMethod

_NO_RULES = NegativeSettings()
_COLDEST, _HOTTEST = 0.005, 1.0  # a learned temperature is kept between these, as CLIP keeps its own above 0.01


class Embedded(NamedTuple):
    """The tensors that `loss` needs, and nothing else: n queries with a positive document each, and m explicit negatives.

    Attributes:
        queries: (n, d).
        documents: (n, d).
        negatives: (m, d).
        query_ids: (n,) equal for queries that hang together: the positive of one is no negative for the other.
        document_ids: (n,) equal for equal texts.
        negative_ids: (m,) likewise.
        positive_ids: (n, p) ids of all in the batch that is positive to each query, filled up with -1.
        rows: (n,) the number in the corpus of each query; -1 for spans, which have none.
    """

    queries: Tensor
    documents: Tensor
    negatives: Tensor
    query_ids: Tensor
    document_ids: Tensor
    negative_ids: Tensor
    positive_ids: Tensor
    rows: Tensor


class DualEncoder(nn.Module):
    """Symmetric InfoNCE between queries and documents over the batch, plus explicit negatives.

    Args:
        query_tower: embeds queries.
        document_tower: embeds documents; the same object for a shared tower.
        settings: temperature and Matryoshka prefixes.
        rules: margin, debiasing and hardness.
    """

    def __init__(
        self,
        query_tower: TextEncoder,
        document_tower: TextEncoder,
        settings: PairMethod,
        rules: NegativeSettings = _NO_RULES,
    ) -> None:
        super().__init__()
        self.rules = rules
        self.query_tower = query_tower
        self.document_tower = document_tower
        self.dims = sorted({query_tower.dim, *settings.matryoshka}, reverse=True)
        log_temperature = torch.tensor(math.log(settings.temperature.initial))
        self.log_temperature = nn.Parameter(log_temperature, requires_grad=settings.temperature.learned)

    @property
    def temperature(self) -> Tensor:
        """The softmax temperature, a positive scalar."""
        return self.log_temperature.exp().clamp(_COLDEST, _HOTTEST)

    def tower(self, side: Side) -> TextEncoder:
        """The encoder of one side."""
        return self.query_tower if side == "query" else self.document_tower

    def embed(self, batch: PairBatch) -> Embedded:
        """Step one: everything that goes through an encoder."""
        n = len(batch.query_ids)
        documents, negatives = self.documents(batch).tensor_split([n])
        return Embedded(
            self.query_tower(batch.queries),
            documents,
            negatives,
            batch.query_ids,
            batch.document_ids[:n],
            batch.document_ids[n:],
            batch.positive_ids,
            batch.rows,
        )

    def documents(self, batch: PairBatch) -> Tensor:
        """The vectors (n + m, d) of the documents of a batch and of its explicit negatives."""
        vectors: Tensor = self.document_tower(_joined(batch.documents, batch.negatives))
        return vectors

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Step two: InfoNCE in both directions, averaged over the Matryoshka prefixes.

        Args:
            embedded: the batch.
            further: documents that are negatives of the queries besides, full width.
        """
        queries, candidates = embedded.queries, torch.cat([embedded.documents, embedded.negatives])
        own = torch.arange(len(queries), device=queries.device)
        # A candidate that is also positive to the anchor, or belongs to an anchor that hangs together with it, is no negative.
        candidate_ids = torch.cat([embedded.document_ids, embedded.negative_ids])
        nobody = torch.full_like(embedded.negative_ids, -1)
        ignored = (
            Match(embedded.positive_ids, candidate_ids),
            Match(embedded.query_ids, torch.cat([embedded.query_ids, nobody])),
        )
        losses = [
            info_nce(
                queries[:, :dim],
                candidates[:, :dim],
                own,
                temperature=self.temperature,
                ignored=ignored,
                negatives=[more._replace(vectors=more.vectors[:, :dim]) for more in further],
                margin=self.rules.margin,
                debias=self.rules.debias,
                hardness=self.rules.hardness,
                symmetric=True,
            )
            for dim in self.dims
        ]
        return torch.stack(losses).mean()


def _joined(first: Tokens, second: Tokens) -> Tokens:
    return Tokens(torch.cat([first.ids, second.ids]), torch.cat([first.lengths, second.lengths]))
