"""Sampled softmax and calibrated binary cross-entropy against their formulas in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from nearfar.learn.losses import calibrated_bce, gbce_power, sampled, sampled_softmax

N, M, T, D = 7, 12, 5, 6


def problem(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    anchors, candidates, targets = (torch.randn(k, D, generator=generator, dtype=dtype) for k in (N, M, T))
    positive = torch.randint(T, (N, 2), generator=generator)
    positive[2, 1] = positive[4, 1] = -1
    weights = torch.rand(N, 2, generator=generator, dtype=dtype)
    left_out = torch.randint(-1, M, (N, 3), generator=generator)
    expected = torch.rand(M, generator=generator, dtype=dtype).log()
    return anchors, candidates, targets, positive, weights, left_out, expected


def by_formula(anchors, candidates, targets, positive, weights, left_out, expected):
    total, share = 0.0, 0.0
    for row in range(N):
        kept = [c for c in range(M) if c not in left_out[row].tolist()]
        negatives = [math.exp(float(anchors[row] @ candidates[c] - expected[c])) for c in kept]
        for slot in range(2):
            if positive[row, slot] >= 0:
                score = math.exp(float(anchors[row] @ targets[positive[row, slot]]))
                total -= float(weights[row, slot]) * math.log(score / (score + sum(negatives)))
                share += float(weights[row, slot])
    return total / share


def test_is_the_formula():
    *first, left_out, expected = problem()
    found = sampled_softmax(*first, left_out=left_out, log_expected=expected)
    assert float(found) == pytest.approx(by_formula(*first, left_out, expected), rel=1e-12)
    plain = sampled_softmax(*first, left_out=left_out)
    assert float(plain) == pytest.approx(by_formula(*first, left_out, torch.zeros(M)), rel=1e-12)


def test_blocks_change_nothing(monkeypatch):
    *first, left_out, expected = problem()
    leaves = [part.clone().requires_grad_() for part in first[:3]]
    results = []
    for size in (2**22, 2 * M):
        monkeypatch.setattr(sampled, "_SCORES_AT_A_TIME", size)
        loss = sampled_softmax(*leaves, *first[3:], left_out=left_out, log_expected=expected)
        results.append([loss, *torch.autograd.grad(loss, leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients():
    anchors, candidates, targets, positive, weights, left_out, expected = problem()
    inputs = [part.requires_grad_() for part in (anchors, candidates, targets)]

    def loss(*vectors):
        return sampled_softmax(*vectors, positive, weights, left_out=left_out, log_expected=expected)

    assert torch.autograd.gradcheck(loss, inputs)


def test_over_all_items_it_is_cross_entropy():
    anchors, table, *_ = problem()
    target = torch.arange(N)
    loss = sampled_softmax(anchors, table, table, target.unsqueeze(1), torch.ones(N, 1), left_out=target.unsqueeze(1))
    torch.testing.assert_close(loss, F.cross_entropy(anchors @ table.T, target))


def test_what_is_left_out_gets_no_gradient():
    anchors, candidates, targets, positive, weights, _, _ = problem()
    candidates.requires_grad_()
    everything = torch.arange(M).expand(N, M)
    loss = sampled_softmax(anchors, candidates, targets, positive, weights, left_out=everything)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, candidates)
    assert torch.isfinite(gradient).all()
    assert not gradient.any()


def test_a_sum_over_nothing_has_no_gradient():
    anchors, candidates, *_ = problem()
    leaves = [part.requires_grad_() for part in (anchors, candidates)]
    everything = torch.arange(M).expand(N, M)
    total = sampled.log_sum_exp(*leaves, everything).sum()
    assert all(not gradient.any() for gradient in torch.autograd.grad(total, leaves))


def test_the_correction_makes_a_sample_stand_for_all():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(400, D, generator=generator, dtype=torch.float64)
    anchors = torch.randn(3, D, generator=generator, dtype=torch.float64)
    chances = torch.rand(400, generator=generator, dtype=torch.float64) ** 3 + 0.01
    chances /= chances.sum()
    whole = sampled.log_sum_exp(anchors, table, torch.full((3, 1), -1)).exp()
    sums = []
    for _ in range(400):
        drawn = torch.multinomial(chances, 64, replacement=True, generator=generator)
        numbers, counts = torch.unique(drawn, return_counts=True)
        offset = (chances[numbers] * 64).log() - counts.log()
        scored = torch.cat([table[numbers], -offset.unsqueeze(1)], dim=1)
        sums.append(
            sampled.log_sum_exp(torch.cat([anchors, torch.ones(3, 1)], dim=1), scored, torch.full((3, 1), -1)).exp()
        )
    estimates = torch.stack(sums)
    error = estimates.std(dim=0) / math.sqrt(len(sums))
    assert ((estimates.mean(dim=0) - whole).abs() < 4 * error).all()
    # Without it the common ones would count more than they do.
    assert (error < 0.1 * whole).all()


def test_nothing_to_learn_is_no_loss():
    anchors, candidates, targets, positive, weights, left_out, _ = problem()
    assert float(sampled_softmax(anchors, candidates, targets, positive, 0 * weights, left_out=left_out)) == 0


def test_shapes_are_checked():
    anchors, candidates, targets, positive, weights, left_out, _ = problem()
    with pytest.raises(ValueError, match="shapes do not fit"):
        sampled_softmax(anchors, candidates[:, :3], targets, positive, weights, left_out=left_out)
    with pytest.raises(ValueError, match="none of them empty"):
        sampled_softmax(anchors, candidates[:0], targets, positive, weights, left_out=left_out)


def test_binary_cross_entropy_is_the_formula():
    generator = torch.Generator().manual_seed(1)
    good, bad = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4,), (4, 3)))
    weights, counted = torch.rand(4, generator=generator, dtype=torch.float64), torch.ones(4, 3, dtype=torch.bool)
    counted[1, 2] = counted[3, 0] = False
    total = 0.0
    for row in range(4):
        terms = [0.4 * math.log(1 / (1 + math.exp(-float(good[row]))))]
        terms += [math.log(1 - 1 / (1 + math.exp(-float(bad[row, k])))) for k in range(3) if counted[row, k]]
        total -= float(weights[row]) * sum(terms) / len(terms)
    found = calibrated_bce(good, bad, weights, counted=counted, power=0.4)
    assert float(found) == pytest.approx(total / float(weights.sum()), rel=1e-12)
    inputs = [part.requires_grad_() for part in (good, bad)]
    assert torch.autograd.gradcheck(
        lambda *scores: calibrated_bce(*scores, weights, counted=counted, power=0.4), inputs
    )


@pytest.mark.parametrize(("negatives", "items", "t", "beta"), [(256, 10_001, 0.0, 1.0), (256, 10_001, 1.0, 0.0256)])
def test_calibration_goes_from_none_to_the_rate_of_sampling(negatives, items, t, beta):
    assert gbce_power(negatives, items, t) == pytest.approx(beta)
    assert gbce_power(items, items, t) == pytest.approx(1.0)


def test_a_calibrated_optimum_has_the_probability_of_the_data():
    """With beta equal to the rate of sampling the score of least loss is the log-odds among all items."""
    share, items, negatives = 0.02, 1001, 100
    beta = gbce_power(negatives, items, 1.0)
    score = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([score], line_search_fn="strong_wolfe", max_iter=100)

    def closure():
        # Of all places a share has the item as its positive; the others draw it with the rate of sampling.
        optimiser.zero_grad()
        rate = negatives / (items - 1)
        loss = share * beta * F.softplus(-score) + (1 - share) * rate * F.softplus(score)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert float(score.detach()) == pytest.approx(math.log(share / (1 - share)), abs=1e-2)
