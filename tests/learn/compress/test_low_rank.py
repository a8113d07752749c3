"""The two factors of a table are the best of their rank."""

from __future__ import annotations

import numpy as np
import pytest
from made_tables import made_table

from nearfar.errors import RunError
from nearfar.learn.compress.low_rank import low_rank


def test_the_factors_are_the_best_of_their_rank() -> None:
    table = made_table()
    rows, basis = low_rank(table, 10)
    np.testing.assert_allclose(basis @ basis.T, np.eye(10), atol=1e-5)
    least = np.sqrt(np.square(np.linalg.svd(table.astype(np.float64), compute_uv=False)[10:]).sum())
    assert np.linalg.norm(rows @ basis - table) == pytest.approx(least, rel=1e-3)
    for rank in (0, 32, 40):
        with pytest.raises(RunError, match="give 1 to 31"):
            low_rank(table, rank)


def test_common_rows_come_out_closer() -> None:
    table = made_table()
    common = np.arange(len(table)) % 20 == 0
    errors = []
    for frequency in (None, np.where(common, 10_000, 0)):
        rows, basis = low_rank(table, 6, frequency)
        errors.append(np.linalg.norm((rows @ basis - table)[common]))
    assert errors[1] < 0.95 * errors[0]


def test_the_numbers_of_a_row_are_of_one_size() -> None:
    rows, _ = low_rank(made_table(), 16)
    spread = np.sqrt(np.square(rows).mean(axis=0))
    assert spread.max() < 3 * spread.min()  # along the main axes it would be nine times
