"""Multinomial logistic regression for a few thousand labelled vectors, with numpy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_MEMORY, _ITERATIONS, _TOLERANCE = 10, 200, 1e-4

Array = npt.NDArray[np.float64]
Objective = Callable[[Array], tuple[float, Array]]


def fit_logistic(
    vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], *, classes: int, penalty: float
) -> npt.NDArray[np.float32]:
    """Weights and bias that minimise the mean cross-entropy and half the penalty times the squared weights.

    The vectors are centred and given a mean square of 1 a component, so that one penalty means the same for any encoder; both
    are folded into what is returned, which takes vectors as they are.

    Args:
        vectors: (n, d) float32.
        labels: (n,) int64, 0 to classes - 1.
        classes: c, at least 2.
        penalty: above 0.

    Returns:
        (c, d + 1) float32, the bias in the last column: logits are `vectors @ weights[:, :-1].T + weights[:, -1]`.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(np.mean(vectors.var(axis=0, dtype=np.float64)))) or 1.0
    scaled = ((vectors - mean) / spread).astype(np.float32)
    count, dim = scaled.shape
    rows = np.arange(count)

    def objective(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(classes, dim + 1)
        logits = scaled @ weights[:, :-1].T.astype(np.float32) + weights[:, -1].astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        totals = powers.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(totals[:, 0]) - logits[rows, labels], dtype=np.float64))
        slopes = powers / totals
        slopes[rows, labels] -= 1
        gradient = np.empty_like(weights)
        gradient[:, :-1] = (slopes.T @ scaled) / count + penalty * weights[:, :-1]
        gradient[:, -1] = slopes.mean(axis=0, dtype=np.float64)
        return loss + penalty / 2 * float(np.square(weights[:, :-1]).sum()), gradient.ravel()

    fitted = minimise(objective, np.zeros(classes * (dim + 1))).reshape(classes, dim + 1)
    weights = fitted[:, :-1] / spread
    return np.column_stack([weights, fitted[:, -1] - weights @ mean]).astype(np.float32)


def minimise(objective: Objective, start: Array) -> Array:
    """The minimum of a smooth convex function by L-BFGS with backtracking.

    Args:
        objective: gives value and gradient.
        start: (p,) float64.

    Returns:
        (p,) float64.

    Source: Nocedal and Wright, Numerical Optimization, 2006, algorithms 7.4 and 7.5.
    """
    place = start
    value, gradient = objective(place)
    steps: list[tuple[Array, Array]] = []
    first = float(np.linalg.norm(gradient))
    for _ in range(_ITERATIONS):
        if np.linalg.norm(gradient) <= _TOLERANCE * max(first, 1e-12):
            break
        direction = -_times_inverse(steps, gradient)
        slope = float(gradient @ direction)
        length = 1.0 if steps else 1.0 / max(first, 1e-12)
        while True:
            moved = place + length * direction
            new_value, new_gradient = objective(moved)
            if new_value <= value + 1e-4 * length * slope:
                break
            length /= 2
            if length < 1e-10:  # rounding hides what is left to gain
                return place
        step, bend = moved - place, new_gradient - gradient
        if float(step @ bend) > 1e-12:
            steps = [*steps[1 - _MEMORY :], (step, bend)]
        place, value, gradient = moved, new_value, new_gradient
    return place


def _times_inverse(steps: list[tuple[Array, Array]], gradient: Array) -> Array:
    """The gradient times the inverse Hessian as the last steps know it (the two-loop recursion)."""
    turned, shares = gradient.copy(), []
    for step, bend in reversed(steps):
        share = float(step @ turned) / float(step @ bend)
        turned -= share * bend
        shares.append(share)
    if steps:
        step, bend = steps[-1]
        turned *= float(step @ bend) / float(bend @ bend)
    for (step, bend), share in zip(steps, reversed(shares), strict=True):
        turned += (share - float(bend @ turned) / float(step @ bend)) * step
    return turned
