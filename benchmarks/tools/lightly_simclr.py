"""SimCLR as lightly's own CIFAR-10 benchmark has it, of lightly's parts: what nearfar is timed and judged against.

ResNetGenerator("resnet-18"), SimCLRTransform(input_size=32, cj_strength=0.5, gaussian_blur=0.0), SimCLRProjectionHead(512, 512,
128), NTXentLoss(), a DataLoader with workers, and SGD with learning rate 0.06 * batch / 128, momentum 0.9, weight decay 5e-4 and
a cosine to zero. Pictures are PIL images in memory, which is the best case: no file is opened and nothing decoded. Workers are
as many as are fastest on this machine, and their start is not counted.

lightly and torchvision come without what they want (`pip install --no-deps lightly==1.6.0 lightly-utils==0.0.2
torchvision==0.28.0 pillow`): the torchvision on PyPI is built for another torch, and its operators nms and qnms, which nothing
here uses, are declared empty so that it can be imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

Pictures = npt.NDArray[np.uint8]
"""(n, h, w, 3)."""

_APART = Path(sys.prefix) / "peers"
"""Where `make bench` puts torchvision: in the environment itself, transformers would find it and fail."""

_DECLARED: list[Any] = []  # torch forgets operators whose library is no longer referred to


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        encode: pictures (n, h, w, 3) -> embeddings (n, d) float32 of unit length.
        images_per_second: pictures (not views) that went through a step, by the clock, the first step not counted.
        seconds: all of the training by the clock, the start of workers included.
        steps: optimiser steps.
    """

    encode: Callable[[Pictures], npt.NDArray[np.float32]]
    images_per_second: float
    seconds: float
    steps: int


def is_installed() -> bool:
    """Whether lightly and what it needs are there."""
    with _apart():
        return all(importlib.util.find_spec(name) is not None for name in ("lightly", "torchvision", "PIL"))


@contextmanager
def _apart() -> Iterator[None]:
    """Look for modules in the folder of torchvision too; for a moment only, as processes that are started later would look as well."""
    sys.path.append(str(_APART))
    try:
        yield
    finally:
        sys.path.remove(str(_APART))


def train(
    pictures: Pictures,
    *,
    seed: int,
    epochs: int = 1,
    steps: int | None = None,
    batch_size: int = 512,
    learning_rate: float | None = None,
    temperature: float = 0.5,
    backbone: nn.Module | None = None,
    dim: int = 512,
    hidden: int = 512,
    optimiser: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer] | None = None,
    workers: int | None = None,
) -> Trained:
    """Train on views by lightly, with lightly's head and loss.

    Args:
        pictures: (n, h, w, 3) uint8.
        seed: of weights, order and views.
        epochs: passes over the pictures, whole batches only.
        steps: stop after so many, whatever `epochs` says; the learning rate falls to zero by then.
        batch_size: pictures a step.
        learning_rate: of SGD; by default 0.06 * batch_size / 128, as in lightly's benchmark.
        temperature: of NTXentLoss; 0.5 is its default.
        backbone: trained in place of lightly's ResNet-18, so that views, loader and loss alone are compared; takes pixels in
            [0, 1] and normalises them itself. It is trained as it is, without a copy.
        dim: components of what the backbone gives.
        hidden: width of the projection head.
        optimiser: of all parameters, in place of SGD.
        workers: of the DataLoader; by default as many as are fastest.
    """
    declare_operators()
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    torch.manual_seed(seed)
    own = backbone is None
    network = backbone if backbone is not None else _resnet18()
    head, criterion = SimCLRProjectionHead(dim, hidden, 128), NTXentLoss(temperature=temperature)
    views = _Views(pictures, normalise=own)
    if workers is None:
        workers = fastest_workers(views, batch_size)
    generator = torch.Generator().manual_seed(seed)
    loader = _loader(views, batch_size, workers, generator)
    if not len(loader):
        raise ValueError(f"{len(views)} pictures do not fill a batch of {batch_size}")
    total = epochs * len(loader) if steps is None else steps
    model = nn.ModuleList([network, head])
    rate = learning_rate if learning_rate is not None else 0.06 * batch_size / 128
    step_of = (
        optimiser(model.parameters())
        if optimiser is not None
        else torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(step_of, total)
    model.train()
    began = time.perf_counter()
    warm, done = began, 0
    while done < total:
        for first, second in loader:
            projected = [head(network(view).flatten(start_dim=1)) for view in (first, second)]
            loss = criterion(*projected)
            step_of.zero_grad()
            loss.backward()
            step_of.step()
            schedule.step()
            done += 1
            if done == 1:
                warm = time.perf_counter()
            if done == total:
                break
    ended = time.perf_counter()
    model.eval()
    rate_of_images = (done - 1) * batch_size / (ended - warm) if done > 1 else batch_size / (ended - began)
    return Trained(lambda some: _embedded(network, some, normalise=own), rate_of_images, ended - began, done)


def views_per_second_core(pictures: Pictures, *, seconds: float = 2.0, size: int = 32) -> float:
    """Views that SimCLRTransform makes of PIL images in a second of processor time, on one thread.

    Args:
        pictures: (n, h, w, 3) uint8; taken in turn, over and over.
        seconds: processor time to measure for, after a tenth of it to warm up.
        size: height and width of a view.
    """
    declare_operators()
    views = _Views(pictures, normalise=True, size=size)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made, place, best = 0, 0, 0.0
        until, started = time.process_time() + 0.1 * seconds, time.process_time()
        for limit in (until, until + seconds):
            made, started = 0, time.process_time()
            while time.process_time() < limit:
                made += len(views[place])
                place = (place + 1) % len(views)
            best = made / (time.process_time() - started)
        return best
    finally:
        torch.set_num_threads(threads)


def fastest_workers(views: Dataset[Any], batch_size: int) -> int:
    """How many workers make a few batches soonest, of none to one for each core."""
    taken: dict[int, float] = {}
    for workers in range((os.cpu_count() or 1) + 1):
        batches = iter(_loader(views, min(batch_size, 256), workers, torch.Generator().manual_seed(0)))
        next(batches)
        started = time.perf_counter()
        for _ in range(3):
            next(batches, None)
        taken[workers] = time.perf_counter() - started
        del batches
    return min(taken, key=lambda workers: taken[workers])


def declare_operators() -> None:
    """Make torchvision importable where it was built for another torch."""
    if _DECLARED:
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARED.append(library)
    try:
        with _apart():
            import torchvision  # noqa: F401
    except ImportError as error:
        raise ImportError("lightly needs torchvision; see the docstring of tools/lightly_simclr.py") from error


class _Views(Dataset[Any]):
    """Two views of each picture by lightly's transform."""

    def __init__(self, pictures: Pictures, *, normalise: bool, size: int = 32) -> None:
        from lightly.transforms import SimCLRTransform
        from lightly.transforms.utils import IMAGENET_NORMALIZE
        from PIL import Image

        self.pictures = [Image.fromarray(picture) for picture in pictures]
        self.transform = SimCLRTransform(
            input_size=size,
            cj_strength=0.5,
            gaussian_blur=0.0,
            normalize=IMAGENET_NORMALIZE if normalise else None,
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> list[Tensor]:
        views: list[Tensor] = self.transform(self.pictures[place])
        return views


def _loader(views: Dataset[Any], batch_size: int, workers: int, generator: torch.Generator) -> DataLoader[Any]:
    return DataLoader(
        views,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=generator,
    )


def _resnet18() -> nn.Module:
    from lightly.models import ResNetGenerator

    layers = list(ResNetGenerator("resnet-18").children())[:-1]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@torch.no_grad()
def _embedded(network: nn.Module, pictures: Pictures, *, normalise: bool) -> npt.NDArray[np.float32]:
    from lightly.transforms.utils import IMAGENET_NORMALIZE

    mean, std = (torch.tensor(IMAGENET_NORMALIZE[name]).view(-1, 1, 1) for name in ("mean", "std"))
    parts = []
    for part in torch.from_numpy(pictures).permute(0, 3, 1, 2).split(500):
        pixels = part.float() / 255
        vectors = network((pixels - mean) / std if normalise else pixels).flatten(start_dim=1)
        parts.append(F.normalize(vectors, dim=1))
    return torch.cat(parts).numpy()
