"""A dual encoder with its frontend: how it is made from a recipe, saved, loaded, and used as an Embedder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nearfar.embedder import Side
from nearfar.errors import MissingExtraError, RunError
from nearfar.frontend import TextFrontend
from nearfar.frontend.settings import TextSettings
from nearfar.learn.compress.vocabulary import pruned_vocabulary, token_counts, without_rows
from nearfar.learn.data.batches import Tokens
from nearfar.learn.encoders import TextEncoder, build_encoder
from nearfar.learn.encoders.huggingface import HuggingFaceTextEncoder
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.learn.methods.distil import Distil
from nearfar.learn.methods.dual_encoder import DualEncoder
from nearfar.learn.pretrained import loading
from nearfar.learn.reason import first_line
from nearfar.learn.teacher_memory import TeacherMemory
from nearfar.learn.teaching import Taught, TeacherEncoder
from nearfar.recipe.distil import Distil as DistilSettings
from nearfar.recipe.schema import Recipe
from nearfar.recipe.text import (
    FileTokenizer,
    HuggingFaceEncoder,
    TeacherTokenizer,
    TextEncoderSettings,
    TextFrontendSettings,
    TrainTokenizer,
    TransformerEncoder,
)


def build_frontend(
    recipe: Recipe, texts: Iterable[str], teacher: Callable[[], TeacherEncoder] | None = None
) -> TextFrontend:
    """The frontend of a recipe; see `fit_frontend`."""
    settings, encoder, _ = recipe.of_text
    return fit_frontend(settings, encoder, texts, teacher)


def fit_frontend(
    settings: TextFrontendSettings,
    encoder: TextEncoderSettings,
    texts: Iterable[str],
    teacher: Callable[[], TeacherEncoder] | None = None,
) -> TextFrontend:
    """The frontend of texts; a vocabulary is learned from `texts`, or cut down to what they use.

    Args:
        settings: the block of the frontend.
        encoder: that of the encoder, for what it needs of a text, and for its own tokenizer.
        texts: the training texts; read only where the vocabulary depends on them.
        teacher: opens the teacher, for its tokenizer.

    Raises:
        RunError: where the tokenizer of an `hf` encoder or of the teacher cannot be found.
    """
    tokenizer = settings.tokenizer
    lengths: dict[str, Any] = {
        "max_query_tokens": settings.max_query_tokens,
        "max_document_tokens": settings.max_document_tokens,
        "query_prompt": settings.prompts.query,
        "document_prompt": settings.prompts.document,
    }
    if isinstance(tokenizer, TrainTokenizer):
        needs_cls = isinstance(encoder, TransformerEncoder) and encoder.pooling == "cls"
        return TextFrontend.train(
            texts,
            model=tokenizer.model,
            vocab_size=tokenizer.vocab_size,
            lowercase=tokenizer.lowercase,
            split_identifiers=tokenizer.split_identifiers,
            add_special=needs_cls,
            **lengths,
        )
    if isinstance(tokenizer, FileTokenizer):
        return TextFrontend.from_file(tokenizer.path, **lengths)
    if isinstance(tokenizer, TeacherTokenizer):
        assert teacher is not None
        whole = teacher().frontend
        if not isinstance(whole, TextFrontend):
            raise RunError("the teacher does not read texts: give one that does (teacher.model)")
        frontend = whole.bare(TextSettings(**lengths))
    else:
        assert isinstance(encoder, HuggingFaceEncoder)
        frontend = TextFrontend.from_file(_tokenizer_of(encoder), **lengths)
    if tokenizer.pieces == "all":
        return frontend
    return pruned_vocabulary(frontend, token_counts(frontend, texts, "document"))[0]


def _tokenizer_of(encoder: HuggingFaceEncoder) -> Path:
    """The tokenizer.json of a model directory, or of a hub model (fetched by `huggingface_hub`)."""
    local = Path(encoder.model)
    if local.is_dir():
        return local / "tokenizer.json"
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(encoder.model, "tokenizer.json", revision=encoder.revision))
    except (OSError, ValueError) as error:
        raise RunError(
            f"encoder.model {encoder.model!r}: no tokenizer.json ({first_line(error)}). "
            "Give a local directory that has one, or a hub name that this machine can reach."
        ) from error


def output_dim(encoder: TextEncoderSettings) -> int:
    """Components of what an encoder gives; of a pretrained one, whose weights are not read for that, as its configuration says.

    Raises:
        RunError: a pretrained model cannot be found.
        MissingExtraError: `transformers` is not installed.
    """
    if not isinstance(encoder, HuggingFaceEncoder):
        return encoder.output_dim
    if encoder.projection is not None:
        return encoder.projection
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise MissingExtraError("hf", "encoder 'hf'") from error
    with loading(encoder.model):
        config = AutoConfig.from_pretrained(encoder.model, revision=encoder.revision, trust_remote_code=False)
    return int(config.hidden_size)


def build_method(
    recipe: Recipe,
    frontend: TextFrontend,
    document_share: npt.NDArray[Any] | None = None,
    *,
    taught: Taught | None = None,
    memory: TeacherMemory | None = None,
) -> DualEncoder:
    """The method of a recipe with fresh weights, drawn from the recipe's seed.

    Args:
        recipe: the recipe.
        frontend: for the size of the vocabulary.
        document_share: (vocab_size,) share of training documents with each token, where known.
        taught: what the teacher said, for the table that a static encoder starts with; weights may be loaded without.
        memory: the same, as a method that is trained looks it up.
    """
    torch.manual_seed(recipe.seed)
    texts, encoder, settings = recipe.of_text

    def tower() -> TextEncoder:
        return build_text_tower(encoder, texts, frontend, document_share, start=taught.start if taught else None)

    query_tower = tower()
    if isinstance(settings, DistilSettings):
        return Distil(query_tower, settings, recipe.negatives, memory)
    document_tower = query_tower if settings.towers == "shared" else tower()
    for prefix in settings.matryoshka:
        if prefix > query_tower.dim:
            raise RunError(f"method.matryoshka has {prefix}, but the encoder gives only {query_tower.dim} dimensions")
    return DualEncoder(query_tower, document_tower, settings, recipe.negatives)


def build_text_tower(
    encoder: TextEncoderSettings,
    settings: TextFrontendSettings,
    frontend: TextFrontend,
    document_share: npt.NDArray[Any] | None = None,
    *,
    start: npt.NDArray[Any] | None = None,
) -> TextEncoder:
    """An encoder of texts with fresh weights, from torch's own generator; a pretrained one has only the rows of its vocabulary's pieces.

    Args:
        encoder: the block of the encoder.
        settings: that of the frontend.
        frontend: what was made of it, for the vocabulary.
        document_share: (vocab_size,) share of training documents with each token, where known.
        start: (vocab_size, dim) the table that a static encoder starts with, by a teacher.
    """
    built = build_encoder(
        encoder, settings, vocab_size=frontend.vocab_size, pad_id=frontend.pad_id, document_share=document_share
    )
    if isinstance(built, StaticTextEncoder) and start is not None:
        with torch.no_grad():
            built.table.copy_(torch.from_numpy(start))
    if isinstance(built, HuggingFaceTextEncoder) and getattr(settings.tokenizer, "pieces", "all") == "corpus":
        assert isinstance(encoder, HuggingFaceEncoder)
        return without_rows(built, _places_of(frontend, _tokenizer_of(encoder)))
    return built


def _places_of(frontend: TextFrontend, original: Path) -> npt.NDArray[np.int64]:
    """Where the pieces of a vocabulary that was cut down stand in the original one."""
    whole = TextFrontend.from_file(original)
    place = {piece: number for number, piece in enumerate(whole.pieces)}
    return np.array([place[piece] for piece in frontend.pieces], dtype=np.int64)


class TorchEmbedder:
    """A dual encoder in training as an Embedder: what the bundle is compared with.

    Args:
        method: the trained dual encoder.
        frontend: text to token ids.
        dim: keep only so many components (a Matryoshka prefix).
        batch_size: texts at a time.
    """

    def __init__(
        self, method: DualEncoder, frontend: TextFrontend, *, dim: int | None = None, batch_size: int = 256
    ) -> None:
        self.method, self.frontend, self.batch_size = method, frontend, batch_size
        self._dim = dim or method.query_tower.dim

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._dim

    def embed(self, items: Sequence[str], side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed texts; float32 (n, dim), rows of unit length."""
        tokens: list[npt.NDArray[np.int32]] = []
        for start in range(0, len(items), 1024):
            tokens += self.frontend.encode(list(items[start : start + 1024]), side)
        return self.embed_tokens(tokens, side)

    @torch.no_grad()
    def embed_tokens(self, tokens: Sequence[npt.NDArray[np.int32]], side: Side) -> npt.NDArray[np.float32]:
        """Embed texts given as token ids; float32 (n, dim), rows of unit length."""
        tower = self.method.tower(side)
        device = next(tower.parameters()).device
        training = [module for module in self.method.modules() if module.training]  # a frozen layer is not among them
        self.method.eval()
        out = np.zeros((len(tokens), self.dim), dtype=np.float32)
        order = np.argsort([len(t) for t in tokens], kind="stable")  # alike lengths together: little padding
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            flat, lengths = Tokens.of([tokens[i] for i in rows], self.frontend.pad_id)
            vectors = tower(Tokens(flat.to(device), lengths.to(device)))[:, : self.dim]
            out[rows] = torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
        for module in training:
            module.training = True
        return out
