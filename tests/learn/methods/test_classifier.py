"""The classifier: pictures without a label, smoothing, and a frozen encoder that stays as it is."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from by_hand import mean
from made_methods import CLASSES, made_batch, made_method, step

from nearfar.errors import RunError


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_cross_entropy_over_those_with_a_label(smoothing: float) -> None:
    method = made_method("classifier", label_smoothing=smoothing)
    embedded = method.embed(made_batch(labels=[2, -1, 0, 1, -1, 2]))
    terms = []
    for logits, label in zip(embedded.logits.tolist(), embedded.labels.tolist(), strict=True):
        total = math.log(sum(math.exp(logit) for logit in logits))
        wanted = [smoothing / CLASSES + (1 - smoothing) * (place == label) for place in range(CLASSES)]
        if label >= 0:
            terms.append(sum(w * (total - logit) for w, logit in zip(wanted, logits, strict=True)))
    assert float(method.loss(embedded).detach()) == pytest.approx(mean(terms), rel=1e-6)


def test_a_batch_without_any_label_is_an_error_that_says_what_to_do() -> None:
    method = made_method("classifier")
    with pytest.raises(RunError, match="none of the 6 pictures of a batch has a label: leave pictures without one out"):
        method.loss(method.embed(made_batch(labels=[-1] * 6)))


def test_only_the_first_view_is_used() -> None:
    method, batch = made_method("classifier"), made_batch(views=2)
    with_one = method.embed(batch._replace(views=batch.views[:1]))
    assert all(torch.equal(*pair) for pair in zip(method.embed(batch), with_one, strict=True))


def test_a_frozen_encoder_stays_as_it_is_statistics_included() -> None:
    method = made_method("classifier", frozen=True, norm=True)
    before = copy.deepcopy(method.encoder.state_dict())
    head = method.head.weight.detach().clone()
    method.train()
    for number in range(3):
        step(method, number)
    assert all(torch.equal(value, before[name]) for name, value in method.encoder.state_dict().items())
    assert not torch.equal(method.head.weight, head)
    assert [name for name, p in method.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    assert method.training
    assert not any(module.training for module in method.encoder.modules())


def test_the_rate_of_the_encoder_can_be_read() -> None:
    assert made_method("classifier", encoder_rate=0.05).encoder_rate == 0.05
