import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate.stress.membership import membership


def made(users: int = 60, items: int = 400, acted: int = 12, dim: int = 24) -> tuple[np.ndarray, ...]:
    """Vectors of items, histories drawn by popularity, whose they are, and popularity."""
    rng = np.random.default_rng(0)
    popularity = np.arange(1, items + 1) ** -0.5
    odds = popularity / popularity.sum()
    history = np.stack([rng.choice(items, acted, replace=False, p=odds) for _ in range(users)])
    return (
        rng.normal(size=(items, dim)).astype(np.float32),
        history,
        np.repeat(np.arange(users), acted),
        popularity,
    )


def test_a_mean_of_items_tells_which_they_were() -> None:
    vectors, history, owners, popularity = made()
    told = membership(vectors[history].mean(axis=1), vectors, history.ravel(), owners, popularity)
    assert told.auc.low > 0.7
    assert told.users == 60
    assert told.pairs == 60 * 12 * 4


def test_noise_hides_it() -> None:
    vectors, history, owners, popularity = made()
    profiles = vectors[history].mean(axis=1)
    rng = np.random.default_rng(1)
    aucs = [
        membership(
            (profiles + rng.normal(0, noise, profiles.shape)).astype(np.float32),
            vectors,
            history.ravel(),
            owners,
            popularity,
        ).auc.value
        for noise in (0.0, 0.5, 50.0)
    ]
    assert aucs[0] > aucs[1] > aucs[2]
    assert aucs[2] == pytest.approx(0.5, abs=0.04)


def test_what_is_popular_anyway_is_no_leak() -> None:
    """A profile that points at what is popular knows nothing of its user, and against items as popular it shows."""
    vectors, history, owners, popularity = made()
    scale = np.log(popularity)[:, None].astype(np.float32)
    along = np.concatenate([vectors, 5 * scale], axis=1)
    profiles = np.zeros((60, along.shape[1]), dtype=np.float32)
    profiles[:, -1] = 1
    told = membership(profiles, along, history.ravel(), owners, popularity)
    assert told.auc.value == pytest.approx(told.by_popularity.value)
    assert told.auc.value == pytest.approx(0.5, abs=0.06)


def test_the_same_seed_gives_the_same_figures() -> None:
    vectors, history, owners, popularity = made(users=10)
    profiles = vectors[history].mean(axis=1)
    first, second = (membership(profiles, vectors, history.ravel(), owners, popularity, matches=3) for _ in range(2))
    assert first == second


def test_there_has_to_be_something_to_guess() -> None:
    vectors = np.ones((2, 3), dtype=np.float32)
    with pytest.raises(DataError, match="nothing to guess"):
        membership(np.ones((1, 3), dtype=np.float32), vectors, np.array([0, 1]), np.array([0, 0]), np.ones(2))
