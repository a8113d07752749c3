"""ArcFace and triplets against the formulas of their papers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from by_hand import mean
from made_methods import made_batch, made_method

from nearfar.errors import RunError

LABELS = [0, 1, 0, 2, 2, 1]


@pytest.mark.parametrize("margin", [0.0, 0.2, 0.5])
def test_arc_face_is_eq_3(margin: float) -> None:
    method = made_method("arc_face", margin=margin, scale=10.0)
    embedded = method.embed(made_batch(labels=LABELS))
    assert embedded.features.shape == (6, 1, 10)
    cosines = (F.normalize(embedded.embeddings, dim=1) @ F.normalize(method.directions, dim=1).T).detach()
    terms = []
    for row, label in zip(cosines, LABELS, strict=True):
        logits = [10 * math.cos(math.acos(c) + (margin if k == label else 0.0)) for k, c in enumerate(row.tolist())]
        terms.append(math.log(sum(map(math.exp, logits))) - logits[label])
    assert float(method.loss(embedded).detach()) == pytest.approx(mean(terms), rel=1e-9)


def test_arc_face_learns_from_those_that_have_a_label() -> None:
    method = made_method("arc_face")
    embedded = method.embed(made_batch(labels=[0, -1, 2, -1, 1, -1]))
    some = type(embedded)(*(field[[0, 2, 4]] for field in embedded))
    torch.testing.assert_close(method.loss(embedded), method.loss(some))
    with pytest.raises(RunError, match="none of the 6 samples"):
        method.loss(method.embed(made_batch(labels=[-1] * 6)))


@pytest.mark.parametrize("margin", [None, 0.0, 0.4])
def test_triplets_are_the_hardest_of_the_batch(margin: float | None) -> None:
    method = made_method("triplet", margin=margin, mine="hard")
    embedded = method.embed(made_batch(labels=LABELS))
    units = F.normalize(embedded.embeddings, dim=1).detach()
    terms = []
    for i in range(6):
        apart = [float((units[i] - units[k]).norm()) for k in range(6)]
        own = max(apart[k] for k in range(6) if k != i and LABELS[k] == LABELS[i])
        other = min(apart[k] for k in range(6) if LABELS[k] != LABELS[i])
        violation = own - other + (margin or 0.0)
        terms.append(math.log1p(math.exp(violation)) if margin is None else max(0.0, violation))
    assert float(method.loss(embedded).detach()) == pytest.approx(mean(terms), rel=1e-9)


@pytest.mark.parametrize("margin", [0.1, 0.2])
def test_triplets_are_semi_hard_unless_others_are_asked_for(margin: float) -> None:
    method = made_method("triplet", margin=margin)
    embedded = method.embed(made_batch(labels=LABELS))
    units = F.normalize(embedded.embeddings, dim=1).detach()
    terms = []
    for i in range(6):
        apart = [float((units[i] - units[k]).norm()) for k in range(6)]
        others = sorted(apart[k] for k in range(6) if LABELS[k] != LABELS[i])
        for own in (apart[k] for k in range(6) if k != i and LABELS[k] == LABELS[i]):
            chosen = next((other for other in others if other > own), others[-1])
            terms.append(max(0.0, margin + own - chosen))
    assert float(method.loss(embedded).detach()) == pytest.approx(mean(terms), rel=1e-9)


def test_every_triplet_that_is_not_as_it_should_be() -> None:
    method = made_method("triplet", margin=0.4, mine="all")
    embedded = method.embed(made_batch(labels=LABELS))
    apart = torch.cdist(*2 * [F.normalize(embedded.embeddings, dim=1).detach()])
    hinges = [
        float(0.4 + apart[i, k] - apart[i, j])
        for i in range(6)
        for k in range(6)
        for j in range(6)
        if k != i and LABELS[k] == LABELS[i] != LABELS[j]
    ]
    assert float(method.loss(embedded).detach()) == pytest.approx(mean([h for h in hinges if h > 0]), rel=1e-6)


def test_a_sample_without_a_label_is_nobody_else() -> None:
    method = made_method("triplet")
    embedded = method.embed(made_batch(labels=[0, 0, 1, 1, -1, -1]))
    alone = embedded._replace(labels=torch.tensor([0, 0, 1, 1, 7, 8]))
    torch.testing.assert_close(method.loss(embedded), method.loss(alone))
