"""The loss of fault contrast against its formula, and what it must never do: push healthy windows apart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nearfar.learn.data.window_batch import WindowBatch
from nearfar.learn.encoders.build_series import build_series_encoder
from nearfar.learn.methods.fault_contrast import Embedded, FaultContrast, spread
from nearfar.recipe.series import DilatedCnnEncoder
from nearfar.recipe.series import FaultContrast as Settings

MACHINES = torch.tensor([0, 0, 1, 2, 1])
GROUPS = torch.tensor([0, 1, 2, 3, 2])


def method(**settings: object) -> FaultContrast:
    encoder = build_series_encoder(
        DilatedCnnEncoder(kind="dilated_cnn", width=8, layers=2, dim=8), window=8, features=3
    )
    return FaultContrast(encoder, Settings(kind="fault_contrast", **settings))  # type: ignore[arg-type]


def embedded(faults: int = 2, seed: int = 0) -> Embedded:
    draws = torch.Generator().manual_seed(seed)
    n = len(MACHINES)
    healthy = torch.randn(n, 2, 6, generator=draws, dtype=torch.float64)
    faulty = torch.randn(n, faults, 6, generator=draws, dtype=torch.float64)
    return Embedded(healthy.requires_grad_(), faulty.requires_grad_(), MACHINES, GROUPS)


def by_formula(vectors: Embedded, temperature: float, negatives: str) -> Tensor:
    """-log of the share of the pair among pair and faults, by squared distances, anchor by anchor."""
    losses = []
    for side in (0, 1):
        for row in range(len(vectors.machines)):
            anchor, pair = vectors.healthy[row, side], vectors.healthy[row, 1 - side]
            own = vectors.machines == vectors.machines[row]
            faults = (vectors.faulty[own] if negatives == "machine" else vectors.faulty).flatten(0, 1)
            scores = -torch.cat([pair[None], faults]).sub(anchor).square().sum(dim=1) / temperature
            losses.append(torch.logsumexp(scores, 0) - scores[0])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("negatives", ["machine", "batch"])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 8.0])
def test_the_loss_is_its_formula(negatives: str, temperature: float) -> None:
    vectors = embedded()
    found = method(temperature=temperature, negatives=negatives, spread=0.0).loss(vectors)
    expected = by_formula(vectors, temperature, negatives)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = [torch.autograd.grad(loss, (vectors.healthy, vectors.faulty)) for loss in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_spread_is_about_the_mean_of_each_group() -> None:
    vectors = torch.tensor([[0.0, 0.0], [2.0, 0.0], [10.0, 10.0]])
    assert spread(vectors, torch.tensor([4, 4, 9])).item() == pytest.approx(2 / 3)
    pulled = method(spread=1.0).loss(embedded()) - method(spread=0.0).loss(embedded())
    flat = embedded().healthy.transpose(0, 1).flatten(0, 1)
    assert pulled.item() == pytest.approx(spread(flat, GROUPS.repeat(2)).item(), rel=1e-5)


def test_other_healthy_windows_are_no_negatives() -> None:
    vectors = embedded()
    loss = method(spread=0.0).loss
    moved = vectors.healthy.detach().clone()
    moved[3] = moved[0]  # the pair of another machine comes to lie on this one's
    before = loss(Embedded(vectors.healthy[:3], vectors.faulty[:3], MACHINES[:3], GROUPS[:3]))
    after = loss(Embedded(torch.cat([vectors.healthy[:3], moved[3:4]]), vectors.faulty[:4], MACHINES[:4], GROUPS[:4]))
    alone = loss(Embedded(moved[3:4], vectors.faulty[3:4], MACHINES[3:4], GROUPS[3:4]))
    assert after.item() == pytest.approx((3 * before.item() + alone.item()) / 4, rel=1e-5)


def test_distances_count_and_not_directions() -> None:
    vectors = embedded()
    far = Embedded(vectors.healthy, 5 * vectors.faulty, MACHINES, GROUPS)
    assert method(spread=0.0).loss(far) < 0.5 * method(spread=0.0).loss(vectors)
    shifted = Embedded(vectors.healthy + 7, vectors.faulty + 7, MACHINES, GROUPS)
    assert method().loss(shifted).item() == pytest.approx(method().loss(vectors).item(), rel=1e-3)


def test_embedding_in_parts_is_embedding_the_whole() -> None:
    one = method(per_window=3).eval()
    windows, present = torch.randn(7, 5, 8, 3), torch.ones(7, 5, 8, 3)
    batch = WindowBatch(windows, present, torch.arange(7) % 2, torch.arange(7) % 2)
    whole = one.embed(batch)
    assert whole.healthy.shape == (7, 2, 8)
    assert whole.faulty.shape == (7, 3, 8)
    parts = [one.embed(part) for part in batch.split(3)]
    assert [len(part.machines) for part in parts] == [2, 2, 3]
    for field, joined in zip(whole, map(torch.cat, zip(*parts, strict=True)), strict=True):
        torch.testing.assert_close(field, joined)
