"""A training step of CLIP by nearfar and by open_clip: the same towers, weights, batch and optimiser, only the way to the loss differs.

open_clip's loss is taken from its file, for the package cannot be imported without torchvision:

    pip download --no-deps open_clip_torch -d wheels && python -m zipfile -e wheels/open_clip_torch-*.whl open_clip
    PYTHONPATH=open_clip python benchmarks/crossmodal.py --only gpu
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.learn.encoders.projection import build_projection
from nearfar.learn.encoders.transformer import TransformerTextEncoder
from nearfar.learn.encoders.vit import VitImageEncoder
from nearfar.learn.methods.clip import Clip
from nearfar.learn.methods.joint import JointBatch
from nearfar.learn.towers.image import PictureTower
from nearfar.learn.towers.text import TextTowerEncoder
from nearfar.learn.trainer.caching import embed_by_chunks
from nearfar.recipe.image_encoders import VitEncoder
from nearfar.recipe.text import TransformerEncoder


@dataclass(frozen=True)
class Size:
    """How large the towers are, and what goes in.

    Attributes:
        side: of a picture in pixels.
        patch: of a patch.
        dim: of the vectors of patches and tokens.
        heads: of the attention.
        image_layers: blocks of the tower of pictures.
        text_layers: blocks of the tower of texts.
        tokens: of a text.
        vocabulary: different tokens.
        space: components of an embedding.
    """

    side: int
    patch: int
    dim: int
    heads: int
    image_layers: int
    text_layers: int
    tokens: int
    vocabulary: int
    space: int


ON_GPU = Size(64, 8, 384, 6, 12, 6, 32, 32_000, 512)
ON_CPU = Size(32, 8, 64, 2, 2, 1, 16, 1000, 64)

Step = Callable[[JointBatch], Tensor]
"""One step of training, which returns the loss before it."""


def clip(size: Size, device: torch.device) -> Clip:
    """Towers with the same weights each time."""
    torch.manual_seed(0)
    image = VitEncoder(
        kind="vit",
        patch=size.patch,
        dim=size.dim,
        layers=size.image_layers,
        heads=size.heads,
        feedforward=4 * size.dim,
    )
    text = TransformerEncoder(
        kind="transformer",
        dim=size.dim,
        layers=size.text_layers,
        heads=size.heads,
        feedforward=4 * size.dim,
        dropout=0.0,
    )
    towers = {
        "image": PictureTower(VitImageEncoder(image, channels=3, size=size.side)),
        "text": TextTowerEncoder(
            TransformerTextEncoder(text, vocab_size=size.vocabulary, pad_id=0, max_tokens=size.tokens)
        ),
    }
    projections = {name: build_projection("linear", size.dim, size.space) for name in towers}
    return Clip(towers, projections, [("image", "text")]).to(device)


def batch(size: Size, count: int, device: torch.device) -> JointBatch:
    """`count` pictures and texts at random."""
    random = torch.Generator(device).manual_seed(count)
    pixels = torch.rand(count, 3, size.side, size.side, generator=random, device=device)
    ids = torch.randint(1, size.vocabulary, (count, size.tokens), generator=random, device=device)
    own = torch.arange(count, device=device)
    return JointBatch.of_two(("image", (pixels,)), ("text", (ids, torch.ones_like(ids))), left_ids=own, right_ids=own)


def our_step(size: Size, device: torch.device, *, chunk: int | None = None, half: bool = True) -> Step:
    """As the trainer of nearfar does it; `chunk` is that of a recipe."""
    method = clip(size, device)
    optimiser = _optimiser(method, device)

    def run(given: JointBatch) -> Tensor:
        method.follow(1, 2)
        optimiser.zero_grad(set_to_none=True)
        cached = None
        with _autocast(device, half=half):
            if chunk is None:
                embedded = method.embed(given)
            else:
                cached = embed_by_chunks(method.embed, given.split(chunk), device)
                embedded = cached.embedded
            loss = method.loss(embedded)
        loss.backward()  # type: ignore[no-untyped-call]
        if cached is not None:
            cached.backward(lambda: _autocast(device, half=half))
        optimiser.step()
        return loss.detach()

    return run


def their_step(size: Size, device: torch.device, objective: Any, *, half: bool = True) -> Step:
    """The loss of open_clip on the same towers, as its training loop calls it."""
    method = clip(size, device)
    optimiser = _optimiser(method, device)

    def run(given: JointBatch) -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        with _autocast(device, half=half):
            images, texts = (
                F.normalize(method.project(name, method.towers[name](given.inputs[name])), dim=-1)
                for name in ("image", "text")
            )
            loss: Tensor = objective(images, texts, 1 / method.temperature[0])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.detach()

    return run


def open_clip_loss() -> Any | None:
    """The `ClipLoss` of open_clip where its distribution is installed; else None."""
    try:
        found = distribution("open_clip_torch").locate_file("open_clip/loss.py")
    except PackageNotFoundError:
        return None
    spec = importlib.util.spec_from_file_location("open_clip_loss", str(found))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ClipLoss()


def _optimiser(method: Clip, device: torch.device) -> torch.optim.Optimizer:
    return torch.optim.AdamW(method.parameters(), lr=1e-4, fused=device.type == "cuda")


def _autocast(device: torch.device, *, half: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16, enabled=half)
