"""Where vectors of items begin: by counting what was acted on near each other, which a network would have to find out first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.evaluate.transitions import count_transitions

Ints = npt.NDArray[np.int64]

_SKIP, _DECAY, _SMOOTHING = 10, 0.8, 0.75


def item_start(items: Ints, owners: Ints, count: int, dim: int, *, seed: int) -> npt.NDArray[np.float32]:
    """Vectors whose dot products are about the positive pointwise mutual information of items being acted on near each other.

    Args:
        items: (e,) what was acted on, in [0, count); all actions of an owner stand together, oldest first.
        owners: (e,) who acted.
        count: how many items there are.
        dim: components.
        seed: of the iteration that finds them.

    Returns:
        float32 (count, dim), of mean length 1.

    Source:
        Levy and Goldberg, Neural Word Embedding as Implicit Matrix Factorization, NIPS 2014, sections 3.2 and 3.3; Levy, Goldberg and Dagan,
        Improving Distributional Similarity, TACL 2015, for the smoothing of contexts by 0.75.
    """
    from scipy.sparse.linalg import svds

    together = count_transitions(items, owners, count, skip=_SKIP, decay=_DECAY, back=1.0).astype(np.float64)
    of_item = np.asarray(together.sum(axis=1)).ravel()
    of_context = of_item**_SMOOTHING
    pairs = together.tocoo()
    chance = of_item[pairs.row] * of_context[pairs.col] / max(of_context.sum(), 1e-12)
    pairs.data = np.maximum(np.log(pairs.data / chance), 0.0)
    information = pairs.tocsr()
    information.eliminate_zeros()
    vectors = np.zeros((count, dim))
    found = min(dim, count - 1)
    if information.nnz and found:
        # A random start of its own: that of the library is drawn from the state of numpy.
        first = np.random.default_rng(seed).standard_normal(count)
        left, strengths, _ = svds(information, k=found, v0=first)
        vectors[:, :found] = left * np.sqrt(np.maximum(strengths, 0.0))
    mean = np.linalg.norm(vectors, axis=1).mean()
    return np.asarray(vectors / max(mean, 1e-12), np.float32)
