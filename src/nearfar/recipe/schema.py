"""The recipe: a whole run described in one YAML file. These models are the schema; their docstrings are its documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from nearfar.recipe.data import Data
from nearfar.recipe.negatives import Negatives
from nearfar.recipe.settings import Amount, Count, Dimension, Fraction, Settings

# --- frontend --------------------------------------------------------------------------------------------------------


class TrainTokenizer(Settings):
    """Learn the vocabulary from the corpus."""

    kind: Literal["train"]
    model: Literal["wordpiece", "bpe"] = "wordpiece"
    """How words are cut into pieces."""
    vocab_size: Annotated[int, Strict(), Field(ge=64, le=500_000)] = 16_000
    """Number of pieces; fewer if the corpus does not have so many."""
    lowercase: bool = True
    """Fold case and strip accents."""
    split_identifiers: bool = False
    """Cut camelCase at its humps, for text with code in it; snake_case is cut in any case."""


class FileTokenizer(Settings):
    """Use an existing tokenizer.json (Hugging Face `tokenizers` format)."""

    kind: Literal["file"]
    path: Path
    """The file; relative paths start at the recipe's own folder."""


class ModelTokenizer(Settings):
    """Use the tokenizer that comes with the `hf` encoder."""

    kind: Literal["model"]


Tokenizer = Annotated[TrainTokenizer | FileTokenizer | ModelTokenizer, Field(discriminator="kind")]


class Prompts(Settings):
    """Text put before an item of each side."""

    query: str = ""
    """Put before every query."""
    document: str = ""
    """Put before every document."""


class TextFrontendSettings(Settings):
    """How text becomes token ids: the same in training and on the device."""

    kind: Literal["text"] = "text"
    tokenizer: Tokenizer = TrainTokenizer(kind="train")
    """Where the vocabulary comes from; by default that of the model for encoder `hf`, and else one learned from the corpus."""
    max_query_tokens: Count = 64
    """A query is cut to so many tokens."""
    max_document_tokens: Count = 256
    """A document is cut to so many tokens."""
    prompts: Prompts = Prompts()


# --- encoder ---------------------------------------------------------------------------------------------------------


class StaticEncoder(Settings):
    """A table of token embeddings with a learned weight per token, summed over the text; microseconds on any device."""

    kind: Literal["static"]
    dim: Dimension = 256
    """Components of a token vector, and of an embedding."""
    term_frequency: Literal["sqrt", "linear"] = "sqrt"
    """How the occurrences of a token in a text add up: f of them weigh the square root of f, or f."""
    token_dropout: Fraction = 0.0
    """Share of tokens left out at random while training."""
    projection: Count | None = None
    """Output dimension of an optional linear layer after pooling."""

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.projection or self.dim


class TransformerEncoder(Settings):
    """A small transformer trained from scratch."""

    kind: Literal["transformer"]
    dim: Dimension = 256
    """Components of a token vector, and of an embedding; a multiple of `heads`."""
    layers: Count = 2
    """Blocks of attention and feed-forward."""
    heads: Count = 4
    """Attention heads of a block."""
    feedforward: Count = 512
    """Width of the feed-forward layer."""
    dropout: Fraction = 0.1
    """Share of activations left out at random while training."""
    pooling: Literal["mean", "cls"] = "mean"
    """One vector per text: the mean of its token vectors, or that of a first [CLS] token."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({self.heads})")
        return self

    @property
    def output_dim(self) -> int:
        """Dimension of the embeddings."""
        return self.dim


class HuggingFaceEncoder(Settings):
    """An encoder from a Hugging Face model directory or hub name, fine-tuned. Code inside a model repository is never run."""

    kind: Literal["hf"]
    model: str
    """A local directory or a hub name; a hub name is fetched by `transformers` from wherever HF_ENDPOINT points."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    pooling: Literal["mean", "cls"] = "mean"
    """One vector per text: the mean of its token vectors, or its first token. Use what the model was trained with."""
    projection: Count | None = None
    """Output dimension of an optional linear layer after pooling."""


Encoder = Annotated[StaticEncoder | TransformerEncoder | HuggingFaceEncoder, Field(discriminator="kind")]


# --- method ----------------------------------------------------------------------------------------------------------


class Temperature(Settings):
    """The softmax temperature of InfoNCE."""

    initial: Annotated[float, Strict(), Field(gt=0, le=10)] = 0.05
    """Its value at the first step."""
    learned: bool = False
    """Whether it is trained along, between 0.005 and 1."""


class DualEncoder(Settings):
    """Queries and documents in one space by symmetric InfoNCE over the batch (DPR, arXiv:2004.04906; CLIP, arXiv:2103.00020)."""

    kind: Literal["dual_encoder"] = "dual_encoder"
    towers: Literal["shared", "separate"] = "shared"
    """One encoder for both sides, or one for each."""
    temperature: Temperature = Temperature()
    """How sharply the nearest negatives stand out."""
    matryoshka: tuple[Count, ...] = ()
    """Prefix lengths that are trained to work on their own (Matryoshka representation learning, arXiv:2205.13147)."""


Method = Annotated[DualEncoder, Field(discriminator="kind")]


# --- training, evaluation, export ------------------------------------------------------------------------------------


class EarlyStop(Settings):
    """Stop when the validation metric no longer grows."""

    metric: Literal["ndcg_at_10", "recall_at_1", "recall_at_10", "mrr_at_10"] = "ndcg_at_10"
    """What is to grow; the best step by it is exported."""
    patience: Count = 3
    """Validations without a new best before the run stops."""


class Training(Settings):
    """The optimiser and the loop."""

    epochs: Amount = 10.0
    """Passes over the training pairs; may be a fraction."""
    max_steps: Count | None = None
    """Stop after so many steps even if `epochs` would go on; the learning rate falls to zero by then."""
    batch_size: Annotated[int, Strict(), Field(ge=2, le=10**7)] = 1024
    """Pairs a step over all ranks; the other pairs of the batch are the negatives."""
    chunk: Count | None = None
    """Items that go through the encoder at a time; the loss still sees the whole batch, and the gradient stays the same (GradCache, arXiv:2101.06983). Memory then grows with the chunk instead of the batch, and a step encodes everything twice."""
    devices: Count = 1
    """Processes, each with its share of the batch: on one GPU each where the accelerator is `gpu`, else on the CPU, where they share `threads`."""
    learning_rate: Amount = 1e-2
    """Peak rate of AdamW. About 0.01 for `static`, 0.0005 for `transformer`, 0.00005 for `hf`."""
    weight_decay: Annotated[float, Strict(), Field(ge=0)] = 0.0
    """Of matrices; biases and token weights are not decayed."""
    warmup: Fraction = 0.05
    """Share of the steps in which the learning rate grows from zero; afterwards it falls linearly."""
    gradient_clip: Amount | None = None
    """Largest norm of the gradient."""
    validate_every: Count | None = None
    """Steps between validations; by default ten times a run."""
    early_stop: EarlyStop | None = EarlyStop()
    """`null` trains to the last step and exports that."""
    checkpoint_every: Count = 50
    """Steps between checkpoints; a killed run resumes from the last one, bit-identically."""
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """What to train on."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Number format, in the names of Lightning."""
    threads: Count | None = None
    """CPU threads; by default all cores."""


class Evaluation(Settings):
    """What is measured on the held-out pairs."""

    bootstrap: Annotated[int, Strict(), Field(ge=0, le=10**6)] = 1000
    """Resamples for the 95 % intervals."""
    max_queries: Count = 2_000
    """At most so many test queries, drawn at random."""
    max_documents: Count = 200_000
    """At most so many candidates: all positives, and others drawn at random."""
    baselines: tuple[Literal["bm25", "untrained"], ...] = ("bm25", "untrained")
    """What the model is set beside."""


class Export(Settings):
    """What ships."""

    quantise: Literal["int8", "none"] = "int8"
    """Number format of the weights that ship."""
    dim: Count | None = None
    """Keep only the first so many components (a Matryoshka prefix)."""


class Recipe(Settings):
    """A whole run: data, frontend, encoder, method, negatives, training, evaluation, export."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
    """Lower-case letters, digits, `.`, `_`, `-`; names the run's folder and the bundle."""
    description: str = ""
    """For people; goes into the card."""
    seed: Annotated[int, Strict(), Field(ge=0, lt=2**31)] = 0
    """Of all randomness: the same recipe, data and machine give the same weights."""
    data: Data
    frontend: TextFrontendSettings = TextFrontendSettings()
    encoder: Encoder
    """What turns tokens into a vector."""
    method: Method = DualEncoder()
    """What it learns by."""
    negatives: Negatives = Negatives()
    """What is negative besides the other pairs of the batch, and what is not."""
    train: Training = Training()
    evaluate: Evaluation = Evaluation()
    export: Export = Export()

    @model_validator(mode="before")
    @classmethod
    def _pretrained_encoder_brings_its_tokenizer(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        encoder, frontend = values.get("encoder"), values.get("frontend", {})
        if not isinstance(encoder, dict) or encoder.get("kind") != "hf" or not isinstance(frontend, dict):
            return values
        return {**values, "frontend": {"tokenizer": {"kind": "model"}, **frontend}}

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        is_hf = isinstance(self.encoder, HuggingFaceEncoder)
        if self.frontend.tokenizer.kind == "model" and not is_hf:
            raise ValueError(
                f"frontend.tokenizer 'model' needs encoder 'hf'; encoder '{self.encoder.kind}' has no tokenizer of its own: "
                "use 'train' or 'file'"
            )
        if self.frontend.tokenizer.kind == "train" and is_hf:
            raise ValueError(
                "encoder 'hf' was pretrained with its own vocabulary: leave frontend.tokenizer out, or set it to {kind: model}"
            )
        # The width of a pretrained model without a projection is known only when it is loaded.
        output_dim = (
            self.encoder.projection if isinstance(self.encoder, HuggingFaceEncoder) else self.encoder.output_dim
        )
        for prefix in self.method.matryoshka:
            if output_dim is not None and prefix > output_dim:
                raise ValueError(f"method.matryoshka has {prefix}, but the encoder gives only {output_dim} dimensions")
        if self.export.dim is not None and output_dim is not None and self.export.dim > output_dim:
            raise ValueError(f"export.dim is {self.export.dim}, but the encoder gives only {output_dim} dimensions")
        if self.train.early_stop is not None and self.data.split.validation == 0:
            raise ValueError(
                "train.early_stop needs validation pairs: set data.split.validation above 0, or train.early_stop to null"
            )
        return self

    @model_validator(mode="after")
    def _negatives_fit(self) -> Self:
        queue, mined = self.negatives.queue, self.negatives.mined
        if queue is not None and queue.size < self.train.batch_size:
            raise ValueError(
                f"negatives.queue.size is {queue.size}, but train.batch_size is {self.train.batch_size}: the queue would not even "
                f"hold the documents of one step; set it to several times {self.train.batch_size}, or leave the queue out"
            )
        if mined is not None and all(pairing.kind == "spans" for pairing in self.data.pairings):
            raise ValueError(
                "negatives.mined looks for negatives of fixed queries, but data.pairings has only spans, which are drawn anew "
                "at every step: add another rule, or leave mined out"
            )
        return self
