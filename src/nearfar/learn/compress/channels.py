"""Fewer channels in a convolutional network: those with the smallest filters go (Li et al., arXiv:1608.08710).

Which layers must lose the same channels (around residuals, through depthwise convolutions and norms), and how much a channel
weighs in all of them, is worked out by torch-pruning (Fang et al., arXiv:2301.12900).
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from nearfar.errors import MissingExtraError, RunError
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.reason import first_line

_MULTIPLE = 8  # of channels: what vector instructions of CPUs take at once


def prune_channels(encoder: ImageEncoder, keep: float, *, size: int = 64) -> ImageEncoder:
    """A convolutional network without the channels that have the smallest filters, in every layer the same share.

    The features keep all their components, so that heads, stored vectors and prefixes still fit: the layer that makes them,
    with all layers that are added to it, keeps its channels.

    Statistics of BatchNorm are those of before, which no longer quite fit: call `refresh_statistics`, or train on.

    Args:
        encoder: stays as it is.
        keep: share of the channels that stays, in (0, 1]; rounded to multiples of 8.
        size: height and width in pixels of a picture that the encoder takes.

    Returns:
        A smaller encoder of the same dimension, in the same mode, that shares nothing with the given one.

    Raises:
        RunError: no layer has channels that could be removed, or the encoder does not work without them.
        MissingExtraError: torch-pruning is not installed.
        ValueError: `keep` out of range.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"expected a share in (0, 1] to keep, got {keep}")
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingExtraError("prune", "compress step channels") from error
    smaller = copy.deepcopy(encoder).eval()
    example = torch.zeros(1, len(encoder.mean), size, size, device=encoder.mean.device)
    # A linear map behind the features shows which channels end up in them.
    probe = nn.Linear(encoder.dim, 1, device=example.device)
    # The graph is read off autograd; the warnings are about parameters outside of layers, which it takes care of.
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(nn.Sequential(smaller, probe), example)
    # The norms of a channel's filters, of what reads it, and the scale of its norm. Filters alone, as in the paper, chose
    # hardly better than chance on handwritten digits: BatchNorm undoes their scale.
    weigh = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    # All sets are weighed before any is cut, so that each is judged as it was trained.
    sets = [
        (members, weigh(members))
        for members in graph.get_all_groups(root_module_types=[nn.Conv2d])
        if all(member.dep.target.module is not probe for member in members)
    ]
    if not sets:
        raise RunError(
            f"compress step channels: no layer of {type(encoder).__name__} has channels that could be removed; it is for encoders "
            "of kind cnn, resnet and mobilenet, and convolutional ones of timm. Use steps heads and layers for transformers"
        )
    for members, scores in sets:
        gone = _least(scores, keep, _parts(members))
        if gone:
            members.prune(gone)
    try:
        with torch.no_grad():
            smaller(example)
            smaller.width = smaller.maps(example).shape[1]  # fewer where a linear map of them all makes the features
    except RuntimeError as error:  # timm has hundreds of architectures
        raise RunError(
            f"compress step channels: with channels removed, {type(encoder).__name__} no longer works ({first_line(error)}): take "
            "the step out of compress.steps, or another encoder"
        ) from error
    for parameter in smaller.parameters():
        parameter.grad = None
    laid_out: ImageEncoder = smaller.train(encoder.training).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return laid_out


def refresh_statistics(encoder: ImageEncoder, batches: Sequence[Tensor]) -> None:
    """Give BatchNorm layers the mean and variance of some pictures.

    After channels are gone, those that are left see other values than before, which the statistics of training do not fit.

    Args:
        encoder: changed in place, but for its mode; one without BatchNorm stays as it is.
        batches: pictures (b, c, h, w) in [0, 1], as in training; a few hundred are enough.

    Raises:
        ValueError: no batches.
    """
    if not batches:  # the statistics would be those of no training at all
        raise ValueError("expected pictures to take statistics of")
    training = encoder.training
    update_bn(batches, encoder)
    encoder.train(training)


def _parts(members: Any) -> int:
    """Into how many parts of equal size the channels of a set fall, because of GroupNorm or grouped convolutions."""
    parts = [1]
    for member in members:
        layer = member.dep.target.module
        if isinstance(layer, nn.GroupNorm):
            parts.append(layer.num_groups)
        elif isinstance(layer, nn.Conv2d) and layer.groups not in {1, layer.in_channels}:
            parts.append(layer.groups)
    return math.lcm(*parts)


def _least(scores: Tensor, keep: float, parts: int) -> list[int]:
    """The channels that go, those of the smallest `scores` (channels,): as many from each part, so that parts stay alike."""
    by_part = scores.view(parts, -1)
    gone = by_part.argsort(dim=1)[:, : (len(scores) - _kept(len(scores), keep, parts)) // parts]
    starts = torch.arange(parts, device=gone.device)[:, None] * by_part.shape[1]
    places: list[int] = (gone + starts).flatten().tolist()
    return places


def _kept(channels: int, keep: float, parts: int) -> int:
    """How many channels stay: a multiple of the parts and, where that leaves a choice, of 8."""
    step = math.lcm(_MULTIPLE, parts)
    if parts > 1 and step > channels // 4:
        step = parts
    return min(channels, max(step, int(channels * keep / step + 0.5) * step))
