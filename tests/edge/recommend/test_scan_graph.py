"""The scan over all items: exact whole numbers, whatever the threads, and close to the true products."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from nearfar.edge.recommend.scan_graph import ItemScan, product, scan_graph


@pytest.mark.parametrize(("count", "dim"), [(1, 1), (7, 3), (1000, 64), (333, 100)])
def test_the_graph_is_one_that_onnx_accepts(count, dim):
    codes = np.random.default_rng(0).integers(-127, 128, (count, dim)).astype(np.int8)
    model = onnx.load_from_string(scan_graph(codes))
    onnx.checker.check_model(model, full_check=True)
    (table,) = [one for one in model.graph.initializer if one.name == "table"]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(table), codes.T)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_products_are_close_to_the_true_ones(scale):
    generator = np.random.default_rng(1)
    codes = generator.integers(-127, 128, (2000, 64)).astype(np.int8)
    vector = (scale * generator.normal(size=64)).astype(np.float32)
    found, true = ItemScan(codes).products(vector), codes.astype(np.float64) @ vector
    assert found.dtype == np.float32
    # Half a step of each component, in the worst case all the same way.
    step = np.abs(vector).max() / 8063
    assert (np.abs(found - true) <= step / 2 * np.abs(codes.astype(np.float64)).sum(axis=1) + 1e-6 * np.abs(true)).all()
    assert np.corrcoef(found, true)[0, 1] > 0.9999999


def test_threads_and_neighbours_change_no_bit():
    generator = np.random.default_rng(2)
    codes = generator.integers(-127, 128, (5000, 48)).astype(np.int8)
    vector = generator.normal(size=48).astype(np.float32)
    alone = ItemScan(codes).products(vector)
    np.testing.assert_array_equal(ItemScan(codes, threads=4).products(vector), alone)
    np.testing.assert_array_equal(ItemScan(codes[100:200].copy()).products(vector), alone[100:200])
    np.testing.assert_array_equal(product(vector, codes[100:200]), alone[100:200])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_numbers_do_not_overflow(sign):
    codes = np.full((50, 256), 127, dtype=np.int8)
    vector = np.full(256, sign, dtype=np.float32)
    np.testing.assert_allclose(ItemScan(codes).products(vector), sign * 127.0 * 256, rtol=1e-6)


def test_nothing_times_anything_is_nothing():
    assert not ItemScan(np.ones((5, 4), dtype=np.int8)).products(np.zeros(4, dtype=np.float32)).any()
