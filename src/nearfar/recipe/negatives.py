"""The negatives block of a recipe: where negatives come from besides the batch, and which candidates are no negatives."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.settings import Count, Fraction, Settings

Cosine = Annotated[float, Strict(), Field(ge=-2.0, le=2.0)]


class Queue(Settings):
    """Documents of past steps, embedded by the model of then (XBM, arXiv:1912.06798) or a slow copy (MoCo, arXiv:1911.05722)."""

    size: Count = 16_384
    """Documents it holds; at least those of one step."""
    momentum: Fraction | None = None
    """Embed what goes into the queue with a copy of the document encoder that keeps this share of its weights at every step,
    such as 0.999; costs one more pass through the encoder. `null` keeps the model's own embeddings, at no cost."""
    start: Fraction = 0.1
    """Share of the steps before the queue begins: early embeddings are soon out of date."""


class Bank(Settings):
    """A remembered embedding of every document of the corpus (arXiv:1805.01978); takes 4 bytes a component and document."""

    momentum: Fraction = 0.5
    """Share of the remembered embedding that stays when the document comes up again."""
    sample: Count | None = 32_768
    """Documents drawn from the bank as negatives at every step; `null` takes all."""
    start: Fraction = 0.1
    """Share of the steps before the bank begins to fill; it is full about an epoch later."""


class Mined(Settings):
    """Hard negatives: documents that are found for a query and do not belong to it."""

    by: Literal["model", "bm25"] = "model"
    """What finds them: the model as trained so far (ANCE, arXiv:2007.00808), or shared words (DPR, arXiv:2004.04906)."""
    per_query: Count = 1
    """Mined negatives that join the batch for each query; each is encoded as a document."""
    depth: Count = 50
    """Nearest documents looked at for each query."""
    skip: Annotated[int, Strict(), Field(ge=0, le=10**6)] = 0
    """Nearest documents that are left out, not counting positives: they are often positives that nobody labelled."""
    keep: Count = 8
    """Negatives held for each query, of which each step draws."""
    margin: Cosine | None = -0.05
    """For `model`: leave out what is nearer to the query than its positive by more than this cosine; a negative margin asks for
    a distance (NV-Retriever, arXiv:2407.15831). `null` leaves nothing out. `bm25` has no margin."""
    every: Count | None = 100
    """For `model`: steps between two minings, each of which embeds the corpus; `null` mines once. `bm25` mines once."""
    start: Fraction = 0.2
    """Share of the steps before mined negatives join the batch."""

    @model_validator(mode="before")
    @classmethod
    def _words_have_neither_margin_nor_schedule(cls, values: object) -> object:
        if not isinstance(values, dict) or values.get("by") != "bm25":
            return values
        return {"margin": None, "every": None, **values}

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        if self.by == "bm25" and self.margin is not None:
            raise ValueError(
                f"margin ({self.margin:g}) is a cosine, which by 'bm25' does not have: leave it out, or set by to model"
            )
        if self.by == "bm25" and self.every is not None:
            raise ValueError(
                f"every ({self.every}) is for a model that changes; by 'bm25' finds the same each time: leave it out"
            )
        if self.skip + self.keep > self.depth:
            raise ValueError(
                f"keep ({self.keep}) and skip ({self.skip}) need a depth of at least {self.skip + self.keep}, not {self.depth}"
            )
        if self.per_query > self.keep:
            raise ValueError(f"per_query ({self.per_query}) must not be larger than keep ({self.keep})")
        return self


class Negatives(Settings):
    """What is negative besides the other pairs of the batch, and which of all candidates are suspected to be positive."""

    margin: Cosine | None = None
    """Ignore candidates that are nearer to the query than its positive by more than this cosine, such as 0.1: they are
    suspected to be positive too (arXiv:2506.05176). `null` trusts all."""
    queue: Queue | None = None
    """Documents of past steps."""
    bank: Bank | None = None
    """A remembered embedding of every document."""
    mined: Mined | None = None
    """Hard negatives, looked for in the corpus."""
    debias: Fraction = 0.0
    """Probability that a negative is in truth positive; its share is subtracted (arXiv:2007.00224)."""
    hardness: Annotated[float, Strict(), Field(ge=0.0, le=100.0)] = 0.0
    """How much more the hard negatives count, 0 for not at all (beta of arXiv:2010.04592)."""
