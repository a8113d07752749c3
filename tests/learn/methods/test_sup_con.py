"""SupCon against eq. 2 of its paper, and what a picture without a label is."""

from __future__ import annotations

import math

import pytest
import torch
from by_hand import cosine, mean
from made_methods import made_batch, made_method


def by_formula(embedded: object, labels: list[object], temperature: float) -> float:
    """Eq. 2 over 2n views, those of one picture side by side; `labels` are of pictures."""
    views = embedded.projections.detach().flatten(0, 1)  # type: ignore[attr-defined]
    of = [label for label in labels for _ in range(2)]
    terms = []
    for i, anchor in enumerate(views):
        scores = {k: cosine(anchor, other) / temperature for k, other in enumerate(views) if k != i}
        denominator = math.log(sum(math.exp(score) for score in scores.values()))
        terms.append(mean(denominator - scores[k] for k in scores if of[k] == of[i]))
    return mean(terms)


@pytest.mark.parametrize(
    ("labels", "meant"),
    [
        ([0, 1, 0, 2, 2, 0], [0, 1, 0, 2, 2, 0]),
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([7, -1, 7, -1, -1, 3], [7, "a", 7, "b", "c", 3]),
        ([-1] * 6, ["a", "b", "c", "d", "e", "f"]),
    ],
    ids=["labels", "none twice", "some unknown", "all unknown"],
)
def test_the_loss_is_eq_2_and_the_other_view_is_always_positive(labels: list[int], meant: list[object]) -> None:
    method = made_method("sup_con", temperature=0.3)
    embedded = method.embed(made_batch(labels=labels))
    expected = by_formula(embedded, meant, 0.3)
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-9)


def test_without_labels_it_is_simclr() -> None:
    method, simclr = made_method("sup_con", temperature=0.3), made_method("simclr", temperature=0.3)
    embedded = method.embed(made_batch(labels=[-1] * 6))
    expected = simclr.loss(type(simclr.embed(made_batch()))(embedded.features, embedded.projections))
    assert float(method.loss(embedded).detach()) == pytest.approx(float(expected.detach()), rel=1e-10)


def test_a_picture_without_a_label_is_not_of_the_label_that_has_its_number() -> None:
    method = made_method("sup_con", temperature=0.3)
    batch = made_batch(labels=[1, -1, 1, 3, 0, -1])._replace(items=torch.tensor([9, 1, 8, 7, 6, 3]))
    embedded = method.embed(batch)
    expected = by_formula(embedded, [1, "a", 1, 3, 0, "b"], 0.3)
    assert float(method.loss(embedded).detach()) == pytest.approx(expected, rel=1e-9)


def test_one_view_each_is_eq_2_over_the_pictures() -> None:
    method = made_method("sup_con", temperature=0.3)
    labels = [0, 1, 0, 2, 2, 1]
    embedded = method.embed(made_batch(views=1, labels=labels))
    views = embedded.projections.detach().squeeze(1)
    terms = []
    for i, anchor in enumerate(views):
        scores = {k: cosine(anchor, other) / 0.3 for k, other in enumerate(views) if k != i}
        denominator = math.log(sum(math.exp(score) for score in scores.values()))
        terms.append(mean(denominator - scores[k] for k in scores if labels[k] == labels[i]))
    assert float(method.loss(embedded).detach()) == pytest.approx(mean(terms), rel=1e-9)


def test_without_a_projector_the_features_are_compared() -> None:
    method = made_method("sup_con", projector=())
    embedded = method.embed(made_batch())
    assert torch.equal(embedded.projections, embedded.features)
    assert not list(method.projector.parameters())
