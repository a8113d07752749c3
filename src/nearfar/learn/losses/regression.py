"""Regression of one view onto the other: the objectives that rely on a predictor and a stopped gradient alone.

Neither function notices collapse: a batch in which every vector is the same scores best. What keeps training away from
that lies outside the loss, in the predictor, the stopped gradient and (BYOL) the momentum encoder.
"""

from __future__ import annotations

from torch import Tensor

from nearfar.learn.losses.operands import aligned, unit


def byol(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of 2 - 2 cos(prediction, target), the squared distance between the two directions.

    The gradient stops here: `targets` are detached, whoever made them. This is one direction; the paper adds the other, in
    which the views change places: `byol(predictions_a, targets_b) + byol(predictions_b, targets_a)`.

    Args:
        predictions: (n, d), any length, the predictor's output for one view.
        targets: (n, d), any length, the momentum encoder's projection of the other view.

    Returns:
        Scalar loss from 0 (same direction) to 4 (opposite), at least float32 whatever the vectors are. A vector of length 0
        has no direction: its row counts 2, as if at a right angle, and moves nothing.

    Raises:
        ValueError: the shapes are not (n, d) both, with n and d at least 1.

    Source:
        Grill et al., Bootstrap Your Own Latent (arXiv:2006.07733), eq. 2.
    """
    predictions, targets = aligned({"predictions": predictions, "targets": targets})
    cosines = (unit(predictions, dim=1) * unit(targets.detach(), dim=1)).sum(dim=1)
    return (2 - 2 * cosines).mean()


def simsiam(predictions_a: Tensor, predictions_b: Tensor, projections_a: Tensor, projections_b: Tensor) -> Tensor:
    """Negative cosine of each view's prediction with the other view's projection, averaged over rows and both directions.

    It is `byol` both ways, shifted and scaled to the paper's range. View a's predictions are compared with view b's
    projections, and the reverse: hand over each by its own view. The projections are detached here, so they may be the very
    tensors from which the predictions were made.

    Args:
        predictions_a: (n, d), any length, the predictor's output for view a.
        predictions_b: (n, d), the same for view b.
        projections_a: (n, d), any length, the projector's output for view a.
        projections_b: (n, d), the same for view b.

    Returns:
        Scalar loss from -1 (same direction) to 1 (opposite), at least float32 whatever the vectors are.

    Raises:
        ValueError: the shapes are not (n, d) all four, with n and d at least 1.

    Source:
        Chen and He, Exploring Simple Siamese Representation Learning (arXiv:2011.10566), eqs. 1-4.
    """
    aligned(
        {
            "predictions_a": predictions_a,
            "predictions_b": predictions_b,
            "projections_a": projections_a,
            "projections_b": projections_b,
        }
    )
    return (byol(predictions_a, projections_b) + byol(predictions_b, projections_a)) / 4 - 1
