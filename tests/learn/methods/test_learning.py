"""Every method learns something: held-out digits find their kind more often than by the untrained encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from made_digits import SmallNetwork, descend, digits, embedded, knn, moved, trained
from torch import nn

from nearfar.learn.encoders.projection import build_projection
from nearfar.learn.methods.clip import Clip
from nearfar.learn.methods.joint import Joint, JointBatch
from nearfar.learn.methods.siglip import SigLip

pytestmark = pytest.mark.recipe

WITHOUT_LABELS: dict[str, dict[str, Any]] = {
    "simclr": {},
    "moco_v2": {"queue": 512},
    "moco_v3": {},
    "byol": {"steps": 250},
    "swav": {"steps": 200},
    "simsiam": {"steps": 250},
    "barlow_twins": {"projector": (256, 256)},
    "vicreg": {"projector": (256, 256)},
    "nnclr": {"steps": 200, "queue": 512},
    "densecl": {"queue": 512, "dense_queue": 128},
    "instance_discrimination": {"sample": 512},
}
"""Found with these: 0.68 (BYOL) to 0.82, from 0.58 untrained."""

SPREAD = 0.4
"""Of the untrained encoder it is 0.5, of features that are all the same 0."""


@pytest.mark.parametrize("kind", WITHOUT_LABELS)
def test_without_labels_it_beats_the_untrained_encoder_and_does_not_collapse(kind: str) -> None:
    learned = trained(kind, **WITHOUT_LABELS[kind])
    assert learned.untrained < 0.62
    assert learned.knn > learned.untrained + 0.06
    assert learned.spread > SPREAD


def test_the_spread_notices_a_collapse() -> None:
    """VICReg without what keeps the features apart."""
    learned = trained("vicreg", rate=1e-2, variance=0.0, covariance=0.0, projector=(16,))
    assert learned.spread < SPREAD


def test_local_crops_and_a_queue_go_with_swav() -> None:
    learned = trained("swav", steps=200, crops=2, queue=256)
    assert learned.knn > learned.untrained + 0.05
    assert learned.spread > SPREAD


@pytest.mark.parametrize("kind", ["sup_con", "classifier"])
def test_with_labels_it_is_better_still(kind: str) -> None:
    learned = trained(kind)
    assert learned.knn > learned.untrained + 0.2


@pytest.mark.parametrize("kind", [Clip, SigLip])
def test_captions_teach_digits_and_name_them(kind: type[Joint]) -> None:
    """Captions are `digit k`, as two tokens; a held-out digit is named by the nearest of the ten captions."""
    torch.manual_seed(0)
    data, encoder, source = digits(), SmallNetwork(), torch.Generator().manual_seed(1)
    encoder.normalise_by(data.pixels.mean().view(1).tolist(), data.pixels.std().view(1).tolist())
    untrained = knn(encoder, data)
    projections = {"image": build_projection("linear", encoder.dim, 32), "text": build_projection("linear", 32, 32)}
    method = kind({"image": encoder, "text": nn.EmbeddingBag(11, 32)}, projections, [("image", "text")])

    def captions(labels: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros_like(labels), labels + 1], dim=1)

    def drawn(_: int) -> JointBatch:
        items = torch.randint(len(data.pixels), (128,), generator=source)
        labels = data.labels[items]
        sides = ("image", moved(data.pixels[items], source)), ("text", captions(labels))
        return JointBatch.of_two(*sides, left_ids=items, right_ids=labels)

    losses = descend(method, drawn, steps=200, rate=5e-3)
    assert losses[-1] < losses[0] / 2
    assert knn(encoder, data) > untrained + 0.15

    names = method.project("text", method.towers["text"](captions(torch.arange(10))))
    pictures = method.project("image", embedded(encoder, data.held_out_pixels))
    named = (F.normalize(pictures, dim=1) @ F.normalize(names, dim=1).T).argmax(dim=1)
    assert float((named == data.held_out_labels).float().mean()) > 0.75
