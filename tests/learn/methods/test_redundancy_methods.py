"""Barlow Twins and VICReg against the formulas of their papers."""

from __future__ import annotations

import pytest
from by_hand import off_diagonal, standardised
from made_methods import made_batch, made_method


def test_barlow_twins_is_eq_1() -> None:
    method = made_method("barlow_twins", off_diagonal=0.02)
    embedded = method.embed(made_batch())
    a, b = (standardised(view) for view in embedded.projections.detach().unbind(1))
    correlation = a.T @ b / len(a)
    expected = float((1 - correlation.diagonal()).square().sum()) + 0.02 * off_diagonal(correlation)
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-9)


def test_vicreg_is_eq_6_as_its_authors_average_it() -> None:
    method = made_method("vicreg", invariance=3.0, variance=5.0, covariance=2.0)
    embedded = method.embed(made_batch())
    a, b = embedded.projections.detach().unbind(1)
    d = a.shape[1]
    invariance = float((a - b).square().mean())
    variance = sum(float((1 - (v.var(dim=0) + 1e-4).sqrt()).relu().mean()) / 2 for v in (a, b))
    covariance = sum(off_diagonal(v.T.cov()) / d for v in (a, b))
    expected = 3 * invariance + 5 * variance + 2 * covariance
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-9)
