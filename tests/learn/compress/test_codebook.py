"""Tables in one byte for several numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_tables import made_table

from nearfar.learn.compress.codebook import codebook_codes, four_bit_codes


@pytest.mark.parametrize("make", [four_bit_codes, codebook_codes])
def test_codes_are_repeatable_and_take_what_comes(make: Any) -> None:
    table, weights = made_table(), np.ones(1500, np.float32)
    first, again = make(table, weights), make(table, weights)
    np.testing.assert_array_equal(first.codes, again.codes)
    np.testing.assert_array_equal(first.books, again.books)
    assert not first.table()[7].any()
    tiny = (table * 1e-12).astype(np.float32)
    np.testing.assert_allclose(
        make(tiny, weights).table() * 1e12, first.table(), atol=0.05 * float(np.abs(table).max())
    )
    for odd in (np.zeros((3, 8), np.float32), made_table(1, 5), np.eye(2, dtype=np.float32)):
        assert make(odd, np.ones(len(odd), np.float32)).table().shape == odd.shape


def test_learned_levels_lose_less_than_even_ones() -> None:
    table = np.random.default_rng(0).standard_normal((2000, 64), np.float32)
    largest = np.abs(table).max(axis=1, keepdims=True)
    even = np.rint(table / largest * 7) * largest / 7
    coded = four_bit_codes(table, np.ones(2000, np.float32))
    assert np.linalg.norm(coded.table() - table) < 0.85 * np.linalg.norm(even - table)
    assert coded.size < table.nbytes / 7.4


def test_a_wider_part_is_smaller_and_coarser() -> None:
    table, weights = made_table(), np.ones(1500, np.float32)
    narrow, wide = (codebook_codes(table, weights, width=width) for width in (2, 8))
    assert wide.codes.nbytes * 4 == narrow.codes.nbytes
    assert np.linalg.norm(wide.table() - table) > np.linalg.norm(narrow.table() - table)


def test_few_rows_are_all_entries() -> None:
    table = made_table(200, 16)
    coded = codebook_codes(table, np.ones(200, np.float32))
    np.testing.assert_allclose(coded.table(), table, atol=0.02 * float(np.abs(table).max()))
