"""A student learns the space of a teacher that has embedded every document once.

What a large encoder knows of the documents is in its vectors of them. A small one need not repeat that: it has to bring a
query, or the document itself, to where the teacher put it (LEAF, arXiv:2509.12539, keeps documents with the teacher and
trains the query side; the terms over documents are those of Hinton et al., arXiv:1503.02531, and after them of relational and
contrastive distillation, arXiv:1904.05068 and arXiv:1910.10699).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.data.batches import PairBatch
from nearfar.learn.encoders import TextEncoder
from nearfar.learn.losses import Match, Negatives, info_nce
from nearfar.learn.losses.operands import at_least_float32
from nearfar.learn.losses.similarities import similarity_divergence
from nearfar.learn.methods.dual_encoder import DualEncoder, Embedded
from nearfar.learn.teacher_memory import TeacherMemory
from nearfar.recipe.distil import Distil as DistilSettings
from nearfar.recipe.negatives import Negatives as NegativeSettings

_NO_RULES = NegativeSettings()


class Distil(DualEncoder):
    """One tower, taught by vectors.

    Args:
        tower: embeds queries, and documents.
        settings: which terms count how much.
        rules: of the term `pairs`.
        memory: the teacher's vectors; only training needs them.
    """

    def __init__(
        self,
        tower: TextEncoder,
        settings: DistilSettings,
        rules: NegativeSettings = _NO_RULES,
        memory: TeacherMemory | None = None,
    ) -> None:
        super().__init__(tower, tower, settings, rules)
        self.settings, self.memory = settings, memory

    def documents(self, batch: PairBatch) -> Tensor:
        """As of a dual encoder; where only queries are learned they are the teacher's, and go through no encoder."""
        if not self.settings.asymmetric:
            return super().documents(batch)
        assert self.memory is not None
        return self.memory.projected(batch.document_ids)

    def loss(self, embedded: Embedded, further: Sequence[Negatives] = ()) -> Tensor:
        """Step two: the sum of the terms, each with its weight."""
        in_pairs = super().loss
        terms: dict[str, Callable[[], Tensor]] = {
            "corpus": lambda: self._corpus(embedded),
            "embedding": lambda: self._embedding(embedded),
            "similarity": lambda: self._similarity(embedded),
            "contrastive": lambda: self._contrastive(embedded),
            "pairs": lambda: in_pairs(self._without_duplicates(embedded), further),
        }
        losses = [weight * terms[name]() for name, weight in self.settings.weights.items()]
        return torch.stack(losses).sum()

    def _without_duplicates(self, embedded: Embedded) -> Embedded:
        """The batch, told that what is nearly the same as a query's document is no negative to it."""
        assert self.memory is not None
        near = self.memory.duplicates(embedded.document_ids)
        return embedded._replace(positive_ids=torch.cat([embedded.positive_ids, near], dim=1))

    def _corpus(self, embedded: Embedded) -> Tensor:
        """Each query finds its document among the teacher's vectors of all; near-duplicates and other positives do not count."""
        assert self.memory is not None
        found = self.memory.candidates(embedded.document_ids)
        near = self.memory.duplicates(embedded.document_ids)
        return info_nce(
            embedded.queries,
            found.vectors,
            found.places,
            temperature=self.temperature,
            ignored=(Match(self.memory.positives(embedded.rows, found.ids), found.ids), Match(near, found.ids)),
        )

    def _targets(self, embedded: Embedded) -> Tensor:
        assert self.memory is not None
        return self.memory.projected(embedded.document_ids)

    def _embedding(self, embedded: Embedded) -> Tensor:
        """One minus the cosine with the teacher's vector."""
        documents, targets = at_least_float32(embedded.documents, self._targets(embedded))
        return (1 - F.cosine_similarity(documents, targets)).mean()

    def _similarity(self, embedded: Embedded) -> Tensor:
        """Rows of the similarity matrix as the teacher has them."""
        assert self.memory is not None
        teacher = self.memory.rows(embedded.document_ids)  # in its own space, whatever the student's dimension is
        return similarity_divergence(embedded.documents, teacher, temperature=self.settings.similarity_temperature)

    def _contrastive(self, embedded: Embedded) -> Tensor:
        """The student's vector and the teacher's of the same text find each other within the batch."""
        assert self.memory is not None
        near = self.memory.duplicates(embedded.document_ids)
        own = torch.arange(len(near), device=near.device)
        equal = Match(embedded.document_ids, embedded.document_ids)
        return info_nce(
            embedded.documents,
            self._targets(embedded),
            own,
            temperature=self.temperature,
            ignored=(equal, Match(near, embedded.document_ids)),
            symmetric=True,
        )
