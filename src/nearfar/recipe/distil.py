"""The teacher of a recipe, and what is learned from it. The docstrings are their documentation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.pair_method import PairMethod
from nearfar.recipe.settings import Count, Settings

Weight = Annotated[float, Strict(), Field(ge=0, le=1000)]
Sharpness = Annotated[float, Strict(), Field(gt=0, le=10)]


class Teacher(Settings):
    """A larger encoder that embeds the documents once, before training; what it gives is what is learned."""

    model: str
    """A bundle, a local model directory, an ONNX export with its tokenizer.json beside it, or a hub name."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    max_tokens: Count | None = None
    """Longest document in tokens; by default what the model was made for."""


class Distil(PairMethod):
    """A small encoder learns the space of a teacher (`teacher`). Terms with a weight above 0 are added up; by default that is `corpus`
    alone: a query encoder for documents that the teacher has embedded.
    """

    kind: Literal["distil"]
    corpus: Weight = 1.0
    """A query (a span of a document, most often) must find its document among the teacher's vectors of all documents: InfoNCE over the
    whole corpus (LEAF, arXiv:2509.12539, asks the same of a student: documents stay the teacher's). No label and no teacher call on a query."""
    embedding: Weight = 0.0
    """A document's vector turns towards the teacher's vector of the same text: one minus their cosine."""
    similarity: Weight = 0.0
    """The documents of a batch are as similar to each other as they are for the teacher: Kullback-Leibler divergence between the rows of
    the two similarity matrices, as softmax (relational distillation, Park et al., arXiv:1904.05068; SEED, arXiv:2101.04731)."""
    contrastive: Weight = 0.0
    """A document's vector must find the teacher's vector of the same text among those of the batch (CRD, arXiv:1910.10699)."""
    pairs: Weight = 0.0
    """A query finds its document, both embedded by the student: the loss of `dual_encoder`, with the recipe's negatives."""
    candidates: Annotated[int, Strict(), Field(ge=2, le=10**7)] = 50_000
    """`corpus`: compare with at most so many documents a step; of more, those of the batch and others drawn anew at every step."""
    same: Annotated[float, Strict(), Field(gt=0, le=1)] = 0.95
    """Documents whose teacher vectors have at least this cosine count as near-duplicates: neither is negative to what must find the other."""
    similarity_temperature: Sharpness = 0.05
    """Temperature of the softmax of `similarity`, for teacher and student."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not self.weights:
            raise ValueError("no term has a weight, so nothing would be learned: set corpus to 1.0")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The terms that count, by name."""
        named = {name: getattr(self, name) for name in ("corpus", "embedding", "similarity", "contrastive", "pairs")}
        return {name: weight for name, weight in named.items() if weight}

    @property
    def asymmetric(self) -> bool:
        """Whether only queries go through the student in training, and documents stay the teacher's."""
        return set(self.weights) == {"corpus"}
