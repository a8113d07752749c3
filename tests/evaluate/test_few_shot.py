import numpy as np
import pytest

from nearfar.errors import DataError
from nearfar.evaluate.few_shot import one_shot_accuracy


def people(count: int, samples: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count), samples)
    vectors = rng.normal(size=(count, 32))[labels] + noise * rng.normal(size=(len(labels), 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), labels, np.tile(np.arange(samples), count)


def test_clear_identities_are_always_told_and_noise_never_more_than_by_chance() -> None:
    clear = one_shot_accuracy(*people(30, 4, 0.1), ways=20, episodes=50)
    assert clear.accuracy.value == 1
    noise = one_shot_accuracy(*people(30, 4, 100.0), ways=20, episodes=200)
    assert noise.accuracy.low <= 0.06
    assert noise.accuracy.value < 0.1


def test_known_samples_and_queries_are_of_different_sessions() -> None:
    # Everybody is alike but for the session: within one, the right one would be found.
    vectors, labels, sessions = people(10, 2, 0.0)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(20, 32)).astype(np.float32)
    twice = np.repeat(np.arange(20), 2)  # each sample is there twice, in its session
    found = one_shot_accuracy(vectors[twice], labels[twice], sessions[twice], ways=10, episodes=100)
    assert found.accuracy.value < 0.5
    same = one_shot_accuracy(vectors[twice], labels[twice], np.full(40, -1), ways=10, episodes=100)
    assert same.accuracy.value > found.accuracy.value


def test_episodes_stay_within_a_group() -> None:
    vectors, labels, sessions = people(8, 3, 0.1)
    groups = [f"alphabet {label % 2}" for label in labels]
    assert one_shot_accuracy(vectors, labels, sessions, groups=groups, ways=4, episodes=10).accuracy.value == 1
    with pytest.raises(DataError, match="ask for fewer ways"):
        one_shot_accuracy(vectors, labels, sessions, groups=groups, ways=5, episodes=10)
