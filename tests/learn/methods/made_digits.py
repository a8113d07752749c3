"""scikit-learn's digits, 8 x 8 pixels, with simple views, a small network, and a short training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from made_methods import made_settings
from sklearn.datasets import load_digits
from torch import Tensor, nn

from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.methods.build import build_view_method
from nearfar.learn.views.batch import ViewBatch


class Digits(NamedTuple):
    pixels: Tensor
    labels: Tensor
    held_out_pixels: Tensor
    held_out_labels: Tensor


def digits() -> Digits:
    """1,297 to learn from and 500 held out, in an order of their own.

    All of them are moved once: as they come they are so well centred that raw pixels tell nearly all of them apart.
    """
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    pixels = (torch.from_numpy(found.images).float() / 16).unsqueeze(1)[order]
    pixels = moved(pixels, torch.Generator().manual_seed(0))
    labels = torch.from_numpy(found.target).long()[order]
    return Digits(pixels[500:], labels[500:], pixels[:500], labels[:500])


def moved(pixels: Tensor, source: torch.Generator, *, size: int = 8, least: float = 0.75) -> Tensor:
    """Each picture shifted by up to a pixel, turned by up to 15 degrees, cut to between `least` and all of its sides, with noise."""
    n = len(pixels)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=source)

    angle, scale = between(-0.26, 0.26), between(least, 1.0)
    shift = torch.stack([between(-0.25, 0.25), between(-0.25, 0.25)], dim=1)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)], 1)
    theta = torch.cat([turn * scale[:, None, None], shift.unsqueeze(2)], dim=2)
    made = F.grid_sample(pixels, F.affine_grid(theta, [n, 1, size, size], align_corners=False), align_corners=False)
    noise = 0.1 * torch.randn(made.shape, generator=source)
    return (made * between(0.7, 1.0)[:, None, None, None] + noise).clamp(0, 1)


class SmallNetwork(ImageEncoder):
    """Three convolutions with BatchNorm, 8 x 8 to 2 x 2; 28,000 weights."""

    def __init__(self) -> None:
        super().__init__(channels=1)
        self.dim = self.width = 64

        def layer(before: int, after: int, stride: int) -> list[nn.Module]:
            return [
                nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]

        self.layers = nn.Sequential(*layer(1, 16, 1), *layer(16, 32, 2), *layer(32, 64, 2))

    def maps(self, images: Tensor) -> Tensor:
        made: Tensor = self.layers(self.normalised(images))
        return made


class Learned(NamedTuple):
    """What came of a training.

    Attributes:
        knn: share of the held-out digits whose 10 nearest of the others, by cosine, are mostly of their kind.
        untrained: the same of the encoder as it was.
        spread: mean standard deviation of the features of unit length, times the root of their number: 0 where all are one.
        method: as trained.
    """

    knn: float
    untrained: float
    spread: float
    method: Any


def trained(
    kind: str, *, steps: int = 150, batch: int = 128, crops: int = 0, rate: float = 5e-3, **keys: Any
) -> Learned:
    """Train a method on views of the digits."""
    torch.manual_seed(0)
    data, encoder = digits(), SmallNetwork()
    encoder.normalise_by(data.pixels.mean().view(1).tolist(), data.pixels.std().view(1).tolist())
    settings = made_settings(kind, **keys)
    method = build_view_method(settings, encoder, items=len(data.pixels), classes=10)
    untrained = knn(encoder, data)
    source = torch.Generator().manual_seed(1)

    def drawn(number: int) -> ViewBatch:
        items = torch.randint(len(data.pixels), (batch,), generator=source)
        views = [moved(data.pixels[items], source) for _ in range(2)]
        views += [moved(data.pixels[items], source, size=6, least=0.5) for _ in range(crops)]
        return ViewBatch(tuple(views), items, data.labels[items])

    descend(method, drawn, steps=steps, rate=rate)
    features = F.normalize(embedded(encoder, data.held_out_pixels), dim=1)
    spread = float(features.std(dim=0).mean()) * encoder.dim**0.5
    return Learned(knn(encoder, data), untrained, spread, method)


def descend(method: Any, drawn: Callable[[int], Any], *, steps: int, rate: float) -> list[float]:
    """AdamW with a cosine schedule; the losses of all steps."""
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=0.1)
    method.train()
    losses = []
    for number in range(steps):
        if number:
            method.follow(number, steps)
        embedded = method.embed(drawn(number))
        loss = method.loss(embedded)
        optimiser.zero_grad()
        loss.backward()
        method.remember(embedded)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses


@torch.no_grad()
def embedded(encoder: nn.Module, pixels: Tensor) -> Tensor:
    encoder.eval()
    made: Tensor = encoder(pixels)
    return made


def knn(encoder: nn.Module, data: Digits, k: int = 10) -> float:
    """Share of held-out digits that the majority of their k nearest neighbours names right."""
    bank, queries = (F.normalize(embedded(encoder, p), dim=1) for p in (data.pixels, data.held_out_pixels))
    nearest = data.labels[(queries @ bank.T).topk(k, dim=1).indices]
    votes = F.one_hot(nearest, 10).sum(dim=1)
    return float((votes.argmax(dim=1) == data.held_out_labels).float().mean())
