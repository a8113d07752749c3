"""Which pieces of a tokenizer must stay so that no text becomes unreadable, and the tokenizer that has only those.

Everything is done on the content of `tokenizer.json`, the one form of a tokenizer that is documented.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError

_BYTE_PIECES = frozenset(f"<0x{byte:02X}>" for byte in range(256))  # what byte fallback writes a strange character in


def closed_under_cutting(tokenizer: Mapping[str, Any], wanted: Iterable[int]) -> npt.NDArray[np.int64]:
    """The pieces that must stay where those of `wanted` shall: no text gets an unknown token that had none before.

    All single characters stay, as the start of a word and inside one. That is enough:

    - WordPiece takes the longest piece at each place, and at each place a single character fits at least.
    - BPE starts from single characters (or bytes) and only joins them. A piece stays with all that it is joined from;
      the other merges go, so what is left of the merges joins the pieces of a text that has none of the dropped ones in
      the order that it always did.
    - Unigram takes the most probable path, and a path of single characters always exists. An unknown character costs as
      much as the least probable piece and more, so that piece stays too.

    Vocabularies that are learned from text have each of their characters as a piece. Of one that has not, every piece
    with such a character stays.

    Args:
        tokenizer: the content of `tokenizer.json`.
        wanted: ids that shall stay.

    Returns:
        (k,) int64 the ids that stay, ascending.

    Raises:
        DataError: the tokenizer is of a kind that cannot be cut down.
    """
    model = tokenizer["model"]
    pieces = _pieces(model)
    kept = set(wanted) | {token["id"] for token in tokenizer["added_tokens"]}
    for piece in (*_BYTE_PIECES, model.get("unk_token")):
        if piece in pieces:
            kept.add(pieces[piece])
    forms = {piece: list(_characters(piece, model)) for piece in pieces}
    special = {token["content"] for token in tokenizer["added_tokens"]}
    for piece, number in pieces.items():
        own = forms[piece]
        if len(own) == 1 or (piece not in special and any(form not in pieces for form in own)):
            kept.add(number)
    if model["type"] == "Unigram":
        kept.add(min(range(len(model["vocab"])), key=lambda number: model["vocab"][number][1]))
        if model.get("unk_id") is not None:
            kept.add(model["unk_id"])
    if model["type"] == "BPE":
        _add_parts(model, pieces, kept)
    return np.array(sorted(kept), np.int64)


def with_pieces(tokenizer: Mapping[str, Any], kept: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The tokenizer with the pieces `kept` only, numbered in their order; everything else of it stays.

    Args:
        tokenizer: the content of `tokenizer.json`.
        kept: (k,) ids from `closed_under_cutting`.
    """
    new = {int(old): number for number, old in enumerate(kept)}
    model = dict(tokenizer["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in new]
        if model.get("unk_id") is not None:
            model["unk_id"] = new[model["unk_id"]]
    else:
        model["vocab"] = {piece: new[number] for piece, number in model["vocab"].items() if number in new}
    if model["type"] == "BPE":
        pieces = model["vocab"]
        model["merges"] = [
            [left, right]
            for left, right in model["merges"]
            if left in pieces and right in pieces and _joined(left, right, model) in pieces
        ]
    added = [{**token, "id": new[token["id"]]} for token in tokenizer["added_tokens"]]
    return {
        **tokenizer,
        "model": model,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "post_processor": _renumbered(tokenizer["post_processor"], new),
    }


def _pieces(model: Mapping[str, Any]) -> dict[str, int]:
    """The pieces of a model with their ids."""
    if model["type"] == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    if model["type"] in ("WordPiece", "BPE"):
        return dict(model["vocab"])
    raise DataError(
        f"a tokenizer of the kind {model['type']} cannot be cut down, as it knows no smaller pieces: "
        "leave the step `vocabulary` out, or use a WordPiece, BPE or Unigram tokenizer"
    )


def _characters(piece: str, model: Mapping[str, Any]) -> Sequence[str]:
    """The pieces of one character each that spell a piece."""
    prefix = model.get("continuing_subword_prefix") or ""
    suffix = model.get("end_of_word_suffix") or ""
    inside, ends = bool(prefix) and piece.startswith(prefix), bool(suffix) and piece.endswith(suffix)
    letters = list(piece[len(prefix) if inside else 0 : len(piece) - len(suffix) if ends else None])
    if not letters:  # the piece is the mark itself
        return [piece]
    spelled = [letter if place == 0 and not inside else prefix + letter for place, letter in enumerate(letters)]
    if ends:
        spelled[-1] += suffix
    return spelled


def _joined(left: str, right: str, model: Mapping[str, Any]) -> str:
    """What a merge of BPE makes of two pieces."""
    return left + right[len(model.get("continuing_subword_prefix") or "") :]


def _add_parts(model: Mapping[str, Any], pieces: Mapping[str, int], kept: set[int]) -> None:
    """Add to `kept` what its pieces are joined from, down to single characters."""
    parts: dict[int, list[int]] = {}
    for left, right in model["merges"]:
        parts.setdefault(pieces[_joined(left, right, model)], []).extend((pieces[left], pieces[right]))
    waiting = list(kept)
    while waiting:
        for part in parts.get(waiting.pop(), ()):
            if part not in kept:
                kept.add(part)
                waiting.append(part)


def _renumbered(processor: dict[str, Any] | None, new: Mapping[int, int]) -> dict[str, Any] | None:
    """A post-processor with the new ids of the tokens that it adds."""
    if processor is None:
        return None
    changed = dict(processor)
    if "processors" in changed:
        changed["processors"] = [_renumbered(inner, new) for inner in changed["processors"]]
    for key in ("cls", "sep"):
        if key in changed:
            token, number = changed[key]
            changed[key] = [token, new[number]]
    if isinstance(changed.get("special_tokens"), dict):
        changed["special_tokens"] = {
            name: {**token, "ids": [new[number] for number in token["ids"]]}
            for name, token in changed["special_tokens"].items()
        }
    return changed
