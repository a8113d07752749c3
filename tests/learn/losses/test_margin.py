"""Margin loss against its formula on the drawn negatives, and the draws against the density they should follow."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.losses.margin import distance_weighted_negatives, margin_loss

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apart(left: list[float], right: list[float]) -> float:
    """Euclidean distance on the unit sphere."""
    unit_left, unit_right = ([x / math.hypot(*vector) for x in vector] for vector in (left, right))
    return math.dist(unit_left, unit_right)


def only_negative_of_each(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Anchors that have one candidate of another label each, so that the draw is no matter of chance."""
    embeddings, candidates = drawn(n, 4), drawn(5, 4, seed=1)
    return embeddings, torch.zeros(n, dtype=torch.long), candidates, torch.tensor([0, 0, 1, 0, 0])


@pytest.mark.parametrize(("margin", "boundary"), [(0.2, 1.2), (0.5, 0.9), (1.0, 1.4), (0.1, 0.1)])
def test_with_one_negative_to_draw_it_is_the_formula(margin: float, boundary: float) -> None:
    embeddings, labels, candidates, other_labels = only_negative_of_each(3)
    loss = margin_loss(
        embeddings,
        labels,
        generator=seeded(),
        margin=margin,
        boundary=boundary,
        candidates=candidates,
        candidate_labels=other_labels,
    )
    terms = []
    for anchor in embeddings.tolist():
        for j, other in enumerate(candidates.tolist()):
            if other_labels[j] == 0:
                terms.append(max(0.0, margin + apart(anchor, other) - boundary))
                terms.append(max(0.0, margin + boundary - apart(anchor, candidates[2].tolist())))
    terms = [term for term in terms if term > 0]
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_within_a_batch_it_is_the_formula_for_one_of_the_possible_draws() -> None:
    """Two classes of two: each of the four anchors has one positive pair and draws one of two negatives."""
    embeddings, labels = drawn(4, 3, seed=5), torch.tensor([0, 0, 1, 1])
    rows = embeddings.tolist()
    possible = set()
    for draws in range(16):
        terms = []
        for i in range(4):
            negative = (2 - i // 2 * 2) + (draws >> i & 1)
            terms.append(max(0.0, 0.5 + apart(rows[i], rows[i ^ 1]) - 1.2))
            terms.append(max(0.0, 0.5 + 1.2 - apart(rows[i], rows[negative])))
        terms = [term for term in terms if term > 0]
        possible.add(round(sum(terms) / len(terms), 9))
    found = {
        round(float(margin_loss(embeddings, labels, generator=seeded(seed), margin=0.5, boundary=1.2)), 9)
        for seed in range(40)
    }
    assert len(found) > 1
    assert found <= possible


def test_each_positive_pair_brings_one_negative() -> None:
    """All on one circle point but the negatives opposite: every hinge is known, so the mean counts the draws."""
    east, north = [1.0, 0.0], [0.0, 1.0]
    embeddings = torch.tensor([east, east, east, north, north], dtype=torch.float64)
    loss = margin_loss(embeddings, torch.tensor([0, 0, 0, 1, 1]), generator=seeded(), margin=1.0, boundary=0.75)
    # 3 anchors x 2 positives and 2 x 1, each costing 1 - 0.75, and as many negatives at sqrt(2) costing 1.75 - sqrt(2).
    assert float(loss) == pytest.approx((8 * 0.25 + 8 * (1.75 - math.sqrt(2))) / 16)


def test_anchors_with_different_counts_of_positives_weigh_their_pairs_alike() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    candidates = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    loss = margin_loss(
        embeddings,
        torch.tensor([0, 1]),
        generator=seeded(),
        margin=1.0,
        boundary=torch.tensor([0.75, 0.5], dtype=torch.float64),
        candidates=candidates,
        candidate_labels=torch.tensor([0, 0, 0, 1]),
    )
    expected = (3 * 0.25 + 3 * (1.75 - math.sqrt(2)) + 0.5 + (1.5 - math.sqrt(2))) / 8
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize("boundary", [torch.tensor(1.1), torch.tensor([1.0, 1.1, 1.2, 1.3])])
def test_its_gradients_are_those_of_the_formula_also_for_the_boundary(boundary: Tensor) -> None:
    def loss(embeddings: Tensor, limit: Tensor) -> Tensor:
        return margin_loss(embeddings, LABELS, generator=seeded(), margin=0.5, boundary=limit)

    assert torch.autograd.gradcheck(loss, (drawn(7, 4).requires_grad_(), boundary.double().requires_grad_()))


def test_only_the_boundaries_of_labels_present_are_moved() -> None:
    boundary = torch.full((6,), 0.1, requires_grad=True)  # so near that only positives cost anything
    margin_loss(drawn(7, 4), LABELS, generator=seeded(), boundary=boundary).backward()
    assert boundary.grad is not None
    assert bool((boundary.grad[:2] < 0).all())
    assert not boundary.grad[2:].any()  # labels 2 and 3 have no positive


def test_neither_length_nor_rotation_nor_names_count() -> None:
    embeddings = drawn(7, 4)
    rotation, _ = torch.linalg.qr(drawn(4, 4, seed=3))
    loss = float(margin_loss(embeddings, LABELS, generator=seeded()))
    for changed, labels in [
        (embeddings * torch.linspace(0.1, 50, 7).unsqueeze(1), LABELS),
        (embeddings @ rotation, LABELS),
        (embeddings, 1000 - LABELS * 17),
    ]:
        assert float(margin_loss(changed, labels, generator=seeded())) == pytest.approx(loss, rel=1e-9)


def test_order_does_not_count_where_nothing_is_left_to_chance() -> None:
    embeddings, labels, candidates, other_labels = only_negative_of_each(4)
    order, other_order = torch.tensor([2, 0, 3, 1]), torch.tensor([4, 2, 0, 1, 3])
    loss = margin_loss(embeddings, labels, generator=seeded(), candidates=candidates, candidate_labels=other_labels)
    permuted = margin_loss(
        embeddings[order],
        labels[order],
        generator=seeded(1),
        candidates=candidates[other_order],
        candidate_labels=other_labels[other_order],
    )
    assert float(permuted) == pytest.approx(float(loss), rel=1e-12)


def test_the_same_seed_draws_the_same_and_global_randomness_is_left_alone() -> None:
    embeddings, before = drawn(7, 4), torch.get_rng_state()
    first, again = (float(margin_loss(embeddings, LABELS, generator=seeded(3), margin=0.6)) for _ in range(2))
    assert first == again
    assert torch.equal(torch.get_rng_state(), before)
    assert len({float(margin_loss(embeddings, LABELS, generator=seeded(s), margin=0.6)) for s in range(9)}) > 1


def test_negatives_that_cost_nothing_are_not_drawn_while_there_are_others() -> None:
    """At dimension 3 the density grows with distance up to 2, so the far one would be drawn about one time in three."""
    embeddings = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    candidates = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-1.0, 0.0, 0.0]])
    for seed in range(30):
        loss = margin_loss(
            embeddings,
            torch.tensor([0, 0]),
            generator=seeded(seed),
            candidates=candidates,
            candidate_labels=torch.tensor([0, 1, 1]),
        )
        assert float(loss) == pytest.approx(1.4 - math.sqrt(0.8))


def test_a_batch_that_is_right_costs_nothing_and_moves_nothing() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    loss = margin_loss(embeddings, torch.tensor([0, 0, 1, 1]), generator=seeded())
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert embeddings.grad is not None
    assert not embeddings.grad.any()


@pytest.mark.parametrize("dim", [2, 3, 4, 512])
def test_coinciding_opposite_and_zero_vectors_leave_value_and_gradient_finite(dim: int) -> None:
    embeddings = torch.zeros(5, dim)
    embeddings[:2, 0], embeddings[2, 0], embeddings[3, 1] = 1.0, -1.0, 1.0
    embeddings.requires_grad_()
    loss = margin_loss(embeddings, torch.tensor([0, 1, 0, 1, 2]), generator=seeded(), margin=2.0)
    loss.backward()
    assert bool(loss.isfinite())
    assert embeddings.grad is not None
    assert bool(embeddings.grad.isfinite().all())


def test_half_precision_vectors_are_compared_in_single_precision() -> None:
    embeddings, labels, candidates, other_labels = only_negative_of_each(3)
    embeddings, candidates = embeddings.bfloat16(), candidates.bfloat16()
    others = {"candidate_labels": other_labels, "generator": seeded()}
    exact = margin_loss(embeddings.double(), labels, candidates=candidates.double(), **others)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        loss = margin_loss(embeddings, labels, candidates=candidates, **others)  # type: ignore[arg-type]
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(exact), rel=1e-5)


def density(distance: float, dim: int) -> float:
    return float(distance ** (dim - 2) * (1 - distance**2 / 4) ** ((dim - 3) / 2))


@pytest.mark.parametrize("dim", [2, 3, 8, 64])
@pytest.mark.parametrize("cutoff", [0.5, 1.1])
def test_draws_follow_the_inverse_density_up_to_the_cutoff(dim: int, cutoff: float) -> None:
    distances, draws = [0.2, 0.7, 1.1, 1.3, 1.35, 1.4, 1.9, 1.0], 20_000
    negative = torch.tensor([True] * 7 + [False])
    index = distance_weighted_negatives(
        torch.tensor([distances, distances[::-1]]),
        torch.stack([negative, negative.flip(0)]),
        dim,
        seeded(),
        draws=draws,
        cutoff=cutoff,
    )
    weights = [min(1 / density(d, dim), 1 / density(cutoff, dim)) for d in distances[:7]] + [0.0]
    for row in (index[0], 7 - index[1]):
        counted = Counter(row.tolist())
        for column, weight in enumerate(weights):
            share = weight / sum(weights)
            spread = math.sqrt(share * (1 - share) / draws)
            assert counted[column] / draws == pytest.approx(share, abs=5 * spread + 1e-12)


def test_uniform_points_are_drawn_evenly_over_distance() -> None:
    """What the weighting is for: of points spread over a sphere, drawn distances are uniform between the extremes."""
    points = F.normalize(drawn(4000, 8), dim=1)
    distances = torch.cdist(points[:1], points)
    between = (distances > 0.8) & (distances < 1.7)
    index = distance_weighted_negatives(distances, between, 8, seeded(), draws=20_000)
    found = torch.histc(distances[0, index[0]], bins=3, min=0.8, max=1.7) / 20_000
    plain = torch.histc(distances[between], bins=3, min=0.8, max=1.7) / between.sum()
    assert found.tolist() == pytest.approx([1 / 3] * 3, abs=0.05)
    assert float(plain[0]) < 0.15  # so that the above is not what any draw would give


def test_weights_beyond_the_range_of_float64_are_still_told_apart() -> None:
    """At dimension 2048 the density at 0.6 is about 1e-440."""
    distances = torch.tensor([[0.6, 0.61, 1.4]], dtype=torch.float64)
    index = distance_weighted_negatives(distances, torch.ones(1, 3, dtype=torch.bool), 2048, seeded(), draws=100)
    assert index.unique().tolist() == [0]
    last = distance_weighted_negatives(distances, torch.tensor([[False, False, True]]), 2048, seeded())
    assert last.tolist() == [[2]]


def test_what_does_not_fit_is_refused() -> None:
    distances, all_of_them = drawn(2, 3).abs(), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(3, 2\)"):
        distance_weighted_negatives(distances, all_of_them.T, 8, seeded())
    with pytest.raises(ValueError, match="no negative to draw"):
        distance_weighted_negatives(distances, torch.tensor([[True] * 3, [False] * 3]), 8, seeded())
    for dim, draws, cutoff in [(1, 1, 0.5), (8, 0, 0.5), (8, 1, 0.0), (8, 1, 2.0)]:
        with pytest.raises(ValueError, match=f"dim {dim}, draws {draws}, cutoff {cutoff}"):
            distance_weighted_negatives(distances, all_of_them, dim, seeded(), draws=draws, cutoff=cutoff)
    with pytest.raises(ValueError, match="labels must be 0 to 2"):
        margin_loss(drawn(7, 4), LABELS * 3, generator=seeded(), boundary=torch.ones(3))
    with pytest.raises(ValueError, match=r"got \(2, 2\)"):
        margin_loss(drawn(7, 4), LABELS, generator=seeded(), boundary=torch.ones(2, 2))
    for labels, message in [(torch.arange(7), "two items of an identity"), (torch.zeros(7), "two identities")]:
        with pytest.raises(ValueError, match=message):
            margin_loss(drawn(7, 4), labels, generator=seeded())
    with pytest.raises(ValueError, match="two items of an identity"):
        margin_loss(drawn(1, 4), LABELS[:1], generator=seeded())
