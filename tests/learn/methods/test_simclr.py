"""SimCLR against eq. 1 of its paper."""

from __future__ import annotations

import pytest
from by_hand import mean, softmax_loss
from made_methods import made_batch, made_method


def test_the_loss_is_eq_1_over_all_views_of_the_batch() -> None:
    method = made_method("simclr", temperature=0.3)
    embedded = method.embed(made_batch())
    views = embedded.projections.detach().flatten(0, 1)  # 2k and 2k + 1 are of one picture

    def of(i: int) -> float:
        other = i ^ 1
        return softmax_loss(views[i], views[other], [v for k, v in enumerate(views) if k not in (i, other)], 0.3)

    expected = mean(of(i) for i in range(len(views)))
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-10)
