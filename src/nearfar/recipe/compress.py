"""The compress block of a recipe: what is made smaller after training, step by step. The docstrings are its documentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from nearfar.recipe.settings import Count, Settings

Kept = Annotated[float, Strict(), Field(gt=0, lt=1)]
Epochs = Annotated[float, Strict(), Field(ge=0)]


class VocabularyStep(Settings):
    """Text: drop the pieces of the vocabulary that the training texts do not use. Words that had such a piece are cut into smaller ones."""

    kind: Literal["vocabulary"]
    min_count: Count = 1
    """Keep the pieces that occur in at least so many texts; single characters always stay."""


class PrefixStep(Settings):
    """Keep the first components of the embedding only (a Matryoshka prefix)."""

    kind: Literal["prefix"]
    dim: Count
    """How many."""


class RankStep(Settings):
    """Encoder `static`: store the table as two factors (its best approximation of that rank), so that a token takes `rank` numbers
    and the embedding keeps its dimension.
    """

    kind: Literal["rank"]
    rank: Count
    """Numbers a token."""


class LayersStep(Settings):
    """Transformers: keep some layers, evenly spaced, the first and the last among them."""

    kind: Literal["layers"]
    keep: Count
    """How many."""
    recover: Epochs = 1.0
    """Passes of training afterwards, as the recipe trains, at a tenth of its rate."""


class HeadsStep(Settings):
    """Transformers: remove attention heads and feed-forward units that matter least (Michel et al., arXiv:1905.10650)."""

    kind: Literal["heads"]
    keep: Kept
    """Share that stays, in every layer."""
    recover: Epochs = 1.0
    """Passes of training afterwards, as the recipe trains, at a tenth of its rate."""


class ChannelsStep(Settings):
    """CNNs: remove whole channels, those first that weigh least in all layers they pass through (DepGraph, arXiv:2301.12900)."""

    kind: Literal["channels"]
    keep: Kept
    """Share that stays, in every layer."""
    recover: Epochs = 1.0
    """Passes of training afterwards, as the recipe trains, at a tenth of its rate."""


class WeightsStep(Settings):
    """The number format of the weights that ship."""

    kind: Literal["weights"]
    format: Literal["int8", "int4", "codebook"] = "int8"
    """`int8` for every encoder. `int4` and `codebook` (parts of a token's vector are looked up among 256: product quantisation,
    Jégou et al., PAMI 2011) are for the token table; what else there is stays in int8."""
    activations: Literal["dynamic", "static"] | None = None
    """Where the ranges of what flows through the graph come from: from each batch, or once from `samples` training items
    (calibration). By default `static` for CNNs, which are slow without, and `dynamic` for transformers, which lose less with it."""
    samples: Count = 512
    """Training items that calibration looks at."""


Step = Annotated[
    VocabularyStep | PrefixStep | RankStep | LayersStep | HeadsStep | ChannelsStep | WeightsStep,
    Field(discriminator="kind"),
]


class Compress(Settings):
    """Steps that make the bundle smaller, each measured on the validation part; one that costs too much is left out and the report says so."""

    limit: Annotated[float, Strict(), Field(ge=0, le=1)] = 0.02
    """Largest share of the figure (nDCG@10 of text, kNN accuracy of pictures) that a step may cost, against the step before."""
    steps: tuple[Step, ...] = (WeightsStep(kind="weights"),)
    """Done one after the other."""
