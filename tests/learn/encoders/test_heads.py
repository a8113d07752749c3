"""Heads: the layers that papers name, in their order, and prototypes against plain cosines."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nearfar.learn.encoders.heads import Prototypes, dense_mlp, mlp


def _layers(head: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in head]


def test_the_stacks_of_the_papers() -> None:
    assert _layers(mlp((8, 16, 4))) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert _layers(mlp((8, 16, 4), norm="none")) == ["Linear", "ReLU", "Linear"]
    assert _layers(mlp((8, 4))) == ["Linear"]
    simsiam = mlp((8, 16, 16, 16), last_norm=True)
    assert _layers(simsiam) == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert simsiam[-1].weight is None
    assert mlp((8, 16), last_norm=True, last_affine=True)[-1].weight is not None
    assert simsiam(torch.randn(5, 8)).shape == (5, 16)


def test_no_bias_where_a_norm_takes_it_out() -> None:
    def biases(head: nn.Sequential) -> list[bool]:
        return [layer.bias is not None for layer in head if isinstance(layer, nn.Linear)]

    assert biases(mlp((8, 16, 4))) == [False, True]
    assert biases(mlp((8, 16, 4), norm="none")) == [True, True]
    assert biases(mlp((8, 16, 4), last_norm=True)) == [False, False]
    assert biases(mlp((8, 16, 4), last_bias=False)) == [False, False]


def test_without_norm_rows_do_not_see_each_other() -> None:
    head, rows = mlp((8, 16, 4), norm="none"), torch.randn(6, 8)
    torch.testing.assert_close(torch.cat([head(part) for part in rows.split([1, 5])]), head(rows))


def test_a_dense_head_is_the_same_at_every_place() -> None:
    head, maps = dense_mlp((6, 12, 5)), torch.randn(2, 6, 3, 4)
    out = head(maps)
    assert out.shape == (2, 5, 3, 4)
    torch.testing.assert_close(head(maps[:, :, 1:2, 2:3]), out[:, :, 1:2, 2:3])
    assert not torch.allclose(head(maps), head(-maps))


def test_prototypes_give_cosines_whatever_the_lengths() -> None:
    prototypes, vectors = Prototypes(6, 10), torch.randn(4, 6)
    scores = prototypes(vectors)
    assert scores.shape == (4, 10)
    for i, vector in enumerate(vectors):
        expected = F.cosine_similarity(vector[None], prototypes.weight.detach(), dim=1)
        torch.testing.assert_close(scores[i].detach(), expected)
    before = prototypes.weight.detach().clone()
    with torch.no_grad():
        prototypes.weight.mul_(torch.rand(10, 1) + 0.5)
    torch.testing.assert_close(prototypes(3 * vectors), scores)
    assert not torch.equal(prototypes.weight, before)  # nothing writes unit length back
    prototypes(vectors).square().sum().backward()
    assert prototypes.weight.grad is not None
    # The gradient lies across each prototype: a step along it would change nothing but its length.
    across = (prototypes.weight.grad * prototypes.weight).sum(dim=1)
    torch.testing.assert_close(across, torch.zeros(10), atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [mlp, dense_mlp])
def test_one_number_is_no_layer(make: object) -> None:
    with pytest.raises(ValueError, match="at least two dims"):
        make((8,))  # type: ignore[operator]
    with pytest.raises(ValueError, match="rules out"):
        mlp((8, 4), norm="none", last_norm=True)
