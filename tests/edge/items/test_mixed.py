"""One ranking of items of several towers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nearfar.bundle.joint_record import ScoreScale
from nearfar.edge.items.mixed import Search, Share, ranked

DIM = 4


@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    k=st.integers(1, 20),
)
def test_the_best_of_all_shares_by_how_far_they_stand_out(seed: int, sizes: list[int], k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((sum(sizes), DIM)).astype(np.float32)
    query = rng.standard_normal(DIM).astype(np.float32)
    rows = np.split(rng.permutation(sum(sizes)), np.cumsum(sizes)[:-1])
    scales = [
        ScoreScale(query="text", items=f"t{i}", mean=rng.uniform(-1, 1), spread=rng.uniform(0.1, 1))
        for i in range(len(rows))
    ]

    def search(allowed: np.ndarray) -> Search:
        def nearest(query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            scores = vectors[allowed] @ query
            order = np.argsort(-scores, kind="stable")[:k]
            return allowed[order], scores[order]

        return nearest

    shares = [Share(search(np.sort(part)), scale) for part, scale in zip(rows, scales, strict=True)]
    found = ranked(query, k, shares)
    every = sorted(
        (-(float(vectors[row] @ query) - scale.mean) / scale.spread, int(row))
        for part, scale in zip(rows, scales, strict=True)
        for row in part
    )
    assert len(found) == min(k, sum(sizes))
    assert np.allclose([score for _, score in found], [-score for score, _ in every[:k]], atol=1e-4)
    assert len({row for row, _ in found}) == len(found)
