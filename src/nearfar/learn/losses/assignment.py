"""Swapped assignment: each view predicts to which prototypes another view of the same item was assigned."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses.operands import aligned


def sinkhorn(scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Assign rows softly to prototypes so that all prototypes are used alike.

    Prototypes and rows are normalised in turn, rows last, on logarithms, so that no `epsilon` overflows. Equal use is of the
    rows given here. When those are few beside k, stored scores come along and their codes are dropped again:
    `sinkhorn(torch.cat([queue_scores, scores]))[-len(scores):]`. With several processes, gather the scores first and keep
    the own rows.

    Args:
        scores: (n, k), cosines of projections with prototypes, or any other scores.
        epsilon: above 0, divides the scores; the smaller, the harder the codes.
        iterations: at least 1; few leave the use of prototypes only roughly equal, many bring it to n / k each.

    Returns:
        (n, k) codes without gradient, at least float32 whatever the scores are; each row is at least 0 and sums to 1.

    Raises:
        ValueError: `scores` is not (n, k) with n and k at least 1, or `epsilon` or `iterations` is out of range.

    Source:
        Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (arXiv:2006.09882), eqs.
        3-5 and algorithm 1 (appendix A.1); Cuturi, Sinkhorn Distances (arXiv:1306.0895).
    """
    if epsilon <= 0 or iterations < 1:
        raise ValueError(f"expected epsilon above 0 and iterations of at least 1, got {epsilon} and {iterations}")
    (scores,) = aligned({"scores": scores})
    logarithms = scores.detach() / epsilon
    for _ in range(iterations):
        logarithms = logarithms.log_softmax(dim=0).log_softmax(dim=1)
    return logarithms.exp()


def swapped_assignment(
    view_scores: Sequence[Tensor],
    *,
    assign: Sequence[int] = (0, 1),
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    codes: Sequence[Tensor] | None = None,
) -> Tensor:
    """Cross entropy of each view's prediction with the codes of other views, averaged over rows and pairs of views.

    The views in `assign` give codes (the two global crops), and every view predicts those of all views but itself; small
    crops only predict. The softmax is taken on logarithms, so that no temperature overflows.

    Args:
        view_scores: one (n, k) for each of at least two views, cosines of projections with prototypes; row i of each is the
            same item.
        assign: positions in `view_scores` of the views that give codes, each once.
        temperature: above 0, divides the scores of the prediction.
        epsilon: of `sinkhorn`, which makes the codes.
        iterations: of `sinkhorn`.
        codes: one (n, k) for each of `assign`, when the caller has made them (see `sinkhorn` on queues and processes);
            `epsilon` and `iterations` then have no part. They are detached.

    Returns:
        Scalar loss, at least float32 whatever the scores are.

    Raises:
        ValueError: fewer than two views, shapes that are not (n, k) throughout, `assign` empty, twice the same or beyond the
            views, not as many `codes` as `assign`, or a number out of range.

    Source:
        Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (arXiv:2006.09882), eqs.
        1-2, and eq. 6 for small crops; over pairs of views a mean, as in the authors' code, where the equations sum.
    """
    views = len(view_scores)
    if views < 2:
        raise ValueError(f"expected the scores of at least two views, got {views}")
    if not assign or len(set(assign)) < len(assign) or not set(assign) <= set(range(views)):
        raise ValueError(f"expected assign to name some of views 0 to {views - 1}, each once, got {list(assign)}")
    if temperature <= 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}")
    if codes is None:
        codes = [sinkhorn(view_scores[i], epsilon=epsilon, iterations=iterations) for i in assign]
    elif len(codes) != len(assign):
        raise ValueError(f"expected codes for each of the {len(assign)} views in assign, got {len(codes)}")
    named = {f"view_scores[{i}]": scores for i, scores in enumerate(view_scores)}
    named |= {f"codes[{i}]": code.detach() for i, code in enumerate(codes)}
    matrices = aligned(named)
    scores_of, code_of = matrices[:views], dict(zip(assign, matrices[views:], strict=True))
    loss = scores_of[0].new_zeros(())
    for view, scores in enumerate(scores_of):
        # Cross entropy is linear in the codes, so those of all other views are met at once.
        others = [code for other, code in code_of.items() if other != view]
        if others:
            loss = loss + F.cross_entropy(scores / temperature, sum(others[1:], start=others[0]))
    return loss / (len(assign) * (views - 1))
