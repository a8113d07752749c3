"""Static encoder: a table of token vectors, a learned weight per token, and the sum over the text.

The idea is that of weighted bags of words (SIF: Arora et al., A Simple but Tough-to-Beat Baseline for Sentence
Embeddings, ICLR 2017), with both table and weights learned by contrast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.data.batches import Tokens
from nearfar.learn.encoders.text import TextEncoder
from nearfar.recipe.text import StaticEncoder


class StaticTextEncoder(TextEncoder):
    """Token vectors, weighted and summed; optionally a linear map after it.

    Args:
        settings: dimensions and token dropout.
        vocab_size: rows of the table.
        document_share: (vocab_size,) share of training documents with each token. The weights start at the inverse
            document frequency; without it at 1.
    """

    def __init__(
        self, settings: StaticEncoder, *, vocab_size: int, document_share: npt.NDArray[Any] | None = None
    ) -> None:
        super().__init__()
        self.dim = settings.output_dim
        self.token_dropout = settings.token_dropout
        self.damped = settings.term_frequency == "sqrt"
        self.table = nn.Parameter(torch.randn(vocab_size, settings.dim) / settings.dim**0.5)
        weight = torch.ones(vocab_size)
        if document_share is not None:
            weight = torch.from_numpy(inverse_document_frequency(document_share))
        self.token_weight = nn.Parameter(weight)
        # Without a bias the map can be folded into the table at export.
        self.projection = nn.Linear(settings.dim, settings.projection, bias=False) if settings.projection else None

    def forward(self, tokens: Tokens) -> Tensor:
        """Embed n texts; returns (n, dim)."""
        ids, frequency, lengths = counted(tokens, self.table.shape[0])
        # Not token_weight[ids]: the gradient of indexing is summed by several threads in no fixed order, and a run would not
        # repeat to the bit.
        weight = self.token_weight.index_select(0, ids) * (frequency.sqrt() if self.damped else frequency)
        if self.training and self.token_dropout:
            weight = weight * (torch.rand_like(weight) >= self.token_dropout)
        starts = lengths.cumsum(0) - lengths
        summed = F.embedding_bag(ids, self.table, starts, mode="sum", per_sample_weights=weight)
        if self.projection is None:
            return summed
        projected: Tensor = self.projection(summed)
        return projected

    @torch.no_grad()
    def folded_table(self) -> npt.NDArray[np.float32]:
        """The table (vocab_size, dim) with weights and projection multiplied in: embedding = sum of its rows."""
        table = self.table * self.token_weight.unsqueeze(1)
        if self.projection is not None:
            table = self.projection(table)
        folded: npt.NDArray[np.float32] = table.float().cpu().numpy()
        return folded


def inverse_document_frequency(document_share: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Weights (v,) of tokens with mean 1, from the share of documents that have each (v,)."""
    idf = -np.log(np.clip(document_share, 1e-9, 1.0))
    idf = np.minimum(
        idf, idf[document_share > 0].max(initial=1.0)
    )  # unseen tokens weigh as much as the rarest seen one
    idf = np.maximum(idf, 0.05)  # a token that every text has still counts a little
    weights: npt.NDArray[np.float32] = (idf / idf.mean()).astype(np.float32)
    return weights


def counted(tokens: Tokens, vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The different tokens of each text, and how often each occurs: fewer rows to look up than there are tokens.

    Repeated words tell less each time (sublinear term frequency: Manning, Raghavan and Schütze, Introduction to
    Information Retrieval, section 6.4.1), so what counts is a function of the frequency. Of the square root, 1 + ln f and
    f itself, the root did best on docstrings.

    Returns:
        ids (u,) int64 one text after the other, frequencies (u,) float32, and different tokens per text (n,) int64.
    """
    text = torch.repeat_interleave(torch.arange(len(tokens.lengths), device=tokens.ids.device), tokens.lengths)
    kinds, counts = torch.unique(text * vocab_size + tokens.ids, return_counts=True)
    lengths = torch.bincount(kinds // vocab_size, minlength=len(tokens.lengths))
    return kinds % vocab_size, counts.float(), lengths
