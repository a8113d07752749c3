"""A vocabulary cut down to what a corpus uses, and models without the rows of the pieces that went."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nearfar.embedder import Side
from nearfar.errors import RunError
from nearfar.frontend import TextFrontend
from nearfar.learn.compress.model import TextModel
from nearfar.learn.compress.pieces import closed_under_cutting, with_pieces
from nearfar.learn.encoders.huggingface import HuggingFaceTextEncoder
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.learn.encoders.text import PaddedTextEncoder, TextEncoder
from nearfar.learn.encoders.transformer import TransformerTextEncoder

Counts = npt.NDArray[np.int64]

_TEXTS_AT_A_TIME = 1024


def token_counts(frontend: TextFrontend, texts: Iterable[str], side: Side) -> Counts:
    """How many texts have each token.

    Args:
        frontend: text to token ids.
        texts: n texts, read once.
        side: whose prompt and length to use.

    Returns:
        (vocab_size,) int64, each from 0 to n.
    """
    counts = np.zeros(frontend.vocab_size, np.int64)
    left = iter(texts)
    while block := list(islice(left, _TEXTS_AT_A_TIME)):
        for ids in frontend.encode(block, side):
            counts[np.unique(ids)] += 1
    return counts


def pruned_vocabulary(
    frontend: TextFrontend, counts: npt.NDArray[np.integer], *, min_count: int = 1
) -> tuple[TextFrontend, npt.NDArray[np.int64]]:
    """A frontend whose tokenizer has only the pieces that a corpus uses; words of dropped pieces are cut into smaller ones.

    With a `min_count` of 1 the texts that were counted have the same pieces as before; no text has an unknown token that
    had none before (see `closed_under_cutting` for what stays on top, and why).

    Args:
        frontend: WordPiece, BPE or Unigram; stays as it is.
        counts: (vocab_size,) how many texts have each token, from `token_counts`.
        min_count: keep pieces that so many texts have.

    Returns:
        The frontend with ids 0 to k - 1, and the old id of each new one, (k,) int64.

    Raises:
        DataError: the tokenizer is of another kind.
        RunError: `counts` are not of this vocabulary.
    """
    if counts.shape != (frontend.vocab_size,):
        raise RunError(
            f"the counts are of shape {counts.shape}, but the vocabulary has {frontend.vocab_size} tokens: "
            "count with the same frontend"
        )
    tokenizer = json.loads(frontend.to_bytes())
    wanted = {int(number) for number in np.flatnonzero(counts >= max(min_count, 1))}
    # What every text has: the padding, the prompts, and the token that stands for an empty text.
    wanted.add(frontend.pad_id)
    for side in ("query", "document"):
        wanted.update(int(number) for number in frontend.encode([""], side)[0])
    kept = closed_under_cutting(tokenizer, wanted)
    smaller = with_pieces(tokenizer, kept)
    return TextFrontend.from_bytes(json.dumps(smaller, ensure_ascii=False).encode(), frontend.settings), kept


def prune_vocabulary(model: TextModel, counts: npt.NDArray[np.integer], min_count: int = 1) -> TextModel:
    """The model with the pieces that a corpus uses only; see `pruned_vocabulary` for the arguments and what it raises."""
    frontend, kept = pruned_vocabulary(model.frontend, counts, min_count=min_count)
    query = without_rows(model.query, kept)
    document = query if model.document is model.query else without_rows(model.document, kept)
    return replace(model, frontend=frontend, query=query, document=document)


def without_rows(encoder: TextEncoder, kept: npt.NDArray[np.int64]) -> TextEncoder:
    """A copy of an encoder that has only some tokens.

    Args:
        encoder: stays as it is.
        kept: (k,) the old id of each new token.

    Returns:
        The copy; its embedding of new ids is that of the encoder of the old ones.

    Raises:
        RunError: the encoder is of another kind, has fewer tokens, or would lose the token that it pads with.
    """
    smaller = copy.deepcopy(encoder)
    rows = torch.from_numpy(np.ascontiguousarray(kept))
    if isinstance(smaller, StaticTextEncoder):
        smaller.table = _rows_of(smaller.table, rows)
        smaller.token_weight = _rows_of(smaller.token_weight, rows)
        return smaller
    if isinstance(smaller, TransformerTextEncoder):
        smaller.tokens = _without_rows(smaller.tokens, rows)
    elif isinstance(smaller, HuggingFaceTextEncoder):
        embeddings = _without_rows(smaller.model.get_input_embeddings(), rows)
        smaller.model.set_input_embeddings(embeddings)
        smaller.model.config.vocab_size = smaller.vocab_size = len(kept)
    else:
        raise RunError(
            f"an encoder of the kind {type(encoder).__name__} has no token table to cut down: leave the step `vocabulary` out"
        )
    assert isinstance(smaller, PaddedTextEncoder)
    smaller.pad_id = _new_id(smaller.pad_id, rows)
    return smaller


def _rows_of(table: Tensor, rows: Tensor) -> nn.Parameter:
    """The rows of a table as a parameter."""
    if len(rows) and int(rows.max()) >= len(table):
        raise RunError(
            f"token {int(rows.max())} is to stay, but the encoder has only {len(table)}: use the frontend that it was trained with"
        )
    return nn.Parameter(table.detach()[rows.to(table.device)].clone(), requires_grad=table.requires_grad)


def _without_rows(embedding: nn.Embedding, rows: Tensor) -> nn.Embedding:
    """The rows of an embedding as one of its own."""
    padding = embedding.padding_idx
    new_padding = None if padding is None else _new_id(padding, rows)
    if new_padding != padding:
        # Models of the RoBERTa kind count positions from this id.
        raise RunError(
            f"the token that the model pads with has the id {padding} and would get {new_padding}: leave the step `vocabulary` out"
        )
    # Made on no device: its own random weights would be thrown away, and would move the source of randomness.
    smaller = nn.Embedding(len(rows), embedding.embedding_dim, padding_idx=new_padding, device="meta")
    smaller.weight = _rows_of(embedding.weight, rows)
    return smaller.train(embedding.training)


def _new_id(old: int, rows: Tensor) -> int:
    """The new id of a token that stays."""
    found = torch.nonzero(rows == old)
    if not len(found):
        raise RunError(f"token {old}, which fills up short rows, must stay: keep it in the vocabulary")
    return int(found[0])
