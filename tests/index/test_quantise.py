import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nearfar.index import dequantise, int8_scores, quantise_int8

vectors_of_any_size = st.tuples(st.integers(0, 6), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32))
)


@settings(deadline=None)
@given(vectors_of_any_size)
def test_the_error_is_at_most_half_a_step_of_the_largest_component(vectors):
    codes, scales = quantise_int8(vectors)
    assert codes.dtype == np.int8
    assert scales.dtype == np.float32
    steps = np.abs(vectors).max(axis=1, initial=0.0) / 127
    assert (np.abs(dequantise(codes, scales) - vectors) <= steps[:, None] * 0.5001 + 1e-30).all()


def test_the_whole_range_is_used_for_unit_vectors():
    vectors = np.random.default_rng(0).standard_normal((20, 256)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes, _ = quantise_int8(vectors)
    assert (np.abs(codes.astype(int)).max(axis=1) == 127).all()


def test_zero_vectors_stay_zero():
    codes, scales = quantise_int8(np.zeros((2, 3), dtype=np.float32))
    assert not codes.any()
    assert not scales.any()


@pytest.mark.parametrize("bad", [np.full((1, 2), np.nan), np.array([[np.inf, 0]]), np.zeros(3)])
def test_what_cannot_be_quantised_is_refused(bad):
    with pytest.raises(ValueError, match="vectors"):
        quantise_int8(bad)


def test_scores_are_those_of_the_dequantised_vectors_across_blocks():
    rng = np.random.default_rng(1)
    codes, scales = quantise_int8(rng.standard_normal((5000, 16)))
    query = rng.standard_normal(16).astype(np.float32)
    np.testing.assert_allclose(
        int8_scores(query, codes, scales), dequantise(codes, scales) @ query, rtol=1e-4, atol=1e-5
    )
