"""How a recipe trains, what it measures, and what ships. The docstrings are their documentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from nearfar.recipe.settings import Amount, Count, Fraction, Settings


class EarlyStop(Settings):
    """Stop when the validation metric no longer grows."""

    metric: Literal["ndcg_at_10", "recall_at_1", "recall_at_10", "mrr_at_10", "knn_accuracy", "fault_auc_pr"] = (
        "ndcg_at_10"
    )
    """What is to grow; the best step by it is exported. For pictures, recordings and rows that is `knn_accuracy`, and needs labels (of identities
    that are not trained on, one half of the validation samples names the other); for events `ndcg_at_10` or `recall_at_10` of the next action, by the encoder alone; for series it is `fault_auc_pr`, by faults that are injected into held-out windows. For partners of several
    modalities it is `recall_at_1` or `recall_at_10`, the mean over both directions of each kind of pairs."""
    patience: Count = 3
    """Validations without a new best before the run stops."""


class Training(Settings):
    """The optimiser and the loop."""

    epochs: Amount = 10.0
    """Passes over the training pairs or pictures; may be a fraction. Of several kinds of partners a pass takes as many pairs as all of
    them have training rows, shared out by the weights of their files."""
    max_steps: Count | None = None
    """Stop after so many steps even if `epochs` would go on; the learning rate falls to zero by then."""
    batch_size: Annotated[int, Strict(), Field(ge=2, le=10**7)] = 1024
    """Pairs or pictures a step over all ranks; the others of the batch are the negatives."""
    chunk: Count | None = None
    """Items that go through the encoder at a time; the loss still sees the whole batch, and the gradient stays the same (GradCache, arXiv:2101.06983). Memory then grows with the chunk instead of the batch, and a step encodes everything twice."""
    devices: Count = 1
    """Processes, each with its share of the batch: on one GPU each where the accelerator is `gpu`, else on the CPU, where they share `threads`."""
    learning_rate: Amount = 1e-2
    """Peak rate. With `adamw` about 0.01 for `static`, 0.0005 for `transformer`, 0.00005 for `hf`, 0.002 for small encoders of images or series,
    0.001 for those of rows; with
    `sgd` about 0.05 for 256 pictures a step."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """AdamW (arXiv:1711.05101), or stochastic gradient descent with Nesterov momentum 0.9."""
    weight_decay: Annotated[float, Strict(), Field(ge=0)] = 0.0
    """Of matrices and filters; biases, norms and token weights are not decayed."""
    warmup: Fraction = 0.05
    """Share of the steps in which the learning rate grows from zero; afterwards it falls."""
    decay: Literal["linear", "cosine"] = "linear"
    """How the learning rate falls to zero after the warm-up: evenly, or along half a cosine."""
    gradient_clip: Amount | None = None
    """Largest norm of the gradient."""
    validate_every: Count | None = None
    """Steps between validations; by default ten times a run."""
    early_stop: EarlyStop | None = EarlyStop()
    """`null` trains to the last step and exports that; so do all but texts unless they ask for it."""
    checkpoint_every: Count = 50
    """Steps between checkpoints; a killed run resumes from the last one, bit-identically."""
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """What to train on."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Number format, in the names of Lightning."""
    threads: Count | None = None
    """CPU threads; by default all cores."""


class Evaluation(Settings):
    """What is measured on what was held out."""

    bootstrap: Annotated[int, Strict(), Field(ge=0, le=10**6)] = 1000
    """Resamples for the 95 % intervals."""
    max_queries: Count = 2_000
    """At most so many test queries or test pictures, drawn at random."""
    max_documents: Count = 200_000
    """At most so many candidates, drawn at random: texts that a query is compared with (all positives are among them), or
    training pictures that a test picture is compared with."""
    neighbours: Count = 10
    """Nearest training pictures that vote on the label of a picture (kNN)."""
    baselines: tuple[
        Literal["bm25", "pixels", "spectrum", "columns", "popularity", "item_knn", "transitions", "untrained"], ...
    ] = ("bm25", "untrained")
    """What the model is set beside; for pictures by default `pixels` (their raw pixels) and `untrained`, for recordings
    `spectrum` (mean and deviation of their log-mel bands) and `untrained`, for rows
    `columns` (one number for each category, and the scaled numbers) and `untrained`; for events `popularity`, `item_knn` (cosine of who acted on two items, recent
    actions first), `transitions` (what was done within five actions after another) and `untrained`."""


class Export(Settings):
    """What ships."""

    quantise: Literal["int8", "none"] = "int8"
    """Number format of the weights that ship."""
    dim: Count | None = None
    """Keep only the first so many components (a Matryoshka prefix)."""
    gap: Literal["keep", "centre"] = "keep"
    """Of several modalities in one space: what becomes of the distance between their means, the modality gap (arXiv:2203.02053). `centre`
    takes from each tower's vectors their mean over the training items, so that items of all modalities lie around one centre."""
