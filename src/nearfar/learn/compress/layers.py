"""Fewer layers of a transformer: some of them, evenly spaced (Sajjad et al., arXiv:2004.03844, find that hard to beat)."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

from nearfar.errors import RunError
from nearfar.learn.encoders.huggingface import HuggingFaceTextEncoder
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.text import TextEncoder
from nearfar.learn.encoders.transformer import TransformerTextEncoder
from nearfar.learn.encoders.vit import VitImageEncoder

Encoder = TypeVar("Encoder", bound=TextEncoder | ImageEncoder)


def keep_layers(encoder: Encoder, keep: int) -> Encoder:
    """A transformer with some of its layers, evenly spaced, the first and the last among them.

    Args:
        encoder: stays as it is.
        keep: how many; one keeps the first.

    Returns:
        A smaller encoder of the same dimension, in the same mode, that shares nothing with the given one.

    Raises:
        RunError: it has no list of layers, or fewer than `keep`.
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise ValueError(f"expected to keep at least one layer, got {keep}")
    smaller = copy.deepcopy(encoder)
    parent, name = _place_of_layers(smaller)
    layers = getattr(parent, name)
    if keep > len(layers):
        raise RunError(f"compress step layers: keep is {keep}, but the encoder has only {len(layers)} layers: lower it")
    kept = evenly_spaced(len(layers), keep)
    setattr(parent, name, nn.ModuleList(layers[place] for place in kept))
    if isinstance(smaller, HuggingFaceTextEncoder):
        _tell_config(smaller.model.config, kept)
    return smaller


def evenly_spaced(count: int, keep: int) -> list[int]:
    """Which `keep` of `count` places stay, in ascending order, the first and (from two on) the last among them."""
    if keep == 1:
        return [0]
    return [(2 * place * (count - 1) + keep - 1) // (2 * (keep - 1)) for place in range(keep)]  # rounded half up


def layers_of(encoder: TextEncoder | ImageEncoder) -> nn.ModuleList:
    """The layers of a transformer, the first one first.

    Raises:
        RunError: it has no list of layers.
    """
    parent, name = _place_of_layers(encoder)
    layers: nn.ModuleList = getattr(parent, name)
    return layers


def _place_of_layers(encoder: TextEncoder | ImageEncoder) -> tuple[nn.Module, str]:
    """The module that holds the list of layers, and under which name."""
    if isinstance(encoder, TransformerTextEncoder | VitImageEncoder):
        return encoder, "blocks"
    if not isinstance(encoder, HuggingFaceTextEncoder):
        raise RunError(
            f"{type(encoder).__name__} has no layers that could be left out or thinned: steps layers and heads are for encoders "
            "of kind transformer, hf and vit; take them out of compress.steps"
        )
    count = int(getattr(encoder.model.config, "num_hidden_layers", 0))
    found = [
        name
        for name, module in encoder.model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count and len({type(layer) for layer in module}) == 1
    ]
    if len(found) != 1:
        raise RunError(
            f"the layers of a model of type {encoder.model.config.model_type!r} cannot be told from its other parts (its "
            f"configuration says {count} layers, and {len(found)} lists have that many): take steps layers and heads out of "
            "compress.steps"
        )
    parent, _, name = found[0].rpartition(".")
    return encoder.model.get_submodule(parent), name


def _tell_config(config: Any, kept: list[int]) -> None:
    """Write the number of layers, and the kinds of those that are left, into a configuration of transformers."""
    config.num_hidden_layers = len(kept)
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        config.layer_types = [kinds[place] for place in kept]
