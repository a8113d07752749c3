"""CLIP and SigLIP over towers that are given."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from by_hand import cosine, mean, softmax_loss
from made_methods import drawn
from torch import nn

from nearfar.learn.encoders.projection import build_projection
from nearfar.learn.methods.clip import Clip
from nearfar.learn.methods.joint import Joint, JointBatch
from nearfar.learn.methods.siglip import SigLip

ONE_STREAM = (("image", "text"),)


def made(kind: type[Joint], seed: int = 0, **keys: Any) -> Any:
    torch.manual_seed(seed)
    towers = {"image": nn.Linear(7, 5), "text": nn.EmbeddingBag(20, 4)}
    projections = {"image": build_projection("linear", 5, 3), "text": build_projection("mlp", 4, 3)}
    return kind(towers, projections, ONE_STREAM, **keys).double()


def made_pairs(
    n: int = 5, seed: int = 0, image_ids: list[int] | None = None, text_ids: list[int] | None = None
) -> JointBatch:
    source = torch.Generator().manual_seed(seed)
    nobody = [-1] * n
    return JointBatch.of_two(
        ("image", drawn(n, 7, seed=seed)),
        ("text", torch.randint(20, (n, 6), generator=source)),
        left_ids=torch.tensor(image_ids or nobody),
        right_ids=torch.tensor(text_ids or nobody),
    )


IDS = {"image_ids": [4, 1, 2, 4, 3], "text_ids": [0, 0, 1, -1, -1]}
SHARED = {(0, 3), (3, 0), (0, 1), (1, 0)}
"""The pairs of different places that share a picture or a text by `IDS`."""


@pytest.mark.parametrize("kind", [Clip, SigLip])
def test_each_side_goes_through_its_tower_and_map(kind: type[Joint]) -> None:
    method, batch = made(kind), made_pairs()
    embedded = method.embed(batch)
    for found, tower in ((embedded.left, "image"), (embedded.right, "text")):
        vectors = nn.functional.normalize(method.towers[tower](batch.inputs[tower]))
        torch.testing.assert_close(found, method.projections[tower](vectors))
    method.loss(embedded).backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


@pytest.mark.parametrize(("ids", "shared"), [({}, set()), (IDS, SHARED)])
def test_clip_is_cross_entropy_both_ways(ids: dict[str, list[int]], shared: set[tuple[int, int]]) -> None:
    method = made(Clip, temperature=0.2)
    embedded = method.embed(made_pairs(**ids))
    images, texts = embedded.left.detach(), embedded.right.detach()

    def one_way(seeking: torch.Tensor, sought: torch.Tensor) -> float:
        return mean(
            softmax_loss(s, sought[i], [o for j, o in enumerate(sought) if j != i and (i, j) not in shared], 0.2)
            for i, s in enumerate(seeking)
        )

    expected = (one_way(images, texts) + one_way(texts, images)) / 2
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("ids", "shared"), [({}, set()), (IDS, SHARED)])
def test_siglip_is_algorithm_1(ids: dict[str, list[int]], shared: set[tuple[int, int]]) -> None:
    method = made(SigLip, temperature=0.2, bias=-1.5)
    embedded = method.embed(made_pairs(**ids))
    total = 0.0
    for i, image in enumerate(embedded.left.detach()):
        for j, text in enumerate(embedded.right.detach()):
            if (i, j) not in shared:
                logit = cosine(image, text) / 0.2 - 1.5
                total += math.log(1 + math.exp(-logit if i == j else logit))
    assert float(method.loss(embedded).detach()) == pytest.approx(total / 5, rel=1e-7)


def test_a_learned_temperature_is_brought_back_into_its_bounds_and_can_leave_them_again() -> None:
    for kind, coldest in ((Clip, 0.01), (SigLip, 0.005)):
        method = made(kind)
        for value, kept in ((1e-5, coldest), (9.0, 1.0), (0.3, 0.3)):
            with torch.no_grad():
                method.log_temperature.fill_(math.log(value))
            method.follow(1, 10)
            assert float(method.temperature.detach()) == pytest.approx(kept)
            method.zero_grad()
            method.loss(method.embed(made_pairs())).backward()
            assert float(method.log_temperature.grad) != 0.0
        with pytest.raises(ValueError, match="temperature is 2"):
            made(kind, temperature=2)
    assert not made(Clip, learned=False).log_temperature.requires_grad


@pytest.mark.parametrize("kind", [Clip, SigLip])
def test_a_restored_run_goes_on_to_the_bit(kind: type[Joint]) -> None:
    unbroken, restored = made(kind), made(kind, seed=1)
    optimisers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (unbroken, restored)]

    def step(method: Any, optimiser: torch.optim.Optimizer, number: int) -> float:
        method.follow(number, 10)
        loss = method.loss(method.embed(made_pairs(seed=number)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    step(unbroken, optimisers[0], 0)
    saved = io.BytesIO()
    torch.save(unbroken.state_dict(), saved)
    saved.seek(0)
    restored.load_state_dict(torch.load(saved, weights_only=True))
    for number in range(1, 4):
        assert step(unbroken, optimisers[0], number) == step(restored, optimisers[1], number)
