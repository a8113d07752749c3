"""Attention heads and feed-forward units that do not matter go, and nothing changes but the size."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from made_hf_models import made_hf_encoder, made_rows
from made_image_encoders import SMALL, made_encoder, made_pictures
from made_models import STATIC, made_model
from torch import Tensor, nn

from nearfar.errors import RunError
from nearfar.learn.compress.heads import prune_heads, units_of
from nearfar.learn.compress.importance import by_gradient, by_magnitude
from nearfar.learn.compress.layers import layers_of
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.text import PaddedTextEncoder
from nearfar.learn.export import export_graph, export_image_graph

needs_transformers = pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
OURS = pytest.mark.parametrize("kind", ["text", "vit"])
Encoder = PaddedTextEncoder | ImageEncoder


def ours(kind: str) -> Encoder:
    if kind == "vit":
        return made_encoder({"kind": "vit", "dim": 32, "heads": 4, "layers": 2, "feedforward": 64}).eval()
    tower = made_model("{kind: transformer, dim: 32, heads: 4, layers: 2, feedforward: 64}")[0].query_tower
    assert isinstance(tower, PaddedTextEncoder)
    return tower


def embedded(encoder: Encoder) -> Tensor:
    if isinstance(encoder, ImageEncoder):
        made: Tensor = encoder(made_pictures(5))
        return made
    return encoder.embed_padded(*made_rows())


def loss_of(encoder: Encoder) -> Callable[[object], Tensor]:
    """Something that depends on every component of every vector."""
    return lambda _: (embedded(encoder) * torch.linspace(-1, 1, 32)).sum(dim=1).square().mean()


def shipped(encoder: Encoder) -> Tensor:
    """What onnxruntime makes of the same inputs."""
    if isinstance(encoder, ImageEncoder):
        graph = export_image_graph(encoder, size=32, channels=3, dim=None, quantise="none")
        feed = {"pixels": made_pictures(5).numpy()}
    else:
        graph = export_graph(encoder, dim=32, quantise="none")
        feed = dict(zip(("ids", "mask"), (part.numpy() for part in made_rows()), strict=True))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, feed)[0])


@torch.no_grad()
def silence_half(encoder: Encoder) -> None:
    """Half of the heads and units of each layer say nothing, for one of two reasons: they hear nothing, or are not listened to."""
    source = torch.Generator().manual_seed(3)
    for layer in layers_of(encoder):
        for units in units_of(layer):
            deaf, unheard = torch.randperm(units.count, generator=source)[: units.count // 2].chunk(2)
            units.writer.weight.view(-1, units.count, units.size)[:, unheard] = 0
            reader = units.readers[-1]
            for own in (reader.weight, reader.bias):
                if own is not None:
                    own.view(-1, units.count, units.size, own[0].numel())[-1, deaf] = 0


@OURS
@pytest.mark.parametrize("by", ["magnitude", "gradient"])
def test_what_says_nothing_is_not_missed(kind: str, by: str) -> None:
    encoder = ours(kind)
    whole = embedded(encoder).detach()
    silence_half(encoder)
    expected = embedded(encoder).detach()
    assert float((whole - expected).abs().max()) > 1e-2
    pruned = prune_heads(encoder, 0.5, loss=loss_of(encoder) if by == "gradient" else None, batches=[None])
    torch.testing.assert_close(embedded(pruned), expected, rtol=0, atol=1e-5)
    assert pruned.dim == encoder.dim


@OURS
def test_half_of_the_layers_weights_are_gone_and_the_rest_learns(kind: str) -> None:
    encoder = ours(kind)
    pruned = prune_heads(encoder, 0.5)
    for before, after in zip(layers_of(encoder), layers_of(pruned), strict=True):
        assert (after.heads, after.head_size) == (2, 8)
        matrices = [
            sum(part.weight.numel() for part in layer.modules() if isinstance(part, nn.Linear))
            for layer in (before, after)
        ]
        assert matrices[1] * 2 == matrices[0]
    loss_of(pruned)(None).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in pruned.parameters())


@OURS
def test_what_ships_agrees(kind: str) -> None:
    pruned = prune_heads(ours(kind), 0.5)
    expected = F.normalize(embedded(pruned).detach(), dim=1)
    torch.testing.assert_close(shipped(pruned), expected, rtol=0, atol=1e-5)


def test_the_given_encoder_stays_as_it_is() -> None:
    encoder = ours("text").train().requires_grad_(False)
    before = copy.deepcopy(encoder.state_dict())
    pruned = prune_heads(encoder, 0.5, loss=loss_of(encoder), batches=[None])
    assert encoder.training
    assert pruned.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in pruned.parameters())
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert not any(layer._forward_pre_hooks for layer in encoder.modules())


def test_gradient_scores_are_the_slopes_of_fading_a_unit_out() -> None:
    """Against differences of losses in float64, with one item a batch, so that its absolute value is the slope's own."""
    encoder = ours("text").double()
    assert isinstance(encoder, PaddedTextEncoder)
    ids, mask = made_rows(3)
    direction = torch.linspace(-1, 1, 32, dtype=torch.float64)

    def loss(row: int) -> Tensor:
        return (encoder.embed_padded(ids[row : row + 1], mask[row : row + 1]) * direction).sum().square()

    parts = [units for layer in layers_of(encoder) for units in units_of(layer)]
    for units, scores in zip(parts, by_gradient(parts, loss, range(3)), strict=True):
        columns = units.writer.weight.view(-1, units.count, units.size)
        for unit in range(0, units.count, 3):
            slopes, original = torch.zeros(3, dtype=torch.float64), columns[:, unit].clone()
            with torch.no_grad():
                for sign in (1, -1):
                    columns[:, unit] = original * (1 + sign * 1e-4)
                    slopes += sign * torch.stack([loss(row) for row in range(3)]) / 2e-4
                columns[:, unit] = original
            torch.testing.assert_close(scores[unit].double(), slopes.abs().mean(), rtol=1e-4, atol=1e-6)


def test_items_that_cancel_each_other_still_count() -> None:
    encoder, (ids, mask) = ours("text"), made_rows(1)
    assert isinstance(encoder, PaddedTextEncoder)
    signs = torch.tensor([[1.0], [-1.0]])

    def loss(_: object) -> Tensor:
        return (encoder.embed_padded(ids.expand(2, -1), mask.expand(2, -1)) * signs)[:, :5].sum()

    parts = [units for layer in layers_of(encoder) for units in units_of(layer)]
    assert all(bool(scores.any()) for scores in by_gradient(parts, loss, [None]))


def test_large_weights_matter_more() -> None:
    encoder = ours("text")
    heads, fed = units_of(layers_of(encoder)[0])
    with torch.no_grad():
        heads.writer.weight.view(32, 4, 8)[:, 2] *= 10
        fed.readers[0].weight[5] *= 10
        heads.rows(heads.readers[0])[0, 1] *= 100  # a query: it adds nothing by itself
    assert int(by_magnitude(heads).argmax()) == 2
    assert int(by_magnitude(fed).argmax()) == 5


@pytest.mark.parametrize(
    ("keep", "heads", "units"), [(0.01, 1, 8), (0.3, 1, 16), (0.5, 2, 32), (0.7, 3, 48), (0.99, 4, 64), (1, 4, 64)]
)
def test_numbers_that_are_kept(keep: float, heads: int, units: int) -> None:
    pruned = prune_heads(ours("text"), keep)
    for layer in layers_of(pruned):
        assert [part.count for part in units_of(layer)] == [heads, units]


@needs_transformers
@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "xlm-roberta", "electra", "distilbert", "modernbert", "nomic_bert"]
)
def test_models_of_transformers(kind: str, tmp_path: Path) -> None:
    encoder = made_hf_encoder(kind, tmp_path / "model")
    silence_half(encoder)
    expected = embedded(encoder).detach()
    for loss in (None, loss_of(encoder)):
        pruned = prune_heads(encoder, 0.5, loss=loss, batches=[None])
        torch.testing.assert_close(embedded(pruned), expected, rtol=0, atol=1e-5)
        again = prune_heads(pruned, 0.5)
        assert [units.count for units in units_of(layers_of(again)[0])] == [1, 16]
    if kind in {"bert", "modernbert"}:  # an export takes seconds
        torch.testing.assert_close(shipped(pruned), F.normalize(expected, dim=1), rtol=0, atol=1e-5)


@needs_transformers
def test_heads_that_share_keys_are_refused(tmp_path: Path) -> None:
    encoder = made_hf_encoder("llama", tmp_path / "model", num_key_value_heads=2)
    with pytest.raises(RunError, match="LlamaDecoderLayer share keys and values between heads"):
        prune_heads(encoder, 0.5)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(RunError, match="CnnImageEncoder has no layers"):
        prune_heads(made_encoder(SMALL["cnn"]), 0.5)
    with pytest.raises(RunError, match="StaticTextEncoder has no layers"):
        prune_heads(made_model(STATIC)[0].query_tower, 0.5)
    with pytest.raises(RunError, match=r"layers of type Sequential: .*its own transformers and for BERT"):
        units_of(nn.Sequential(nn.Linear(2, 2)))
    encoder = ours("text")
    for keep in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"share in \(0, 1\]"):
            prune_heads(encoder, keep)
    with pytest.raises(ValueError, match="batches and a loss that depends"):
        prune_heads(encoder, 0.5, loss=loss_of(encoder), batches=[])
    other = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="batches and a loss that depends"):
        prune_heads(encoder, 0.5, loss=lambda _: other.sum(), batches=[None])
