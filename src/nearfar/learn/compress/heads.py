"""Thinner layers of a transformer: fewer attention heads (Michel et al., arXiv:1905.10650) and feed-forward units."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.learn.compress.importance import Batch, Units, by_gradient, by_magnitude
from nearfar.learn.compress.layers import Encoder, layers_of

_MULTIPLE = 8  # of feed-forward units: what vector instructions of CPUs take at once


def prune_heads(
    encoder: Encoder,
    keep: float,
    *,
    loss: Callable[[Batch], Tensor] | None = None,
    batches: Iterable[Batch] = (),
) -> Encoder:
    """A transformer without the attention heads and feed-forward units that matter least, in every layer the same share.

    Args:
        encoder: a transformer, or a BERT-like model of transformers; its weights stay as they are.
        keep: share of heads and of units that stays, in (0, 1]; at least one head, and units in multiples of 8.
        loss: a scalar of a batch by way of `encoder` itself, such as the loss it was trained with: what matters is what changes it.
            Without it, units with small weights matter least.
        batches: what the loss takes; a few hundred items are enough.

    Returns:
        A smaller encoder of the same dimension, in the same mode, that shares nothing with the given one. Its heads keep their
        size. A configuration of transformers keeps its number of heads, from which that size is computed.

    Raises:
        RunError: an encoder whose layers are of an unknown kind.
        ValueError: `keep` out of range; a loss without batches.
    """
    if not 0 < keep <= 1:
        raise ValueError(f"expected a share in (0, 1] to keep, got {keep}")
    parts = [units for layer in layers_of(encoder) for units in units_of(layer)]
    if loss is None:
        scores = [by_magnitude(units) for units in parts]
    else:
        training = encoder.training
        encoder.eval()  # dropout would blur what matters
        try:
            scores = by_gradient(parts, loss, batches)
        finally:
            encoder.train(training)
    smaller = copy.deepcopy(encoder)
    twins = (units for layer in layers_of(smaller) for units in units_of(layer))
    for units, score in zip(twins, scores, strict=True):
        _keep_only(units, score.topk(_kept(units, keep)).indices.sort().values)
    for layer in layers_of(smaller):
        _tell_heads(layer)
    return smaller


class _Names(NamedTuple):
    """Where a layer keeps what `Units` is made of."""

    readers: tuple[str, ...]
    writer: str
    owner: str = ""
    """The module that reshapes to heads; none in a feed-forward layer."""


_ATTENTION = (
    _Names(("queries_keys_values",), "mix", "."),  # ours
    _Names(
        ("attention.self.query", "attention.self.key", "attention.self.value"),
        "attention.output.dense",
        "attention.self",
    ),  # BERT, RoBERTa, XLM-RoBERTa, ELECTRA
    _Names(("attention.q_lin", "attention.k_lin", "attention.v_lin"), "attention.out_lin", "attention"),  # DistilBERT
    _Names(("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.o_proj", "self_attn"),  # Nomic BERT
    _Names(("attn.Wqkv",), "attn.Wo", "attn"),  # ModernBERT
)
_FEEDFORWARD = (
    _Names(("feedforward.1",), "feedforward.3"),  # ours
    _Names(("intermediate.dense",), "output.dense"),
    _Names(("ffn.lin1",), "ffn.lin2"),
    _Names(("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
    _Names(("mlp.Wi",), "mlp.Wo"),
)
_HEAD_SIZE = ("head_size", "attention_head_size", "head_dim")
_HEAD_COUNT = ("heads", "num_attention_heads", "n_heads")


def units_of(layer: nn.Module) -> tuple[Units, Units]:
    """The heads and the feed-forward units of a layer."""
    attention, feedforward = _present(layer, _ATTENTION), _present(layer, _FEEDFORWARD)
    size = _number(_owner(layer, attention), _HEAD_SIZE) if attention else None
    if attention is None or feedforward is None or size is None:
        raise RunError(
            f"attention heads cannot be removed from layers of type {type(layer).__name__}: nearfar can do it for its own "
            "transformers and for BERT, RoBERTa, XLM-RoBERTa, ELECTRA, DistilBERT, ModernBERT and Nomic BERT. Use step layers, or "
            "take step heads out of compress.steps"
        )
    heads, units = (
        Units(
            tuple(_linear(layer, name) for name in names.readers),
            _linear(layer, names.writer),
            size=each,
            attention=names is attention,
        )
        for names, each in ((attention, size), (feedforward, 1))
    )
    if any(reader.out_features % units.writer.in_features for units in (heads, units) for reader in units.readers):
        raise RunError(
            f"the layers of type {type(layer).__name__} share keys and values between heads, so that heads cannot be removed: use "
            "step layers, or take step heads out of compress.steps"
        )
    return heads, units


def _present(layer: nn.Module, known: tuple[_Names, ...]) -> _Names | None:
    linear = {name for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
    return next((names for names in known if linear.issuperset({*names.readers, names.writer})), None)


def _linear(layer: nn.Module, name: str) -> nn.Linear:
    module = layer.get_submodule(name)
    assert isinstance(module, nn.Linear)
    return module


def _owner(layer: nn.Module, names: _Names) -> nn.Module:
    return layer if names.owner == "." else layer.get_submodule(names.owner)


def _number(module: nn.Module, names: tuple[str, ...]) -> int | None:
    return next((int(getattr(module, name)) for name in names if isinstance(getattr(module, name, None), int)), None)


def _kept(units: Units, keep: float) -> int:
    """How many units stay."""
    if units.attention:
        return max(1, round(units.count * keep))
    return min(units.count, max(_MULTIPLE, round(units.count * keep / _MULTIPLE) * _MULTIPLE))


@torch.no_grad()
def _keep_only(units: Units, kept: Tensor) -> None:
    """Cut the linear maps of `units` down to some of them, in place; `kept` (k,) int64 ascending."""
    count, size = units.count, units.size
    for reader in units.readers:
        rows = torch.arange(reader.out_features, device=kept.device).view(-1, count, size)[:, kept].flatten()
        reader.weight = _cut(reader.weight, rows, 0)
        if reader.bias is not None:
            reader.bias = _cut(reader.bias, rows, 0)
        reader.out_features = len(rows)
    columns = torch.arange(count * size, device=kept.device).view(count, size)[kept].flatten()
    units.writer.weight = _cut(units.writer.weight, columns, 1)
    units.writer.in_features = len(columns)


def _cut(parameter: Tensor, places: Tensor, dim: int) -> nn.Parameter:
    return nn.Parameter(parameter.detach().index_select(dim, places), requires_grad=parameter.requires_grad)


def _tell_heads(layer: nn.Module) -> None:
    """Write the number of heads that are left where a layer keeps it."""
    names = _present(layer, _ATTENTION)
    assert names is not None
    owner, heads = _owner(layer, names), units_of(layer)[0]
    for name in _HEAD_COUNT:
        if hasattr(owner, name):
            setattr(owner, name, heads.count)
    if hasattr(owner, "all_head_size"):
        setattr(owner, "all_head_size", heads.count * heads.size)  # noqa: B010 - torch types attributes as modules
