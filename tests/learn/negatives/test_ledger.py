"""The ledger against a dense computation, pair by pair, and against the loss."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.learn.losses import Match, Negatives, info_nce
from nearfar.learn.negatives import Group, ledger

TEMPERATURE = 0.2


def made(n: int, sizes: dict[str, int], *, d: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, list[Group]]:
    """Anchors, positives, and groups whose rules overlap."""
    source = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Tensor:
        return torch.randn(count, d, generator=source) * 2

    def keys(*shape: int, high: int = 8) -> Tensor:
        return torch.randint(-1, high, shape, generator=source)

    anchors = draw(n)
    groups = [
        Group(name, draw(m), (("positive", Match(keys(n, 2), keys(m))), ("owner", Match(keys(n), keys(m)))))
        for name, m in sizes.items()
    ]
    return anchors, anchors + draw(n), groups


def cosine(left: Tensor, right: Tensor) -> float:
    return float(torch.cosine_similarity(left.double(), right.double(), dim=0))


def by_loop(anchors: Tensor, positives: Tensor, groups: list[Group], margin: float | None) -> dict[str, Any]:
    """The shares with sets and loops."""
    n = len(anchors)
    own = [cosine(a, p) for a, p in zip(anchors, positives, strict=True)]
    left: dict[str, list[list[float]]] = {}
    ignored: dict[str, dict[str, int]] = {}
    for name, vectors, rules in groups:
        left[name], ignored[name] = [], {reason: 0 for reason, _ in rules}
        if margin is not None:
            ignored[name]["margin"] = 0
        for i in range(n):
            cosines = []
            for j, vector in enumerate(vectors):
                similarity = cosine(anchors[i], vector)
                reasons = []
                for reason, match in rules:
                    wanted = set(match.anchors[i].reshape(-1).tolist()) - {-1}
                    if int(match.candidates[j]) in wanted:
                        reasons.append(reason)
                if margin is not None and similarity > own[i] + margin:
                    reasons.append("margin")
                if reasons:
                    ignored[name][reasons[0]] += 1
                else:
                    cosines.append(similarity)
            left[name].append(cosines)
    totals = [
        math.exp(own[i] / TEMPERATURE) + sum(math.exp(c / TEMPERATURE) for of in left.values() for c in of[i])
        for i in range(n)
    ]
    figures = {
        "negatives/positive/similarity": sum(own) / n,
        "negatives/positive/mass": sum(math.exp(own[i] / TEMPERATURE) / totals[i] for i in range(n)) / n,
    }
    for name, vectors, _ in groups:
        flat = [c for cosines in left[name] for c in cosines]
        figures[f"negatives/{name}/count"] = len(flat) / n
        figures[f"negatives/{name}/similarity"] = sum(flat) / len(flat)
        mass = sum(math.exp(c / TEMPERATURE) / totals[i] for i in range(n) for c in left[name][i])
        figures[f"negatives/{name}/mass"] = mass / n
        figures |= {
            f"negatives/{name}/ignored_{reason}": count / n / len(vectors) for reason, count in ignored[name].items()
        }
    return figures


@pytest.mark.parametrize("margin", [None, 0.1, -0.3])
def test_it_is_the_dense_computation(margin: float | None) -> None:
    anchors, positives, groups = made(7, {"batch": 7, "mined": 3, "queue": 40})
    found = ledger(anchors, positives, groups, temperature=TEMPERATURE, margin=margin)
    expected = by_loop(anchors, positives, groups, margin)
    assert found.figures().keys() == expected.keys()
    assert found.figures() == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert found.positive_mass + sum(share.mass for share in found.sources.values()) == pytest.approx(1.0, abs=1e-6)


def test_a_pair_that_two_rules_leave_out_counts_once_under_the_first() -> None:
    anchors, positives = torch.eye(2), torch.eye(2)
    everything = Match(torch.zeros(2, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    first = Match(torch.tensor([5, 6]), torch.tensor([5, 6, 7, 7]))
    group = Group("queue", torch.ones(4, 2), (("positive", first), ("owner", everything)))
    share = ledger(anchors, positives, [group], temperature=1.0, margin=-5.0).sources["queue"]
    assert share.ignored == {"positive": 0.25, "owner": 0.75, "margin": 0.0}
    assert share.count == 0.0
    assert share.mass == 0.0
    assert math.isnan(share.similarity)


def test_many_candidates_in_blocks_are_counted_exactly() -> None:
    n, m = 3, 10_000
    anchors, positives, groups = made(n, {"queue": m}, d=2)
    share = ledger(anchors, positives, groups, temperature=TEMPERATURE).sources["queue"]
    (_, positive), (_, owner) = groups[0].ignored
    assert share.count * n == int((~(positive.dense() | owner.dense())).sum())
    assert share.ignored["positive"] * n * m == pytest.approx(int(positive.dense().sum()))
    assert share.ignored["owner"] * n * m == pytest.approx(int((owner.dense() & ~positive.dense()).sum()))


@pytest.mark.parametrize("margin", [None, 0.05])
def test_the_positives_mass_is_that_of_the_loss(margin: float | None) -> None:
    """For one anchor the loss is minus the logarithm of it: the ledger leaves out what the loss leaves out."""
    anchors, positives, groups = made(1, {"queue": 9_000, "bank": 50})
    loss = info_nce(
        anchors,
        positives,
        torch.tensor([0]),
        temperature=TEMPERATURE,
        negatives=[Negatives(g.vectors, tuple(match for _, match in g.ignored)) for g in groups],
        margin=margin,
    )
    found = ledger(anchors, positives, groups, temperature=torch.tensor(TEMPERATURE), margin=margin)
    assert found.positive_mass == pytest.approx(math.exp(-float(loss)), rel=1e-5)


def test_of_many_anchors_some_are_looked_at_evenly() -> None:
    """Anchor i of n has i negatives, so the mean count says which were looked at."""
    n = 101
    later = torch.arange(n).expand(n, n).triu()
    later[torch.ones(n, n).tril(-1).bool()] = -1
    group = Group("batch", torch.ones(n, 2), (("positive", Match(later, torch.arange(n))),))
    anchors = torch.ones(n, 2)
    for at_most, expected in ((1, 0), (2, 50), (3, 50), (5, 50), (256, 50)):
        share = ledger(anchors, anchors, [group], temperature=1.0, at_most=at_most).sources["batch"]
        assert share.count == expected


def test_it_leaves_no_gradient_and_takes_an_empty_source() -> None:
    anchors, positives, groups = made(4, {"batch": 4})
    anchors.requires_grad_()
    groups.append(Group("queue", torch.zeros(0, 6)))
    found = ledger(anchors, positives, groups, temperature=TEMPERATURE)
    assert found.sources["queue"].count == 0.0
    assert found.sources["queue"].mass == 0.0
    assert all(isinstance(value, float) for value in found.figures().values())
    assert anchors.grad is None
    with pytest.raises(ValueError, match="two sources have the same name: batch, batch"):
        ledger(anchors, positives, [groups[0], groups[0]], temperature=TEMPERATURE)
