"""A token table as two factors: a short row for every token, and one matrix that all of them share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import RunError

Floats = npt.NDArray[np.float32]


def low_rank(table: Floats, rank: int, frequency: npt.NDArray[Any] | None = None) -> tuple[Floats, Floats]:
    """The best approximation of a table by rows of `rank` numbers times one matrix (Eckart and Young, 1936).

    Without `frequency` the squared error of all rows counts the same; with it as often as texts have their token, so that
    it is the sums over texts that come out closest.

    Args:
        table: (v, d), finite.
        rank: r, from 1 to d - 1.
        frequency: (v,) how many texts have each token.

    Returns:
        Rows float32 (v, r), and a basis float32 (r, d) of orthonormal rows, such that `rows @ basis` is close to `table`.
        The basis is turned at random: the numbers of a row are then of one size, which eight or four bits hold best.

    Raises:
        RunError: `rank` is not below d.
    """
    dim = table.shape[1]
    if not 0 < rank < dim:
        raise RunError(f"rank is {rank}, but a row of the token table has {dim} numbers: give 1 to {dim - 1}")
    often = np.ones(len(table)) if frequency is None else np.asarray(frequency, np.float64) + 1.0
    # The main axes from the (d, d) products: the table itself may have a hundred thousand rows.
    rooted = (table * np.sqrt(often / often.mean())[:, None]).astype(np.float32)
    _, axes = np.linalg.eigh((rooted.T @ rooted).astype(np.float64))
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((rank, rank)))
    basis = (turn @ axes[:, ::-1][:, :rank].T).astype(np.float32)
    rows: Floats = table @ basis.T
    return rows, basis
