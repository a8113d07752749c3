"""A small encoder, made batches, and every image method on top of them."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.methods.build import build_view_method
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.negatives import MemoryBank, Queue
from nearfar.learn.views.batch import ViewBatch
from nearfar.recipe.identity import IdentityMethodSettings
from nearfar.recipe.methods import ImageMethodSettings

ITEMS, CLASSES = 40, 3

SMALL: dict[str, dict[str, Any]] = {
    "simclr": {"projector": (12, 6)},
    "moco_v2": {"projector": (12, 6), "queue": 10},
    "moco_v3": {"projector": (12, 6), "predictor": 9},
    "byol": {"projector": (12, 6), "predictor": 9},
    "swav": {"projector": (12, 6), "prototypes": 5, "queue": 10, "queue_start": 0.0, "freeze_prototypes": 0.0},
    "simsiam": {"projector": (12, 12, 6), "predictor": 4},
    "barlow_twins": {"projector": (12, 7)},
    "vicreg": {"projector": (12, 7)},
    "sup_con": {"projector": (12, 6)},
    "nnclr": {"projector": (12, 6), "predictor": 9, "queue": 10},
    "densecl": {"projector": (12, 6), "queue": 10, "dense_queue": 9},
    "instance_discrimination": {"projector": (6,), "sample": 7, "proximal": 0.5},
    "classifier": {},
    "arc_face": {"margin": 0.3, "scale": 8.0},
    "triplet": {},
}
"""Every kind, with small heads and small memory."""

HAS_MEMORY = ("moco_v2", "swav", "nnclr", "densecl", "instance_discrimination")
HAS_COPY = ("moco_v2", "moco_v3", "byol", "densecl")


class TinyEncoder(ImageEncoder):
    """Two convolutions, with or without BatchNorm; maps are a quarter as high and wide as the pictures."""

    def __init__(self, *, norm: bool = False) -> None:
        super().__init__(channels=1)
        self.dim = self.width = 10
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8) if norm else nn.Identity(),
            nn.Tanh(),
            nn.Conv2d(8, self.dim, 3, stride=2, padding=1),
        )

    def maps(self, images: Tensor) -> Tensor:
        made: Tensor = self.layers(self.normalised(images))
        return made


def made_settings(kind: str, **keys: Any) -> ImageMethodSettings | IdentityMethodSettings:
    settings: ImageMethodSettings | IdentityMethodSettings = TypeAdapter(
        ImageMethodSettings | IdentityMethodSettings
    ).validate_python({"kind": kind, **keys})
    return settings


def made_method(kind: str, *, seed: int = 0, norm: bool = False, **keys: Any) -> Any:
    """A method of double precision on a tiny encoder; in train mode. `keys` change those of `SMALL`."""
    torch.manual_seed(seed)
    settings = made_settings(kind, **{**SMALL[kind], **keys})
    method: ImageMethod = build_view_method(settings, TinyEncoder(norm=norm), items=ITEMS, classes=CLASSES)
    method.double()
    for module in method.modules():
        if isinstance(module, (Queue, MemoryBank)):
            module.float()  # what is stored is float32 everywhere
    return method


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made_batch(
    n: int = 6, *, seed: int = 0, views: int = 2, crops: int = 0, size: int = 12, labels: list[int] | None = None
) -> ViewBatch:
    """Views of noise in [0, 1] of different pictures, labelled in turn unless `labels` are given."""
    source = torch.Generator().manual_seed(seed)
    sides = [size] * views + [size - 4] * crops
    return ViewBatch(
        tuple(torch.rand(n, 1, side, side, generator=source, dtype=torch.float64) for side in sides),
        torch.randperm(ITEMS, generator=source)[:n],
        torch.arange(n) % CLASSES if labels is None else torch.tensor(labels),
    )


def step(method: ImageMethod, number: int, *, total: int = 10, rate: float = 0.05, crops: int = 0) -> float:
    """One whole step of training by plain gradient descent, on a batch of its own."""
    if number:
        method.follow(number, total)
    embedded = method.embed(made_batch(seed=number, crops=crops))
    loss = method.loss(embedded)
    method.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    method.remember(embedded)
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
    return float(loss.detach())
