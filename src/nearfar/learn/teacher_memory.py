"""The teacher's vectors of the documents, as a loss looks things up in them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearfar.learn.data.corpus import PairCorpus
from nearfar.learn.negatives.sources import positives_within
from nearfar.learn.teaching import Taught


class Candidates(NamedTuple):
    """Documents that queries of a batch are compared with.

    Attributes:
        vectors: (m, D).
        ids: (m,) their numbers in the corpus.
        places: (n,) where among them the document of each query is.
    """

    vectors: Tensor
    ids: Tensor
    places: Tensor


class TeacherMemory:
    """Vectors by document number, and all of them (or a sample) as candidates.

    Args:
        taught: what the teacher said.
        corpus: its training documents are the candidates, and it knows which are positive to a query.
        limit: most candidates a step, unless the batch alone has more.
    """

    def __init__(self, taught: Taught, corpus: PairCorpus, *, limit: int) -> None:
        self._taught, self._corpus, self._limit = taught, corpus, limit
        self._documents = torch.from_numpy(corpus.training_documents())  # ascending
        self._all: Tensor | None = None

    @property
    def dim(self) -> int:
        """Components of the teacher's vectors."""
        return int(self._taught.vectors.shape[1])

    def rows(self, numbers: Tensor) -> Tensor:
        """The vectors (n, D) float32 of some documents, on their device."""
        wanted = numbers.cpu().numpy()
        return torch.from_numpy(np.asarray(self._taught.vectors[wanted], dtype=np.float32)).to(numbers.device)

    def projected(self, numbers: Tensor) -> Tensor:
        """The same in the student's space, (n, d)."""
        rows = self.rows(numbers)
        axes = self._taught.axes
        return rows if axes is None else rows @ torch.from_numpy(axes).to(rows.device)

    def duplicates(self, numbers: Tensor) -> Tensor:
        """(n, p) numbers of the documents that are nearly the same as each, -1 for none."""
        return torch.from_numpy(self._taught.duplicates[numbers.cpu().numpy()]).to(numbers.device)

    def positives(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """(n, p) those of the candidates (m,) that are positive to the queries `rows` (n,), which are -1 for spans; filled up with -1."""
        corpus = self._corpus
        listed = positives_within(
            corpus.positives, corpus.positive_starts, rows.cpu().numpy(), candidates.cpu().numpy()
        )
        return torch.from_numpy(listed).to(rows.device)

    def candidates(self, numbers: Tensor) -> Candidates:
        """All training documents; of more than the limit those of the batch, and others drawn at random.

        What is drawn is a function of the batch, so that every rank draws the same.

        Args:
            numbers: (n,) the document of each query.
        """
        device = numbers.device
        if len(self._documents) <= self._limit:
            if self._all is None or self._all.device != device:
                self._all = self.projected(self._documents.to(device))
            return Candidates(
                self._all, self._documents.to(device), torch.searchsorted(self._documents.to(device), numbers)
            )
        generator = torch.Generator().manual_seed(int(numbers.sum()))
        own = torch.unique(numbers)
        room = max(0, self._limit - len(own))
        drawn = self._documents[torch.randint(len(self._documents), (room,), generator=generator)].to(device)
        ids = torch.unique(torch.cat([own, drawn]))
        return Candidates(self.projected(ids), ids, torch.searchsorted(ids, numbers))
