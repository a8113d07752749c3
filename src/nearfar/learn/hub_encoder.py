"""An encoder of the Hugging Face kind, as its authors trained it: weights, pooling, prompts and lengths of its own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.embedder import Item, Side
from nearfar.errors import MissingExtraError, RunError
from nearfar.learn.encoders.huggingface import longest_text
from nearfar.learn.encoders.text import PaddedTextEncoder, pool
from nearfar.learn.foreign_frontend import text_frontend
from nearfar.learn.pretrained import check_vocabulary, fast_tokenizer, loading
from nearfar.learn.sentence_layout import Dense, SentenceLayout

_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
_UNTRAINED = "pooler."  # what stands on the first token in BERT and its kin, and is often left out, as here


class HubEncoder(PaddedTextEncoder):
    """Texts to vectors as `transformers` and the layout of sentence-transformers say. It is also an `Embedder`.

    Args:
        model: of `transformers`, in eval mode.
        tokenizer: of `transformers`.
        layout: what the files say.
        source: for messages.
    """

    quantised = False

    def __init__(self, model: nn.Module, tokenizer: Any, layout: SentenceLayout, source: str) -> None:
        super().__init__()
        layout = layout.pooled()
        assert layout.pooling is not None
        self.model, self.layout, self.tokenizer, self.pooling = model, layout, tokenizer, layout.pooling
        self.after = nn.Sequential(*(_UnitRows() if step == "normalise" else _dense(step) for step in layout.after))
        widths = [step[0].out_features for step in self.after if isinstance(step, nn.Sequential)]
        self.dim = int(widths[-1] if widths else model.config.hidden_size)  # type: ignore[union-attr,arg-type]
        self.max_tokens = layout.max_tokens
        self.vocab_size = int(model.get_input_embeddings().num_embeddings)  # type: ignore[operator]
        self.frontend = text_frontend(fast_tokenizer(tokenizer, source), layout, source)
        self.pad_id = self.frontend.pad_id
        check_vocabulary(self.frontend.vocab_size, self.vocab_size, source)

    @classmethod
    def load(cls, source: str, layout: SentenceLayout) -> Self:
        """Load a model from a folder. Only safetensors are read, and code beside a model is never run.

        Args:
            source: what the user calls it, for messages.
            layout: what its files say.

        Raises:
            RunError: it cannot be loaded, is incomplete, or takes no texts as long as the layout says.
            MissingExtraError: `transformers` is not installed.
        """
        try:
            from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
            from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES as ENCODERS
        except ImportError as error:
            raise MissingExtraError("hf", f"importing {source}, a model in safetensors,") from error
        folder, trust = str(layout.transformer), {"trust_remote_code": False}
        with loading(source):
            config = AutoConfig.from_pretrained(folder, **trust)
            # Of T5 and its kin only the encoder.
            kind: Any = AutoModelForTextEncoding if config.model_type in ENCODERS else AutoModel
            tokenizer = AutoTokenizer.from_pretrained(folder, **trust)
            model, found = kind.from_pretrained(
                folder,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **trust,
            )
        if lost := sorted(key for key in found["missing_keys"] if not key.startswith(_UNTRAINED)):
            raise RunError(
                f"{source!r} has no weights for {', '.join(lost[:3])}: it was saved incompletely; give another"
            )
        longest = longest_text(model)
        if layout.max_tokens > longest:
            raise RunError(f"max_tokens is {layout.max_tokens}, but {source!r} takes only {longest}: lower it")
        return cls(model.eval(), tokenizer, layout, source)

    def embed_padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embed `ids` (n, L) int64 where `mask` (n, L) int64 is 1; returns (n, dim). This is the graph that ships."""
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        embedded: Tensor = self.after(pool(hidden, mask, self.pooling))
        return embedded

    def embed(self, items: Sequence[Item], side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed texts through the model's own tokenizer, one at a time and so without padding.

        Args:
            items: n texts that are not without any token.
            side: whose prompt.

        Returns:
            float32 (n, d), rows of unit length.
        """
        rows = []
        for text in items:
            tokens = self.tokenizer(
                self.layout.prompts[side] + (text.lower() if self.layout.lowercase else text),
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            )
            with torch.no_grad():
                rows.append(F.normalize(self.embed_padded(tokens["input_ids"], tokens["attention_mask"]), dim=-1))
        return torch.cat(rows).numpy()


class _UnitRows(nn.Module):
    """A Normalize module between others."""

    def forward(self, rows: Tensor) -> Tensor:
        return F.normalize(rows, dim=-1)


def _dense(settings: Dense) -> nn.Sequential:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if settings.activation not in _ACTIVATIONS:
        raise RunError(
            f"{settings.weights.parent}: has the activation {settings.activation}, and only {', '.join(_ACTIVATIONS)} are "
            "supported: give another model"
        )
    try:
        weights: Mapping[str, Tensor] = load_file(settings.weights)
        matrix = weights["linear.weight"].float()
        linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias="linear.bias" in weights)
        linear.load_state_dict({key.removeprefix("linear."): value.float() for key, value in weights.items()})
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise RunError(
            f"{settings.weights}: cannot be read as a Dense module ({error}): copy the model again"
        ) from error
    return nn.Sequential(linear, getattr(nn, settings.activation)())
