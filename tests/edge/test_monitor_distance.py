"""One distance for all scorers, against its definitions: also where features are missing, and after a way through a file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from nearfar.edge.monitor import distance as module
from nearfar.edge.monitor.distance import Distance, Floats
from nearfar.edge.monitor.scorers import By, fit_distance

ALL: tuple[By, ...] = ("centroid", "mahalanobis", "prototypes", "knn")
MISSING = ((0,), (4,), (1, 2), (0, 3, 4), (0, 1, 2, 3))


def correlated(rows: int, seed: int = 0, features: int = 5) -> Floats:
    """Features of unlike spreads that depend on each other, far from 0."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(1).standard_normal((features, features))
    values = rng.standard_normal((rows, features)) @ mix * np.array([1, 0.1, 20, 3, 0.5])[:features]
    return (values + np.arange(features) * 10).astype(np.float32)


@pytest.fixture(scope="module")
def fitted() -> dict[By, Distance]:
    return {by: fit_distance(correlated(2000), by, prototypes=4, references=200) for by in ALL}


@pytest.mark.parametrize("gone", MISSING)
def test_a_missing_feature_leaves_the_mahalanobis_distance_of_the_others(
    fitted: dict[By, Distance], gone: tuple[int, ...]
) -> None:
    distance, rows = fitted["mahalanobis"], 2 * correlated(50, seed=3)
    there = [feature for feature in range(5) if feature not in gone]
    offsets = (rows - distance.centre)[:, there].astype(np.float64)
    inverse = np.linalg.inv(distance.covariance[np.ix_(there, there)].astype(np.float64))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", offsets, inverse, offsets))
    rows[:, list(gone)] = np.nan
    np.testing.assert_allclose(distance.of(rows), expected, rtol=2e-3)


@pytest.mark.parametrize("by", ALL)
def test_a_missing_feature_is_put_where_the_others_make_it_likely(fitted: dict[By, Distance], by: By) -> None:
    distance, rows = fitted[by], correlated(40, seed=4)
    covariance = distance.covariance.astype(np.float64)
    there, gone = [0, 2, 4], [1, 3]
    guess = covariance[np.ix_(gone, there)] @ np.linalg.inv(covariance[np.ix_(there, there)])
    filled = rows.copy()
    filled[:, gone] = distance.centre[gone] + (rows - distance.centre)[:, there] @ guess.T
    rows[:, gone] = np.nan
    np.testing.assert_allclose(distance.of(rows), distance.of(filled), rtol=1e-3, atol=1e-4)


def test_features_that_say_the_same_can_still_replace_each_other() -> None:
    rows = correlated(3000)
    twice = np.concatenate([rows, rows[:, :1], rows[:, :1]], axis=1)
    distance = fit_distance(twice, "mahalanobis")
    whole = twice[:20].copy()
    lost = whole.copy()
    lost[:, 0] = np.nan
    np.testing.assert_allclose(distance.of(lost), distance.of(whole), rtol=1e-2)
    lost[:, 5:] = np.nan
    assert np.isfinite(distance.of(lost)).all()
    assert (distance.of(lost) <= distance.of(whole) * 1.001).all()


@pytest.mark.parametrize("by", ALL)
def test_only_a_row_of_which_nothing_is_there_has_no_distance(fitted: dict[By, Distance], by: By) -> None:
    rows = correlated(6, seed=5)
    alone = fitted[by].of(rows)
    rows[1] = np.nan
    rows[4, :3] = np.nan
    found = fitted[by].of(rows)
    assert np.isnan(found[1])
    assert np.isfinite(np.delete(found, 1)).all()
    np.testing.assert_allclose(found[[0, 2, 3, 5]], alone[[0, 2, 3, 5]], rtol=1e-5)
    assert fitted[by].of(rows[:0]).shape == (0,)
    assert found.dtype == np.float32


@pytest.mark.parametrize("by", ["prototypes", "knn"])
def test_the_distance_from_points_is_the_mean_of_the_nearest(fitted: dict[By, Distance], by: By) -> None:
    distance, rows = fitted[by], correlated(60, seed=6)
    places = (rows - distance.centre).astype(np.float64) @ distance.whitening
    nearest = np.sort(cdist(places, distance.points), axis=1)[:, : distance.k].mean(axis=1)
    np.testing.assert_allclose(distance.of(rows), nearest, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("by", ALL)
def test_a_larger_change_is_a_larger_distance_however_large(fitted: dict[By, Distance], by: By) -> None:
    rows = np.repeat(correlated(1), 8, axis=0)
    rows[:, 2] += np.float32(10.0) ** np.arange(1, 16, 2, dtype=np.float32)
    found = fitted[by].of(rows)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def test_rows_taken_in_parts_are_as_rows_taken_at_once(
    fitted: dict[By, Distance], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = correlated(100, seed=7)
    rows[::7, 1] = np.nan
    whole = fitted["knn"].of(rows)
    monkeypatch.setattr(module, "_ROWS_AT_A_TIME", 9)
    np.testing.assert_allclose(fitted["knn"].of(rows), whole, rtol=1e-5)


@pytest.mark.parametrize("by", ALL)
def test_a_file_gives_the_same_distance_to_the_bit(fitted: dict[By, Distance], by: By) -> None:
    file = io.BytesIO()
    np.savez(file, **fitted[by].arrays())
    file.seek(0)
    rows = correlated(30, seed=8)
    with np.load(file, allow_pickle=False) as arrays:
        again = Distance.from_arrays(arrays)
    np.testing.assert_array_equal(again.of(rows), fitted[by].of(rows))
    assert again.k == fitted[by].k


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"points": None}, "no points"),
        ({"covariance": np.eye(4)}, "do not fit together"),
        ({"whitening": np.eye(3)}, "do not fit together"),
        ({"points": np.zeros((3, 4))}, "do not fit together"),
        ({"k": np.array(9)}, "do not fit together"),
        ({"k": np.array(0)}, "do not fit together"),
        ({"centre": np.zeros((5, 1))}, "do not fit together"),
        ({"centre": np.full(5, np.nan)}, "not finite"),
    ],
)
def test_arrays_that_are_no_distance_are_refused(fitted: dict[By, Distance], change: dict, part: str) -> None:
    arrays = {name: value for name, value in (fitted["mahalanobis"].arrays() | change).items() if value is not None}
    with pytest.raises(ValueError, match=part):
        Distance.from_arrays(arrays)
