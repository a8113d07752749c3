"""Any Hugging Face text encoder as a tower: a local directory or a hub name."""

from __future__ import annotations

from torch import Tensor, nn

from nearfar.errors import MissingExtraError
from nearfar.learn.encoders.text import PaddedTextEncoder, pool
from nearfar.learn.pretrained import loading
from nearfar.recipe.text import HuggingFaceEncoder


class HuggingFaceTextEncoder(PaddedTextEncoder):
    """A pretrained encoder with pooling and, where asked for, a linear map after it.

    Only weights in safetensors are read, and code inside a model repository is never run.
    """

    def __init__(self, settings: HuggingFaceEncoder, *, pad_id: int) -> None:
        super().__init__()
        try:
            from transformers import AutoModel
        except ImportError as error:
            raise MissingExtraError("hf", "encoder 'hf'") from error
        with loading(settings.model):
            self.model = AutoModel.from_pretrained(
                settings.model, revision=settings.revision, trust_remote_code=False, use_safetensors=True
            )
        self.model.train()  # it comes in eval mode, and Lightning leaves modes as they are: no dropout would be trained with
        hidden = int(self.model.config.hidden_size)
        self.projection = nn.Linear(hidden, settings.projection, bias=False) if settings.projection else None
        self.dim, self.pad_id, self.pooling = settings.projection or hidden, pad_id, settings.pooling
        self.max_tokens = longest_text(self.model)
        self.vocab_size = int(self.model.get_input_embeddings().num_embeddings)

    def embed_padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embed `ids` (n, L) int64 where `mask` (n, L) int64 is 1; returns (n, dim)."""
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = pool(hidden, mask, self.pooling)
        return self.projection(pooled) if self.projection is not None else pooled


def longest_text(model: nn.Module) -> int:
    """Most tokens that a model has positions for; models of the RoBERTa kind keep the first ones for padding."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            return int(module.num_embeddings) - reserved
    return int(getattr(model.config, "max_position_embeddings", 0)) or 1_000_000
