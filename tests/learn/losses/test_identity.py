"""Margins and proxies over identities against their formulas, at the ends of the angle, and what must not count."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from nearfar.learn.losses.identity import arcface, cosface, proxy_anchor, proxy_nca

LABELS = torch.tensor([0, 2, 0, 4, 2, 2])
proxy_nca_of_2017 = partial(proxy_nca, temperature=1.0, own_in_denominator=False)
ALL = [arcface, cosface, proxy_nca, proxy_nca_of_2017, proxy_anchor]
Loss = Callable[..., Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosines(embeddings: Tensor, classes: Tensor) -> list[list[float]]:
    return [
        [
            sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b) or 1.0)
            for b in classes.tolist()
        ]
        for a in embeddings.tolist()
    ]


def log_sum(exponents: list[float]) -> float:
    largest = max(exponents)
    return largest + math.log(sum(math.exp(exponent - largest) for exponent in exponents))


def margin_by_formula(rows: list[list[float]], labels: Tensor, scale: float, harder: Callable[[float], float]) -> float:
    """Mean of -log softmax of the own class, its cosine made harder, all times the scale."""
    terms = []
    for row, label in zip(rows, labels.tolist(), strict=True):
        logits = [scale * (harder(cosine) if k == label else cosine) for k, cosine in enumerate(row)]
        terms.append(log_sum(logits) - logits[label])
    return sum(terms) / len(terms)


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5, 1.5])
@pytest.mark.parametrize("scale", [0.5, 64.0, 1000.0])
def test_arcface_widens_the_angle(margin: float, scale: float) -> None:
    """Among random angles some are beyond pi - margin, where the authors lower the cosine instead."""

    def harder(cosine: float) -> float:
        angle = math.acos(cosine)
        return math.cos(angle + margin) if angle < math.pi - margin else cosine - margin * math.sin(math.pi - margin)

    embeddings, prototypes = drawn(40, 3), drawn(5, 3, seed=1)
    labels = torch.arange(40) % 5
    rows = cosines(embeddings, prototypes)
    if margin == 1.5:
        beyond = {math.acos(row[label]) > math.pi - margin for row, label in zip(rows, labels.tolist(), strict=True)}
        assert beyond == {True, False}
    loss = arcface(embeddings, labels, prototypes, margin=margin, scale=scale)
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(margin_by_formula(rows, labels, scale, harder), rel=1e-10)


@pytest.mark.parametrize("margin", [0.0, 0.35, 2.0])
@pytest.mark.parametrize("scale", [0.5, 64.0, 1000.0])
def test_cosface_lowers_the_cosine(margin: float, scale: float) -> None:
    embeddings, prototypes = drawn(6, 3), drawn(5, 3, seed=1)
    expected = margin_by_formula(cosines(embeddings, prototypes), LABELS, scale, lambda cosine: cosine - margin)
    loss = cosface(embeddings, LABELS, prototypes, margin=margin, scale=scale)
    assert float(loss) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("temperature", [0.001, 1 / 9, 1.0, 7.0])
@pytest.mark.parametrize("own_in_denominator", [True, False])
def test_proxy_nca_compares_squared_distances_on_the_sphere(temperature: float, own_in_denominator: bool) -> None:
    embeddings, proxies = drawn(6, 3), drawn(5, 3, seed=1)
    terms = []
    for x, label in zip(embeddings.tolist(), LABELS.tolist(), strict=True):
        unit = [value / math.hypot(*x) for value in x]
        squared = [
            sum((a - b / math.hypot(*p)) ** 2 for a, b in zip(unit, p, strict=True)) / temperature
            for p in proxies.tolist()
        ]
        below = [-value for k, value in enumerate(squared) if own_in_denominator or k != label]
        terms.append(squared[label] + log_sum(below))
    loss = proxy_nca(embeddings, LABELS, proxies, temperature=temperature, own_in_denominator=own_in_denominator)
    assert float(loss) == pytest.approx(sum(terms) / 6, rel=1e-10)


@pytest.mark.parametrize(("margin", "scale"), [(0.1, 32.0), (0.0, 1.0), (0.5, 300.0)])
@pytest.mark.parametrize("labels", [LABELS, torch.zeros(6, dtype=torch.long)])
def test_proxy_anchor_is_the_formula(labels: Tensor, margin: float, scale: float) -> None:
    embeddings, proxies = drawn(6, 3), drawn(5, 3, seed=1)
    rows = cosines(embeddings, proxies)
    pulled, pushed = [], []
    for k in range(5):
        own = [-scale * (row[k] - margin) for row, label in zip(rows, labels.tolist(), strict=True) if label == k]
        other = [scale * (row[k] + margin) for row, label in zip(rows, labels.tolist(), strict=True) if label != k]
        if own:
            pulled.append(log_sum([0.0, *own]))
        pushed.append(log_sum([0.0, *other]))
    loss = proxy_anchor(embeddings, labels, proxies, margin=margin, scale=scale)
    assert float(loss) == pytest.approx(sum(pulled) / len(pulled) + sum(pushed) / 5, rel=1e-10)


@pytest.mark.parametrize("loss", ALL)
def test_gradients_are_those_of_the_formula(loss: Loss) -> None:
    inputs = drawn(6, 3).requires_grad_(), drawn(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda e, p: loss(e, LABELS, p), inputs)


@pytest.mark.parametrize(
    ("loss", "name"), [(arcface, "scale"), (cosface, "scale"), (proxy_anchor, "scale"), (proxy_nca, "temperature")]
)
def test_a_scale_or_temperature_given_as_a_tensor_is_learned(loss: Loss, name: str) -> None:
    factor = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: loss(drawn(6, 3), LABELS, drawn(5, 3, seed=1), **{name: f}), (factor,))


@pytest.mark.parametrize("loss", ALL)
def test_order_names_length_and_rotation_do_not_count(loss: Loss) -> None:
    embeddings, classes = drawn(6, 3), drawn(5, 3, seed=1)
    order, names = torch.tensor([4, 2, 0, 5, 1, 3]), torch.tensor([3, 1, 4, 0, 2])
    rotation, _ = torch.linalg.qr(drawn(3, 3, seed=3))
    expected = float(loss(embeddings, LABELS, classes))
    for changed in [
        (embeddings[order], LABELS[order], classes),
        (embeddings, names.argsort()[LABELS], classes[names]),
        (embeddings * torch.linspace(0.1, 50, 6).unsqueeze(1), LABELS, classes * 1e6),
        (embeddings @ rotation, LABELS, classes @ rotation),
        (embeddings, LABELS.int(), classes),
    ]:
        assert float(loss(*changed)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [*ALL, *(partial(loss, scale=1000.0) for loss in (arcface, cosface, proxy_anchor))])
def test_at_the_prototype_opposite_and_at_zero_value_and_gradient_stay_finite(loss: Loss, dtype: torch.dtype) -> None:
    """The sine of the angle has an infinite slope in the cosine there."""
    embeddings = torch.tensor([[0.6, 0.8], [-0.6, -0.8], [0.0, 0.0], [0.28, 0.96], [3.0, 1.0]], dtype=dtype)
    classes = torch.tensor([[0.6, 0.8], [0.28, 0.96], [0.0, 0.0], [-3.0, -1.0]], dtype=dtype)
    embeddings.requires_grad_()
    classes.requires_grad_()
    value = loss(embeddings, torch.tensor([0, 0, 1, 1, 3]), classes)
    value.backward()
    assert bool(value.isfinite())
    for tensor in (embeddings, classes):
        assert tensor.grad is not None
        assert bool(tensor.grad.isfinite().all())


def test_near_the_prototype_arcface_pulls_no_harder_than_the_scale() -> None:
    """In float32 the slope of the sine and the rounded cosine must not multiply to something wild."""
    prototypes = torch.nn.functional.normalize(drawn(3, 64).float())
    for nudge in (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
        embeddings = (prototypes + nudge * drawn(3, 64, seed=1).float()).requires_grad_()
        arcface(embeddings, torch.arange(3), -prototypes.roll(1, 0) - prototypes, scale=64.0).backward()
        assert embeddings.grad is not None
        assert float(embeddings.grad.norm(dim=1).max()) <= 2 * 64.0 / 3


def test_on_its_prototype_an_item_pays_the_margin_exactly() -> None:
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    value = arcface(prototypes[:1], torch.tensor([0]), prototypes, margin=0.5, scale=2.0)
    assert float(value) == pytest.approx(math.log1p(math.exp(-2 * math.cos(0.5))), rel=1e-6)


@pytest.mark.parametrize("loss", ALL)
def test_one_item_is_enough(loss: Loss) -> None:
    assert bool(loss(drawn(1, 3), torch.tensor([1]), drawn(2, 3, seed=1)).isfinite())


@pytest.mark.parametrize("loss", ALL)
def test_half_precision_vectors_are_compared_in_single_precision(loss: Loss) -> None:
    embeddings, classes = drawn(6, 32).bfloat16(), drawn(5, 32, seed=1).bfloat16()
    exact = float(loss(embeddings.double(), LABELS, classes.double()))
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(embeddings, LABELS, classes)
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("loss", ALL)
def test_what_does_not_fit_is_refused(loss: Loss) -> None:
    classes = drawn(5, 3, seed=1)
    with pytest.raises(ValueError, match=r"got \(6, 4\), \(6,\) and \(5, 3\)"):
        loss(drawn(6, 4), LABELS, classes)
    with pytest.raises(ValueError, match=r"got \(6, 3\), \(5,\) and \(5, 3\)"):
        loss(drawn(6, 3), LABELS[:5], classes)
    with pytest.raises(ValueError, match="no embeddings"):
        loss(drawn(0, 3), LABELS[:0], classes)
    for labels in (LABELS + 1, LABELS - 1, LABELS.double()):
        with pytest.raises(ValueError, match="labels must be integers, 0 to 4 for 5 "):
            loss(drawn(6, 3), labels, classes)


def test_proxy_nca_without_the_own_proxy_needs_another() -> None:
    with pytest.raises(ValueError, match="one proxy only"):
        proxy_nca_of_2017(drawn(2, 3), torch.zeros(2, dtype=torch.long), drawn(1, 3))
