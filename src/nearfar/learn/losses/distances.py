"""Every pair of a labelled batch: how far apart it is, exactly and at least in single precision, and what it counts as."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nearfar.learn.losses.operands import at_least_float32, unit

Distance = Literal["euclidean", "squared", "cosine"]


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Cosine of every pair.

    Args:
        left: (n, d), any length; a zero vector has cosine 0 with everything.
        right: (m, d).

    Returns:
        (n, m), at least float32, autocast or not.
    """
    left, right = at_least_float32(left, right)
    with torch.autocast(left.device.type, enabled=False):
        return unit(left) @ unit(right).T


def distances(left: Tensor, right: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Distance of every pair; at distance 0 the gradient is 0, not infinite.

    Args:
        left: (n, d), compared as they are ("euclidean", "squared") or by direction ("cosine").
        right: (m, d).
        distance: euclidean, its square, or 1 - cosine.

    Returns:
        (n, m), at least float32, autocast or not.

    Raises:
        ValueError: the distance is not one of the three.
    """
    if distance == "cosine":
        return 1 - cosines(left, right)
    euclidean: Tensor = _Euclidean.apply(*at_least_float32(left, right))  # type: ignore[no-untyped-call]
    return _squared_if_asked(euclidean, distance)


def matched_distances(left: Tensor, right: Tensor, distance: Distance = "euclidean") -> Tensor:
    """Distance of each row of `left` (n, d) to the same row of `right` (n, d), as in `distances`: (n,)."""
    left, right = at_least_float32(left, right)
    if distance == "cosine":
        return 1 - (unit(left) * unit(right)).sum(dim=-1)
    return _squared_if_asked(torch.linalg.vector_norm(left - right, dim=-1), distance)


def _squared_if_asked(euclidean: Tensor, distance: Distance) -> Tensor:
    if distance not in ("euclidean", "squared"):
        raise ValueError(f"distance is {distance!r}: choose 'euclidean', 'squared' or 'cosine'")
    return euclidean.square() if distance == "squared" else euclidean


class _Euclidean(torch.autograd.Function):
    """Differences squared one by one going forwards, matrix products going backwards.

    |a|^2 + |b|^2 - 2ab is quicker, but in float32 puts equal unit vectors 0.001 apart. torch.cdist's exact mode has that
    right and then needs n x m x d memory for its gradient on a GPU.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, left: Tensor, right: Tensor) -> Tensor:
        found = torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
        ctx.save_for_backward(left, right, found)
        return found

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left, right, found = ctx.saved_tensors  # type: ignore[attr-defined]
        weights = torch.where(found > 0, gradients[0] / found, 0)
        for_left, for_right = ctx.needs_input_grad  # type: ignore[attr-defined]
        with torch.autocast(left.device.type, enabled=False):
            return (
                weights.sum(dim=1, keepdim=True) * left - weights @ right if for_left else None,
                weights.sum(dim=0).unsqueeze(1) * right - weights.T @ left if for_right else None,
            )


class LabelledPairs(NamedTuple):
    """Anchors, what they are compared with, and which pairs share a label."""

    anchors: Tensor
    """(n, d)."""
    labels: Tensor
    """(n,), of the anchors."""
    candidates: Tensor
    """(m, d)."""
    positive: Tensor
    """(n, m) bool: same label, and not the item itself."""
    negative: Tensor
    """(n, m) bool: another label."""


def labelled_pairs(
    embeddings: Tensor, labels: Tensor, candidates: Tensor | None = None, candidate_labels: Tensor | None = None
) -> LabelledPairs:
    """Positive and negative pairs of a batch with itself, or with candidates from elsewhere.

    Args:
        embeddings: (n, d), the anchors.
        labels: (n,), equal for items that belong together.
        candidates: (m, d), e.g. of a queue or of other ranks; None compares the batch with itself, and then no item is its
            own positive. Given, every pair counts: leave out of the candidates what is the anchor itself.
        candidate_labels: (m,), given if and only if `candidates` are.

    Returns:
        The pairs; at least one is positive and at least one negative.

    Raises:
        ValueError: shapes do not fit, or the batch has no positive or no negative pair. Such a batch would train nothing,
            or the wrong thing, without a word.
    """
    if (candidates is None) != (candidate_labels is None):
        missing = "candidate_labels" if candidate_labels is None else "candidates"
        raise ValueError(f"{missing} missing: give candidates (m, d) and candidate_labels (m,) together, or neither")
    _require_labelled("embeddings", embeddings, "labels", labels)
    if candidates is None or candidate_labels is None:
        same = labels.unsqueeze(1) == labels
        itself = torch.eye(len(labels), dtype=torch.bool, device=same.device)
        pairs = LabelledPairs(embeddings, labels, embeddings, same & ~itself, ~same)
        of_whom = "item shares its label with another"
    else:
        _require_labelled("candidates", candidates, "candidate_labels", candidate_labels)
        if embeddings.shape[1] != candidates.shape[1]:
            raise ValueError(
                "embeddings (n, d) and candidates (m, d) must agree in d: "
                f"got {tuple(embeddings.shape)} and {tuple(candidates.shape)}"
            )
        same = labels.unsqueeze(1) == candidate_labels
        pairs = LabelledPairs(embeddings, labels, candidates, same, ~same)
        of_whom = "anchor shares its label with a candidate"
    if not pairs.positive.any():
        raise ValueError(f"no {of_whom}: batches need at least two items of an identity (P x K sampling)")
    if not pairs.negative.any():
        raise ValueError("every pair shares its label: batches need at least two identities (P x K sampling)")
    return pairs


def with_both_kinds(pairs: LabelledPairs) -> LabelledPairs:
    """Only the anchors that have a positive and a negative.

    Raises:
        ValueError: there is no such anchor. (Only with candidates: a batch that has both kinds of pairs with itself has one.)
    """
    usable = pairs.positive.any(dim=1) & pairs.negative.any(dim=1)
    if not usable.any():
        raise ValueError(
            "no anchor has both a positive and a negative among the candidates: candidates need the labels of the anchors "
            "and at least one other"
        )
    return pairs._replace(
        anchors=pairs.anchors[usable],
        labels=pairs.labels[usable],
        positive=pairs.positive[usable],
        negative=pairs.negative[usable],
    )


def _require_labelled(name: str, vectors: Tensor, label_name: str, labels: Tensor) -> None:
    if vectors.ndim != 2 or labels.ndim != 1 or len(vectors) != len(labels):
        raise ValueError(
            f"{name} must be (n, d) and {label_name} (n,): got {tuple(vectors.shape)} and {tuple(labels.shape)}"
        )
