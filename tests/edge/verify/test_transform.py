"""The keyed rotation: exactly orthogonal, the same everywhere, and of no relation to that of another key."""

import hashlib

import numpy as np
import pytest

from nearfar.edge.verify.template import make_template, match_scores
from nearfar.edge.verify.transform import KeyedTransform, apply_each


def seeds(count):
    return [hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(count)]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("dim", [1, 2, 3, 5, 7, 48, 64, 100, 127, 128, 129, 192, 255, 256, 300])
def test_rows_are_orthonormal_for_any_number_of_coordinates(dim):
    matrix = KeyedTransform(b"k" * 32, dim, dim).apply(np.eye(dim, dtype=np.float32)).astype(np.float64)
    assert np.abs(matrix @ matrix.T - np.eye(dim)).max() < 2e-6
    kept = KeyedTransform(b"k" * 32, dim, (dim + 1) // 2).apply(np.eye(dim, dtype=np.float32))
    assert (kept == matrix[:, : (dim + 1) // 2].astype(np.float32)).all()


def test_inner_products_are_kept():
    vectors = unit(np.random.default_rng(0).standard_normal((50, 192))).astype(np.float32)
    rotated = KeyedTransform(seeds(1)[0], 192, 192).apply(vectors)
    assert np.abs(rotated @ rotated.T - vectors @ vectors.T).max() < 1e-5


@pytest.mark.parametrize("dim", [100, 128, 192])
def test_other_seeds_give_templates_that_have_nothing_to_do_with_each_other(dim):
    """Of one vector, also of one with a single component: cosines of random directions, whose deviation is 1 / sqrt(L)."""
    components = 96
    for vector in (unit(np.random.default_rng(1).standard_normal(dim)), np.eye(dim)[0], unit(np.ones(dim))):
        rotated = unit(apply_each(seeds(400), vector.astype(np.float32), components))
        cosines = (rotated @ rotated.T)[np.triu_indices(400, 1)]
        assert abs(cosines.mean()) < 0.005
        assert cosines.std() == pytest.approx(components**-0.5, rel=0.05)
        assert np.abs(cosines).max() < 0.6


def test_a_seed_that_differs_in_one_bit_is_another_key():
    vector = unit(np.random.default_rng(1).standard_normal(128)).astype(np.float32)
    first, second = unit(apply_each([bytes(32), bytes(31) + b"\x01"], vector, 128))
    assert abs(float(first @ second)) < 0.4


def test_many_keys_at_once_give_what_each_gives():
    vector = unit(np.random.default_rng(2).standard_normal(130)).astype(np.float32)
    together = apply_each(seeds(20), vector, 64)
    for seed, row in zip(seeds(20), together, strict=True):
        assert (KeyedTransform(seed, 130, 64).apply(vector[None])[0] == row).all()


PINNED = "56bb1a9903dcafc9aa3ca1c612fd6bfa889a71f2c443360243352b479fda8771"


def test_the_same_bytes_on_every_platform():
    """Pinned: a template that was enrolled by one version must be found by another."""
    vectors = (np.arange(3 * 100, dtype=np.float32).reshape(3, 100) % 17) - 8
    digest = hashlib.sha256(KeyedTransform(b"pinned" * 5, 100, 80).apply(vectors).tobytes()).hexdigest()
    assert digest == PINNED


@pytest.mark.parametrize("components", [0, 11])
def test_more_components_than_there_are_is_refused(components):
    with pytest.raises(ValueError, match="components"):
        KeyedTransform(b"", 10, components)
    with pytest.raises(ValueError, match="components"):
        apply_each([b""], np.ones(10, dtype=np.float32), components)


def test_a_template_scores_the_cosine_and_has_a_byte_a_component():
    rng = np.random.default_rng(3)
    person = unit(rng.standard_normal(128))
    samples = unit(person + 0.05 * rng.standard_normal((5, 128))).astype(np.float32)
    probes = unit(person + 0.05 * rng.standard_normal((20, 128))).astype(np.float32)
    transform = KeyedTransform(seeds(1)[0], 128, 128)
    template = make_template(samples, transform)
    assert (template.dtype, template.shape, np.abs(template).max()) == (np.int8, (128,), 127)
    scores = match_scores(np.broadcast_to(template, (20, 128)), transform.apply(probes))
    assert np.abs(scores - probes @ unit(samples.mean(axis=0))).max() < 0.01
    (single,) = match_scores(template[None], transform.apply(probes)[3])
    assert single == scores[3]


def test_a_template_is_of_no_use_with_another_key():
    vector = unit(np.random.default_rng(4).standard_normal((1, 128))).astype(np.float32)
    first, second = (KeyedTransform(seed, 128, 128) for seed in seeds(2))
    (score,) = match_scores(make_template(vector, first)[None], second.apply(vector))
    assert abs(score) < 0.4


def test_samples_that_cancel_each_other_out_make_no_template():
    vector = unit(np.ones((1, 8))).astype(np.float32)
    with pytest.raises(ValueError, match="cancel"):
        make_template(np.concatenate([vector, -vector]), KeyedTransform(b"", 8, 8))


def test_nothing_matches_a_template_of_zeros():
    assert match_scores(np.zeros((2, 4), dtype=np.int8), np.ones(4, dtype=np.float32)).tolist() == [0, 0]
