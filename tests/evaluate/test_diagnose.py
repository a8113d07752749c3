from __future__ import annotations

import copy
import re
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from nearfar.evaluate import Health, diagnose, measure_health
from nearfar.learn.losses import byol, nt_xent, simsiam, vicreg

STEPS, EVERY, BATCH = 120, 15, 192


@cache
def digits() -> Tensor:
    return torch.tensor(load_digits().images / 16, dtype=torch.float32)[:, None]


def view(pictures: Tensor, rng: torch.Generator, strength: float) -> Tensor:
    """Turned, scaled, shifted and noisy; a strength of 0 leaves them as they are, 1 is what learns well."""
    scale, angle, x, y = (strength * (2 * torch.rand(4, len(pictures), generator=rng) - 1)).unbind()
    scale, angle, x, y = 1 + 0.2 * scale, 0.3 * angle, 0.35 * x, 0.35 * y
    rows = [scale * angle.cos(), -scale * angle.sin(), x, scale * angle.sin(), scale * angle.cos(), y]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(pictures.shape), align_corners=False)
    noise = strength * 0.1 * torch.randn(pictures.shape, generator=rng)
    return (F.grid_sample(pictures, grid, align_corners=False) + noise).clamp(0, 1)


def encoder(*, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after, stride in ((1, 16, 1), (16, 32, 2), (32, 48, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, 1), *([nn.BatchNorm2d(after)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def head(before: int, *, norm: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, 64), nn.BatchNorm1d(64) if norm else nn.Identity(), nn.ReLU(), nn.Linear(64, 32)
    )


def train(
    objective: str, *, rate: float, strength: float = 1.0, norm: bool = True, unrelated: bool = False, seed: int = 0
):
    """Health of features and projections, every few steps, while something small learns digits."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    encode, project, predict = encoder(norm=norm), head(48, norm=norm), head(32, norm=norm)
    slow = copy.deepcopy(nn.Sequential(encode, project))
    parameters = [*encode.parameters(), *project.parameters(), *predict.parameters()]
    optimiser = torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=1e-4)
    features, compared = [], []
    for step in range(STEPS + 1):
        pictures = [digits()[torch.randperm(len(digits()), generator=rng)[:BATCH]] for _ in range(2)]
        views = torch.cat([view(pictures[i * unrelated], rng, strength) for i in range(2)])
        made = encode(views)
        projected = project(made)
        if step % EVERY == 0:
            for history, vectors in ((features, made), (compared, projected)):
                in_views = torch.stack(vectors.detach().chunk(2), dim=1)
                history.append(measure_health(in_views.numpy(), step))
        a, b = projected.chunk(2)
        if objective == "simclr":
            loss = nt_xent(a, b, temperature=0.5)
        elif objective == "vicreg":
            loss = vicreg(a, b)
        elif objective == "vicreg without variance":
            loss = vicreg(a, b, variance=0.0, covariance=0.0)
        elif objective == "simsiam":
            loss = simsiam(*predict(projected).chunk(2), a, b)
        elif objective == "simsiam without predictor":
            loss = simsiam(a, b, a, b)
        elif objective == "simsiam without stopped gradient":
            loss = -F.cosine_similarity(a, b).mean()
        elif objective == "byol":
            with torch.no_grad():
                targets = slow(views).chunk(2)
            predicted = predict(projected).chunk(2)
            loss = byol(predicted[0], targets[1]) + byol(predicted[1], targets[0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for old, new in zip(slow.parameters(), [*encode.parameters(), *project.parameters()], strict=True):
                old.lerp_(new, 0.01)
    return features, compared


def said(features: list[Health], compared: list[Health], method: str) -> list[str | None]:
    """What is said after each measurement, as a run asks."""
    return [
        diagnose(features[:end], compared[:end], method=method, total_steps=STEPS)
        for end in range(1, len(features) + 1)
    ]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.recipe
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("method", "rate"), [("simclr", 0.1), ("simsiam", 0.1), ("byol", 0.1), ("vicreg", 0.01)])
def test_a_healthy_run_is_left_in_peace(method, rate, seed):
    assert said(*train(method, rate=rate, seed=seed), method) == [None] * (STEPS // EVERY + 1)


@pytest.mark.recipe
@pytest.mark.parametrize(
    ("objective", "settings", "expected"),
    [
        (
            "simsiam without predictor",
            {"rate": 0.1},
            r"^Embeddings have collapsed: .* keep the predictor and the stopped",
        ),
        ("simsiam without stopped gradient", {"rate": 0.1}, r"^Embeddings have collapsed"),
        (
            "simsiam without stopped gradient",
            {"rate": 0.1, "norm": False},
            r"^All embeddings are almost equal, and still are",
        ),
        (
            "vicreg without variance",
            {"rate": 0.01},
            r"^Embeddings (have collapsed|are collapsing).* raise method.variance",
        ),
        ("simclr", {"rate": 1e-6}, r"^Nothing has been learned .* raise train.learning_rate"),
        ("simclr", {"rate": 30.0, "norm": False}, r"^All embeddings are almost equal.* lower train.learning_rate"),
        ("simclr", {"rate": 1e25, "norm": False}, r"^Embeddings are no longer finite"),
        ("simclr", {"rate": 0.1, "strength": 0.0}, r"^Before any training 100% of the views .* too weak"),
        ("simclr", {"rate": 0.1, "unrelated": True}, r"two views of a picture are as far apart .* too strong"),
    ],
)
def test_a_broken_run_is_named_with_its_cause(objective, settings, expected):
    method = objective.split()[0]
    found = [sentence for sentence in said(*train(objective, **settings), method) if sentence]
    assert found
    assert re.search(expected, found[0])


def made(step: int, *, std=0.9, rank=30.0, alignment=0.4, distance=2.0, uniformity=-2.0, recall=0.3) -> Health:
    return Health(step, std, rank, alignment, distance, uniformity, recall, 1 / 256)


def history(**columns: list[float]) -> list[Health]:
    first = made(0, std=0.7, rank=60.0, alignment=1.4, distance=1.5, recall=0.1)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [first, *(made(50 * (i + 1), **row) for i, row in enumerate(rows))]


def ask(compared: list[Health], method: str = "simclr", total_steps: int = 1000) -> str | None:
    healthy = history(std=[0.9] * (len(compared) - 1))
    return diagnose(healthy, compared, method=method, total_steps=total_steps)


def test_lost_dimensions_are_named():
    lost = ask(history(rank=[9.0, 3.0, 2.9]))
    assert lost is not None
    assert "effective rank is 2.9, was 60.0 (dimensional collapse)" in lost
    assert "method.temperature" in lost
    assert "method.covariance" in (ask(history(rank=[9.0, 3.0, 2.9]), "vicreg") or "")
    assert ask(history(rank=[2.0, 3.0, 4.0])) is None  # they come back
    assert ask(history(rank=[9.0, 9.0, 2.9])) is None  # once is no loss
    assert ask(history(rank=[9.0, 3.0, 2.9]), "sup_con") is None  # as many as there are labels


def test_a_dip_is_no_collapse():
    assert ask(history(std=[0.25, 0.4, 0.5])) is None
    assert ask(history(std=[0.09, 0.2, 0.4])) is None
    assert ask(history(std=[0.25, 0.2, 0.15])) is not None
    assert ask(history(std=[0.9, 0.09, 0.08])) is not None


def test_nothing_but_divergence_is_said_of_the_first_steps():
    start = made(0)
    dead = [start, *(made(step, std=0.0, rank=1.0) for step in (10, 20, 30, 40))]
    assert diagnose(dead, dead, method="simclr", total_steps=1000) is None
    assert diagnose([*dead, made(50, std=0.0, rank=1.0)], method="simclr", total_steps=1000) is not None
    broken = measure_health(np.full((4, 2, 3), np.nan, np.float32), 10)
    assert "no longer finite at step 10" in (diagnose([start, broken], method="simclr", total_steps=1000) or "")
    assert diagnose([], method="simclr", total_steps=10) is None


def test_slow_learning_is_given_a_tenth_of_the_run():
    still = [made(step) for step in (0, 50, 100, 150)]
    assert diagnose(still, method="byol", total_steps=10_000) is None
    assert "Nothing has been learned by step 150" in (diagnose(still, method="byol", total_steps=1000) or "")


def test_methods_that_embed_one_view_are_judged_by_the_rest():
    nan = float("nan")
    moving = [made(50 * i, std=0.5 + 0.1 * i, alignment=nan, recall=nan) for i in range(4)]
    assert diagnose(moving, moving, method="moco_v2", total_steps=100) is None
    fallen = [*moving, *(made(step, std=0.01, alignment=nan, recall=nan) for step in (200, 250))]
    assert "have collapsed" in (diagnose(moving, fallen, method="moco_v2", total_steps=100) or "")


@pytest.mark.parametrize("method", ["classifier", "arc_face"])
def test_a_classifier_is_not_compared_with_what_it_is_not(method):
    still = [made(step, std=0.01) for step in (0, 50, 100, 150)]
    assert diagnose(still, still, method=method, total_steps=200) is None
