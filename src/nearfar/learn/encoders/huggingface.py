"""Any Hugging Face text encoder as a tower: a local directory or a hub name."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearfar.learn.encoders.text import PaddedTextEncoder, pool
from nearfar.learn.pretrained import keep_parts, load_model
from nearfar.recipe.text import HuggingFaceEncoder

_FILES = "config.json, model.safetensors and tokenizer.json"


class HuggingFaceTextEncoder(PaddedTextEncoder):
    """A pretrained encoder with pooling and, where asked for, a linear map after it.

    Of a model that was trained with another modality (CLIP, SigLIP, CLAP) it is the text tower, with the pooling and the projection
    of its authors. Only weights in safetensors are read, and code inside a model repository is never run.
    """

    def __init__(self, settings: HuggingFaceEncoder, *, pad_id: int) -> None:
        super().__init__()
        self.model: Any = load_model(settings.model, settings.revision, files=_FILES, kind="texts")
        self.shared = hasattr(self.model, "get_text_features")
        if self.shared:
            keep_parts(self.model, "text")
        self.pad_id, self.pooling = pad_id, settings.pooling
        self.max_tokens = longest_text(self.model)
        # SigLIP was trained with texts filled up to one length, and looks at the fillings.
        self.filled_up = self.shared and str(self.model.config.model_type).startswith("siglip")
        words = self.model.text_model if self.shared else self.model
        self.vocab_size = int(words.get_input_embeddings().num_embeddings)
        hidden = self._hidden_size()
        self.projection = nn.Linear(hidden, settings.projection, bias=False) if settings.projection else None
        self.dim = settings.projection or hidden

    def embed_padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embed `ids` (n, L) int64 where `mask` (n, L) int64 is 1; returns (n, dim)."""
        pooled = self._shared_features(ids, mask) if self.shared else self._pooled(ids, mask)
        return self.projection(pooled) if self.projection is not None else pooled

    def _pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        return pool(self.model(input_ids=ids, attention_mask=mask).last_hidden_state, mask, self.pooling)

    def _shared_features(self, ids: Tensor, mask: Tensor) -> Tensor:
        if self.filled_up:
            whole = F.pad(ids, (0, self.max_tokens - ids.shape[1]), value=self.pad_id)
            found = self.model.get_text_features(input_ids=whole)
        else:
            found = self.model.get_text_features(input_ids=ids, attention_mask=mask)
        features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
        return features

    def _hidden_size(self) -> int:
        """Components before the projection of ours."""
        if not self.shared:
            return int(self.model.config.hidden_size)
        one = torch.ones(1, 1, dtype=torch.int64)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return int(self._shared_features(one, one).shape[1])


def longest_text(model: nn.Module) -> int:
    """Most tokens that a model has positions for; models of the RoBERTa kind keep the first ones for padding."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - reserved
    config = getattr(model.config, "text_config", model.config)
    return int(getattr(config, "max_position_embeddings", 0)) or 1_000_000
