"""BYOL and SimSiam against their papers: who predicts what, and where the gradient stops."""

from __future__ import annotations

import pytest
import torch
from by_hand import cosine, mean
from made_methods import drawn, made_batch, made_method


def test_byol_is_the_squared_distance_of_directions_both_ways() -> None:
    method = made_method("byol")
    with torch.no_grad():
        for seed, weight in enumerate(method.target_encoder.copy.parameters()):
            weight.add_(0.3 * drawn(*weight.shape, seed=seed))
    embedded = method.embed(made_batch())
    p, t = embedded.predictions.detach(), embedded.targets
    expected = sum(mean(2 - 2 * cosine(p[i, a], t[i, 1 - a]) for i in range(len(p))) for a in range(2))
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-10)


def test_byol_has_a_predictor_on_the_trained_side_only() -> None:
    method, batch = made_method("byol").eval(), made_batch()
    embedded = method.embed(batch)
    for view in range(2):
        projected = method.projector(method.encoder(batch.views[view]))
        torch.testing.assert_close(embedded.predictions[:, view], method.predictor(projected))
        torch.testing.assert_close(embedded.targets[:, view], projected)
    assert not embedded.targets.requires_grad


def test_simsiam_is_eq_4() -> None:
    method = made_method("simsiam")
    embedded = method.embed(made_batch())
    p, z = embedded.predictions.detach(), embedded.projections.detach()
    expected = mean(-cosine(p[i, a], z[i, 1 - a]) for i in range(len(p)) for a in range(2))
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-10)


def test_simsiam_stops_the_gradient_at_what_is_predicted() -> None:
    method = made_method("simsiam").eval()
    embedded = method.embed(made_batch())
    leaves = type(embedded)(*(field.detach().clone().requires_grad_() for field in embedded))
    method.loss(leaves).backward()
    assert leaves.projections.grad is None
    assert leaves.predictions.grad is not None
    # The whole gradient is that of the predictions.
    wanted = torch.autograd.grad(
        embedded.predictions, method.encoder.layers[0].weight, leaves.predictions.grad, retain_graph=True
    )
    found = torch.autograd.grad(method.loss(embedded), method.encoder.layers[0].weight)
    torch.testing.assert_close(found, wanted)


def test_the_projector_of_simsiam_ends_in_a_norm_without_scale() -> None:
    method = made_method("simsiam")
    last = method.projector[-1]
    assert isinstance(last, torch.nn.BatchNorm1d)
    assert not last.affine
    z = method.embed(made_batch(8)).projections.flatten(0, 1)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros_like(z[0]), atol=1e-6, rtol=0)
