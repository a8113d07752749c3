"""InfoNCE, the one operation behind every contrastive method here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses.logsumexp import runs_on_triton
from nearfar.learn.losses.operands import at_least_float32, unit
from nearfar.learn.losses.pairs import Match, Negatives
from nearfar.learn.losses.pool import Further, Pool
from nearfar.learn.losses.positives import Positives, itself_match, labelled_positives, listed_positives
from nearfar.learn.losses.products import segment_mean
from nearfar.learn.losses.tiles import Exclusion

Several = Literal["mean", "apart", "any"]
Similarity = Literal["cosine", "dot"]


def info_nce(
    anchors: Tensor,
    candidates: Tensor,
    positive: Tensor | Match,
    *,
    temperature: Tensor | float,
    itself: Tensor | None = None,
    ignored: Sequence[Match] = (),
    negatives: Sequence[Negatives] = (),
    margin: float | None = None,
    several: Several = "mean",
    weights: Tensor | None = None,
    debias: float = 0.0,
    hardness: float = 0.0,
    symmetric: bool = False,
    similarity: Similarity = "cosine",
) -> Tensor:
    """Mean over anchors of -log softmax of the positive among positive and negatives, exact at any size.

    Every candidate is a negative of every anchor unless it is positive, ignored, or the anchor itself. The (n, m) matrix
    is never held: memory is O((n + m) d).

    Args:
        anchors: (n, d), any length.
        candidates: (m, d).
        positive: the place of the positive among the candidates, (n,) int64, or of several, (n, p), filled up with -1; or
            a `Match` of labels (n,) and (m,), whose equal pairs are positive. Anchors without a positive do not count.
        temperature: divides the similarities; a float or a scalar tensor (then it gets a gradient).
        itself: (n,) int64, the place of the candidate that is the anchor itself, -1 for none: no negative, and by
            label no positive.
        ignored: pairs that do not count (duplicates, other positives of the same owner), unless they are positive.
        negatives: further negatives without gradient (queue, memory bank); they do not look for anchors themselves.
        margin: a candidate whose similarity is more than `margin` above the mean of the anchor's positives is suspected to
            be positive too, and ignored (as in Qwen3 Embedding, arXiv:2506.05176); with `symmetric` also one that is more
            than that above the mean of its own. In units of the similarity; may be negative.
        several: what an anchor with several positives minimises. `mean`: the mean of their losses, each among all positives
            and negatives (SupCon, arXiv:2004.11362, eq. 2); `apart`: the mean of their losses, each among itself and the
            negatives, so that positives do not compete (not for labels); `any`: the loss of all positives together, which
            is low when one of them is found (MIL-NCE, arXiv:1912.06430, eq. 1).
        weights: (n,) not negative, of the anchors in the mean; in the other direction a candidate weighs the mean of its anchors.
        debias: probability that a negative is in truth positive, in [0, 1): its share is subtracted (arXiv:2007.00224, eq. 8).
        hardness: concentration of the negatives on the hard ones, 0 for none (beta in arXiv:2010.04592, eq. 4).
        symmetric: average with the other direction, in which each positive looks for its anchor among all anchors.
        similarity: `cosine`, or `dot` to take the vectors as they are.

    Returns:
        Scalar loss, at least float32. Vectors in half precision are brought to float32 first, but on a GPU with Triton
        bfloat16 stays bfloat16 in the matrix products, with everything after them in float32. An anchor with one positive and no
        negative left has loss 0.

    Raises:
        ValueError: shapes that do not fit, a setting out of range, or no anchor with a positive.

    Source:
        van den Oord et al., Representation Learning with Contrastive Predictive Coding (arXiv:1807.03748), eq. 4, with cosine
        similarity and temperature as in SimCLR (arXiv:2002.05709), eq. 1; symmetric as in CLIP (arXiv:2103.00020), fig. 3.
        Tiles in the manner of Inf-CL (arXiv:2410.17243).
    """
    _check_shapes(anchors, candidates, positive, itself, ignored, negatives, weights)
    _check_settings(positive, several, debias, hardness, similarity)
    # Half precision keeps three digits of a cosine; divided by a small temperature that would be noise. Autocast would
    # bring the products back to half precision, so it is off here.
    with torch.autocast(anchors.device.type, enabled=False):
        x, y = _prepared([anchors, candidates], similarity)
        more = tuple(_further(n, x.dtype, similarity) for n in negatives)
        scale = 1 / torch.as_tensor(temperature, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        if isinstance(positive, Match):
            match, directions = positive, labelled_positives(x, y, scale, positive, itself)
        else:
            match, directions = Match.places(positive, len(y)), listed_positives(x, y, scale, positive)
        if not bool((directions[0].count > 0).any()):
            raise ValueError(
                "no anchor has a positive: every place is -1, or no candidate but itself has the label of an anchor. "
                "Batches by label need at least two items of a label."
            )
        sides: tuple[Positives, ...] = directions if symmetric else directions[:1]
        pool = Pool(x, y, scale, more, symmetric)
        excluded = _limited(margin, scale, sides)
        of_itself = itself_match(itself, len(y))
        if isinstance(positive, Match) and several == "mean" and not debias and not hardness:
            # The softmax runs over positives and negatives alike, so one pass has both.
            totals = pool.total(replace(excluded, always=of_itself, ignored=tuple(ignored), kept=(match,)))
            losses = [total - side.mean for total, side in zip(totals, sides, strict=True)]
        else:
            excluded = replace(excluded, always=(match, *of_itself), ignored=tuple(ignored))
            totals = pool.reweighted(excluded, sides, debias=debias, hardness=hardness)
            losses = [_loss(total, side, several) for total, side in zip(totals, sides, strict=True)]
        weights = torch.ones_like(losses[0]) if weights is None else weights.to(losses[0])
        if bool((weights < 0).any()) or not bool((weights * sides[0].count > 0).any()):
            raise ValueError("weights must not be negative, and at least one anchor with a positive needs one above 0")
        shares = [weights * (sides[0].count > 0)] + [side.mean_of(weights) * (side.count > 0) for side in sides[1:]]
        means = [(loss * share).sum() / share.sum() for loss, share in zip(losses, shares, strict=True)]
    return torch.stack(means).mean()


def _prepared(vectors: Sequence[Tensor], similarity: Similarity) -> list[Tensor]:
    """In one precision, and of unit length if cosines are compared."""
    half = all(v.dtype == torch.bfloat16 for v in vectors) and runs_on_triton(vectors[0])
    if similarity == "cosine" or not half:
        vectors = at_least_float32(*vectors)
    if similarity == "cosine":
        vectors = [unit(v) for v in vectors]
    # The kernels sum the products of half precision in single precision, and apply the temperature there.
    return [v.to(torch.bfloat16) for v in vectors] if half else list(vectors)


def _further(negatives: Negatives, dtype: torch.dtype, similarity: Similarity) -> Further:
    """As they lie in memory: there may be more of them than a copy has room for."""
    vectors = negatives.vectors.detach().to(dtype)
    if similarity == "dot":
        return Further(vectors, None, negatives.ignored)
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return Further(vectors, 1 / lengths.masked_fill(lengths == 0, torch.inf), negatives.ignored)


def _limited(margin: float | None, scale: Tensor, sides: Sequence[Positives]) -> Exclusion:
    """The scores above which a pair is suspected to be positive, in one direction or in both."""
    if margin is None:
        return Exclusion()
    limits = [(side.mean.detach() + margin * scale.detach()).masked_fill(side.count == 0, torch.inf) for side in sides]
    return Exclusion(row_limit=limits[0], column_limit=limits[1] if len(limits) > 1 else None)


def _loss(negatives: Tensor, positives: Positives, several: Several) -> Tensor:
    """The loss of each in one direction, given the log-sum-exp of its negatives."""
    if several == "apart":
        assert positives.listed is not None
        scores, owners = positives.listed
        return segment_mean(-F.logsigmoid(scores - negatives.index_select(0, owners)), owners, len(negatives))
    together = positives.logsumexp()
    # Not log-sum-exp of all minus score: at low temperatures both are large, and rounding would leave little of the difference.
    loss = -F.logsigmoid(together - negatives)
    return loss if several == "any" else loss + (together - positives.mean)


def _check_settings(
    positive: Tensor | Match, several: Several, debias: float, hardness: float, similarity: Similarity
) -> None:
    if not 0 <= debias < 1:
        raise ValueError(f"debias is {debias}, and must be in [0, 1)")
    if several not in ("mean", "apart", "any"):
        raise ValueError(f"several is {several!r}: choose 'mean', 'apart' or 'any'")
    if similarity not in ("cosine", "dot"):
        raise ValueError(f"similarity is {similarity!r}: choose 'cosine' or 'dot'")
    if not hardness >= 0:
        raise ValueError(f"hardness is {hardness}, and must not be negative")
    if debias and similarity == "dot":
        raise ValueError("debias needs similarity='cosine': a dot product has no lowest value")
    if several == "apart" and isinstance(positive, Match):
        raise ValueError("several='apart' needs the places of the positives; it was given labels")


def _check_shapes(
    anchors: Tensor,
    candidates: Tensor,
    positive: Tensor | Match,
    itself: Tensor | None,
    ignored: Sequence[Match],
    negatives: Sequence[Negatives],
    weights: Tensor | None,
) -> None:
    n, m, d = len(anchors), len(candidates), anchors.shape[-1]
    wrong = []

    def expect(name: str, tensor: Tensor, *allowed: tuple[int, ...]) -> None:
        if tensor.shape not in allowed:
            wrong.append(f"{name} is {tuple(tensor.shape)}, expected {' or '.join(map(str, allowed))}")

    def expect_match(name: str, match: Match, count: int) -> None:
        misfit = match.misfit(n, count)
        if misfit is not None:
            wrong.append(f"{name}.{misfit}")

    expect("anchors", anchors, (n, d))
    expect("candidates", candidates, (m, d))
    if isinstance(positive, Match):
        expect("positive.anchors", positive.anchors, (n,))
        expect("positive.candidates", positive.candidates, (m,))
    else:
        expect("positive", positive, (n,), (n, positive.shape[-1] if positive.ndim else 0))
    for name, tensor in (("itself", itself), ("weights", weights)):
        if tensor is not None:
            expect(name, tensor, (n,))
    for match in ignored:
        expect_match("ignored", match, m)
    for more in negatives:
        expect("negatives.vectors", more.vectors, (len(more.vectors), d))
        for match in more.ignored:
            expect_match("negatives.ignored", match, len(more.vectors))
    places = {"itself": itself, "positive": None if isinstance(positive, Match) else positive}
    for name, tensor in places.items():
        if tensor is not None and tensor.numel() and int(tensor.max()) >= m:
            wrong.append(f"{name} has place {int(tensor.max())}, but the last candidate is {m - 1}")
    if not n or not m:
        wrong.append("neither anchors nor candidates may be empty")
    if wrong:
        raise ValueError(
            f"shapes do not fit, with {n} anchors and {m} candidates of {d} dimensions: {'; '.join(wrong)}"
        )
