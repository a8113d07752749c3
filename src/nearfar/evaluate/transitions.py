"""What comes after what: counted over the actions of many users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Ints = npt.NDArray[np.int64]


def count_transitions(
    items: Ints, owners: Ints, count: int, *, skip: int = 5, decay: float = 0.6, back: float = 0.0
) -> csr_matrix:
    """How often an item was acted on within a few actions after another, nearer ones counting more.

    Args:
        items: (e,) what was acted on, in [0, count); all actions of an owner stand together, oldest first.
        owners: (e,) who acted.
        count: how many items there are.
        skip: actions ahead that are counted.
        decay: weight of each further one, as a share of that before.
        back: weight of the way back, so that what came before an item is known as well; 0 for none.

    Returns:
        Sparse float32 (count, count): row i holds what came after item i. Nothing but these actions goes in.

    Source: skip-gram transitions of Markov models, as in Shani et al., An MDP-Based Recommender System, JMLR 2005, section 4.2.
    """
    from scipy.sparse import coo_matrix

    rows, columns, weights = [], [], []
    for ahead in range(1, min(skip, len(items) - 1) + 1):
        near = owners[ahead:] == owners[:-ahead]
        rows.append(items[:-ahead][near])
        columns.append(items[ahead:][near])
        weights.append(np.full(int(near.sum()), decay ** (ahead - 1), np.float32))
    where = (np.concatenate(rows), np.concatenate(columns)) if rows else (items[:0], items[:0])
    values = np.concatenate(weights) if weights else np.zeros(0, np.float32)
    counted = coo_matrix((values, where), shape=(count, count), dtype=np.float32).tocsr()
    return (counted + back * counted.T).tocsr().astype(np.float32) if back else counted
