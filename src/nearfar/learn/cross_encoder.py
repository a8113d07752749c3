"""A cross-encoder of the Hugging Face kind: a query and a passage in one row, one number out."""

from __future__ import annotations

import inspect
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nearfar.errors import DataError, MissingExtraError, RunError
from nearfar.frontend.pairs import PairFrontend
from nearfar.frontend.settings import PairSettings
from nearfar.learn.encoders.huggingface import longest_text
from nearfar.learn.pretrained import check_vocabulary, fast_tokenizer, loading

_LONGEST = 512  # tokens of a pair, by default: what most cross-encoders were trained on


class CrossEncoder(nn.Module):
    """Scores rows of tokens.

    Args:
        model: a sequence classifier of `transformers` with one output.
        types: whether it is told which tokens are of the query and which of the passage.
        scale: what its scores mean, as in the manifest.
    """

    def __init__(self, model: nn.Module, *, types: bool, scale: Literal["logit", "free"]) -> None:
        super().__init__()
        self.model, self.types, self.scale = model, types, scale

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        """Scores (n,) float32 of rows: `ids`, `mask` and perhaps `types`, int64 (n, L). This is the graph that ships."""
        told = {} if types is None else {"token_type_ids": types}
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask, **told).logits
        return logits.squeeze(-1)


def load_cross_encoder(
    source: str,
    *,
    revision: str | None = None,
    new_head: bool = False,
    max_tokens: int | None = None,
    max_query_tokens: int | None = None,
    seed: int = 0,
) -> tuple[CrossEncoder, PairFrontend]:
    """Load a cross-encoder, or an encoder to make one of, from a directory or the Hugging Face hub.

    Only weights in safetensors are read, and code inside a model repository is never run.

    Args:
        source: a directory, or a hub name.
        revision: of the hub repository.
        new_head: take any encoder, and draw what gives the score at random where the model has nothing of the kind. It
            means nothing before it is trained.
        max_tokens: longest pair; by default what the model takes, at most 512.
        max_query_tokens: longest query; by default 64, at most a half of a pair.
        seed: of a new head.

    Returns:
        The model in eval mode, and what makes its rows.

    Raises:
        RunError: it cannot be loaded, or gives more than one number, or takes no rows of that length.
        MissingExtraError: `transformers` is not installed.
    """
    try:
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("hf", "a reranker from a Hugging Face model") from error
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    with loading(source), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = AutoConfig.from_pretrained(source, **options)
        outputs = int(config.num_labels) if _classifies(config) else 0
        if outputs != 1 and not new_head:
            kind = ", ".join(config.architectures or ()) or config.model_type
            raise RunError(
                f"{source!r} is no cross-encoder: it is {kind}"
                + (f" with {outputs} outputs" if outputs else "")
                + ", where a sequence classifier with one output is needed. Give one, or train this one with --pairs."
            )
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model, found = AutoModelForSequenceClassification.from_pretrained(
            source,
            num_labels=1,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=new_head,
            output_loading_info=True,
            **options,
        )
    if found["missing_keys"] and not new_head:
        raise RunError(
            f"{source!r} has no weights for {', '.join(sorted(found['missing_keys'])[:3])}: it was saved incompletely, or is no "
            "cross-encoder. Give another, or train this one with --pairs."
        )
    encoder = CrossEncoder(
        model.eval(), types=_reads_types(model, tokenizer), scale=_scale(config, trained=outputs == 1)
    )
    longest = min(longest_text(model), int(tokenizer.model_max_length))
    return encoder, _frontend(encoder, tokenizer, source, longest, max_tokens, max_query_tokens)


def _frontend(
    encoder: CrossEncoder,
    tokenizer: Any,
    source: str,
    longest: int,
    max_tokens: int | None,
    max_query_tokens: int | None,
) -> PairFrontend:
    whole = max_tokens or min(_LONGEST, longest)
    if whole > longest:
        raise RunError(f"max_tokens is {whole}, but {source!r} takes only {longest}")
    content = fast_tokenizer(tokenizer, source)
    try:
        settings = PairSettings(
            max_query_tokens=max_query_tokens or min(64, whole // 2), max_tokens=whole, types=encoder.types
        )
        frontend = PairFrontend.from_bytes(content, settings, name=f"the tokenizer of {source!r}")
    except (DataError, ValueError) as error:
        raise RunError(f"max_tokens {max_tokens} with max_query_tokens {max_query_tokens}: {error}") from error
    check_vocabulary(
        frontend.vocab_size,
        int(encoder.model.get_input_embeddings().num_embeddings),  # type: ignore[operator]
        source,
    )
    return frontend


def _classifies(config: Any) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def _reads_types(model: nn.Module, tokenizer: Any) -> bool:
    """Whether model and tokenizer both tell the tokens of the query from those of the passage."""
    return (
        "token_type_ids" in tokenizer.model_input_names
        and "token_type_ids" in inspect.signature(model.forward).parameters
        and int(getattr(model.config, "type_vocab_size", 0) or 0) > 1
    )


def _scale(config: Any, *, trained: bool) -> Literal["logit", "free"]:
    """What scores mean: sentence-transformers notes the function after the last layer, by default a sigmoid for one output."""
    if not trained:
        return "logit"  # as it is trained here
    noted = getattr(config, "sentence_transformers", None) or {}
    after = noted.get("activation_fn") or getattr(config, "sbert_ce_default_activation_function", None) or "Sigmoid"
    return "logit" if str(after).rsplit(".", 1)[-1] == "Sigmoid" else "free"
