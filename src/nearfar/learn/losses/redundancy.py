"""Redundancy reduction: two views agree in every feature, and no feature repeats another.

Both objectives are statistics of the whole batch. With several processes, gather the features first: the mean of the
losses of two halves is not the loss of the whole.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.learn.losses.operands import aligned, unit


def barlow_twins(a: Tensor, b: Tensor, *, off_diagonal: float = 5e-3) -> Tensor:
    """Squared distance of the views' cross-correlation matrix from the identity, its off-diagonal weighted down.

    Features are standardised along the batch with the biased deviation (divided by n), so that the entries are Pearson
    correlations and a feature that is the same in both views has exactly 1 on the diagonal; with the unbiased one it would
    stop at (n - 1) / n. There is no epsilon, so neither scale nor shift of a feature counts. A feature that is constant in
    the batch correlates with nothing: it costs 1 on the diagonal and gets no gradient.

    Args:
        a: (n, d), the projections of one view, n at least 2.
        b: (n, d), those of the other view.
        off_diagonal: weight of the squared off-diagonal entries against the diagonal's, lambda in the paper.

    Returns:
        Scalar loss, a sum over features as in the paper, at least float32 whatever the vectors are. d for a collapsed batch.

    Raises:
        ValueError: the shapes are not (n, d) both, or n is 1, which cannot be standardised.

    Source:
        Zbontar et al., Barlow Twins (arXiv:2103.03230), eqs. 1-2. The authors' code lets a batch normalisation standardise,
        which adds 1e-5 to the variance: no difference at unit variance, 8 % off the diagonal for vectors of length 1 and
        8192 features.
    """
    a, b = aligned({"a": a, "b": b}, least_rows=2)
    a, b = unit(_centred(a), dim=0), unit(_centred(b), dim=0)
    diagonal = (a * b).sum(dim=0)
    return (1 - diagonal).square().sum() + off_diagonal * _off_diagonal(a, b)


class VicregTerms(NamedTuple):
    """The three terms of VICReg before they are weighted, each a scalar and 0 at best."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg(
    a: Tensor,
    b: Tensor,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    gamma: float = 1.0,
    epsilon: float = 1e-4,
) -> Tensor:
    """Weighted sum of the three terms of `vicreg_terms`: agree, keep spread, do not repeat.

    Args:
        a: (n, d), the projections of one view, n at least 2. Not scaled to length 1, which would hold them under `gamma`.
        b: (n, d), those of the other view.
        invariance: weight of the distance between the views, lambda in the paper.
        variance: weight of the hinge on each feature's deviation, mu.
        covariance: weight of the squared covariances between features, nu.
        gamma: the deviation below which a feature is pushed apart.
        epsilon: above 0, added to the variance before its root.

    Returns:
        Scalar loss, at least float32 whatever the vectors are.

    Raises:
        ValueError: the shapes are not (n, d) both, or n is 1, which has neither variance nor covariance; or `epsilon` is
            not above 0, where the gradient of a constant feature would be NaN.

    Source:
        Bardes et al., VICReg (arXiv:2105.04906), eqs. 1-6, each term averaged as the authors' code does.
    """
    terms = vicreg_terms(a, b, gamma=gamma, epsilon=epsilon)
    return invariance * terms.invariance + variance * terms.variance + covariance * terms.covariance


def vicreg_terms(a: Tensor, b: Tensor, *, gamma: float = 1.0, epsilon: float = 1e-4) -> VicregTerms:
    """The three terms of VICReg by themselves, for a trainer that weighs or logs them one by one.

    Args:
        a: (n, d), the projections of one view, n at least 2.
        b: (n, d), those of the other view.
        gamma: the deviation below which a feature is pushed apart.
        epsilon: above 0, added to the variance before its root.

    Returns:
        invariance: the squared difference between the views, averaged over rows and features.
        variance: the hinge max(0, gamma - deviation), averaged over features and both views.
        covariance: the squared covariances of different features, summed, over d, and added over both views.
        All scalars, at least float32 whatever the vectors are; deviation and covariance are unbiased (over n - 1).

    Raises:
        ValueError: the shapes are not (n, d) both, or n is 1, which has neither variance nor covariance; or `epsilon` is
            not above 0, where the gradient of a constant feature would be NaN.

    Source:
        Bardes et al., VICReg (arXiv:2105.04906), eqs. 1-5. Where the paper and its authors' code part, this follows the
        code, with which 25, 25 and 1 were published: eq. 5 sums the squared difference over features, the code averages it;
        eq. 6 adds the variance terms of the two views, the code averages them.
    """
    if epsilon <= 0:
        raise ValueError(f"expected epsilon above 0, got {epsilon}")
    a, b = aligned({"a": a, "b": b}, least_rows=2)
    n, d = a.shape
    invariance = (a - b).square().mean()
    variance, covariance = a.new_zeros(()), a.new_zeros(())
    for view in (a, b):
        scaled = _centred(view) / (n - 1) ** 0.5
        deviation = (scaled.square().sum(dim=0) + epsilon).sqrt()
        variance = variance + (gamma - deviation).relu().mean() / 2
        covariance = covariance + _off_diagonal(scaled, scaled) / d
    return VicregTerms(invariance, variance, covariance)


def _centred(features: Tensor) -> Tensor:
    """Subtract each column's mean from (n, d) features.

    Differences to the first row come first. They are exactly 0 where a feature is constant, while the rounding of its mean
    would leave a residue that standardising blows up to a perfect correlation. The shift itself cancels, gradient included.
    """
    differences = features - features[:1].detach()
    return differences - differences.mean(dim=0)


def _off_diagonal(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the squared off-diagonal entries of a^T b, for (n, d) a and b, by the smaller of the two ways.

    The way over rows costs two products of n x n where the other has one of d x d, so it starts to pay at 2n = d. That is
    also where its subtraction is safe: the product has rank n - 1 at most, so its diagonal, if even, holds no more than the
    rest.
    """
    n, d = a.shape
    # Autocast would bring the products back to half precision.
    with torch.autocast(a.device.type, enabled=False):
        return _over_rows(a, b) if 2 * n <= d else _over_features(a, b)


def _over_features(a: Tensor, b: Tensor) -> Tensor:
    """The d x d product itself, its diagonal left out."""
    product = a.T @ b
    return product.masked_fill(torch.eye(len(product), dtype=torch.bool, device=product.device), 0).square().sum()


def _over_rows(a: Tensor, b: Tensor) -> Tensor:
    """All entries through ||a^T b||^2 = sum of (a a^T) * (b b^T), which is n x n, minus the diagonal's.

    The subtraction costs nothing in float32 where columns are of like scale, as those of Barlow Twins always are. Those of
    VICReg need not be: one column 30 times as wide as all others costs the value 2 in 100,000; 1000 times as wide, up to 5 in
    100, though the gradient, which is what trains, only 1 in 10,000 (against float64, d = 1024, 2n <= d).
    """
    rows_a = a @ a.T
    rows_b = rows_a if a is b else b @ b.T
    return (rows_a * rows_b).sum() - (a * b).sum(dim=0).square().sum()
