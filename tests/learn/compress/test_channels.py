"""Convolutional networks lose channels that do nothing and stay the same, but for their size."""

from __future__ import annotations

import copy
import sys

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from made_image_encoders import SMALL, made_encoder, made_pictures
from torch import nn

from nearfar.errors import MissingExtraError, RunError
from nearfar.learn.compress.channels import prune_channels, refresh_statistics
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.encoders.resnet import ResNetImageEncoder
from nearfar.learn.export import export_image_graph

pytest.importorskip("torch_pruning")

WIDE: dict[str, dict[str, object]] = {
    "cnn": {"kind": "cnn", "width": 16, "dim": 40},
    "resnet18": {"kind": "resnet", "width": 16},
    "resnet50": {"kind": "resnet", "depth": 50, "width": 16},
    "mobilenet": {"kind": "mobilenet", "multiplier": 0.25, "dim": 40},
}
KINDS = pytest.mark.parametrize("kind", WIDE)
GROUPS = {f"{kind}-group": {**block, "norm": "group"} for kind, block in WIDE.items() if kind != "resnet50"}


def settled(block: dict[str, object]) -> ImageEncoder:
    """An encoder in eval mode whose norms have scales, shifts and statistics like those of trained ones."""
    encoder = made_encoder(block)
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
    refresh_statistics(encoder, [made_pictures(32, seed=9)])
    return encoder.eval()


def convolutions(encoder: ImageEncoder) -> list[nn.Conv2d]:
    return [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]


def count(encoder: ImageEncoder) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())


def kept_whole(encoder: ImageEncoder) -> set[nn.Module]:
    """The convolutions whose channels end up in the features: the last, and in a residual network what it is added to."""
    if not isinstance(encoder, ResNetImageEncoder):
        return {convolutions(encoder)[-1]}
    last = [block for block in encoder.blocks if block.residual[-1][0].out_channels == encoder.dim]  # type: ignore[index,union-attr]
    shortcuts = [block.shortcut for block in last if isinstance(block.shortcut, nn.Sequential)]  # type: ignore[union-attr]
    return {pair[0] for pair in (*(block.residual[-1] for block in last), *shortcuts)}  # type: ignore[index,union-attr]


def dead(width: int) -> list[int]:
    """Half of the channels of a layer, the same ones of all layers of a width."""
    return torch.randperm(width, generator=torch.Generator().manual_seed(width))[: width // 2].tolist()


@torch.no_grad()
def silence_half(encoder: ImageEncoder) -> None:
    """The dead channels are zero whatever comes in, and nobody reads them (what reads a channel is part of its weight)."""
    whole = kept_whole(encoder)
    for pair in encoder.modules():
        if not isinstance(pair, nn.Sequential) or not isinstance(pair[0], nn.Conv2d):
            continue
        convolution, norm = pair[0], pair[1]
        if convolution.groups == 1 and convolution.in_channels >= 8:
            convolution.weight[:, dead(convolution.in_channels)] = 0
        if convolution not in whole:
            gone = dead(convolution.out_channels)
            for values in (convolution.weight, norm.weight, norm.bias, norm.running_mean):
                values[gone] = 0


@KINDS
def test_channels_that_do_nothing_are_not_missed(kind: str) -> None:
    encoder, pictures = settled(WIDE[kind]), made_pictures(5)
    with torch.no_grad():
        whole = encoder(pictures)
        silence_half(encoder)
        expected, found = encoder(pictures), prune_channels(encoder, 0.5)(pictures)
    assert float((whole - expected).abs().max()) > 1e-2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [*WIDE, *GROUPS])
def test_widths_are_halved_in_eights_and_the_features_stay(kind: str) -> None:
    encoder = made_encoder((WIDE | GROUPS)[kind])
    pruned, whole = prune_channels(encoder, 0.5), kept_whole(encoder)
    for before, after in zip(convolutions(encoder), convolutions(pruned), strict=True):
        if before in whole:
            assert after.out_channels == before.out_channels
        else:
            assert after.out_channels % 8 == 0
            assert abs(after.out_channels - before.out_channels / 2) <= 4
        assert after.weight.shape[:2] == (after.out_channels, after.in_channels // after.groups)
    assert pruned.dim == encoder.dim
    features = pruned(made_pictures(4))
    assert features.shape == (4, encoder.dim)
    (features * torch.linspace(-1, 1, encoder.dim)).sum().backward()
    assert all(parameter.grad is not None for parameter in pruned.parameters())
    assert count(pruned) < 0.55 * count(encoder)


@pytest.mark.parametrize(("keep", "width"), [(0.01, 8), (0.3, 8), (0.5, 16), (0.7, 24), (0.95, 32), (1.0, 32)])
def test_numbers_that_are_kept(keep: float, width: int) -> None:
    pruned = prune_channels(made_encoder({"kind": "cnn", "width": 32}), keep)
    assert convolutions(pruned)[0].out_channels == width


def test_a_width_that_is_no_multiple_of_8_never_grows() -> None:
    pruned = prune_channels(made_encoder({"kind": "cnn", "width": 22}), 0.99)
    assert [layer.out_channels for layer in convolutions(pruned)] == [22, 40, 40, 128]


def test_groupnorm_loses_as_many_channels_in_each_group() -> None:
    encoder = made_encoder({"kind": "cnn", "width": 32, "dim": 40, "norm": "group"}).eval()
    convolution, norm = encoder.layers[0][0], encoder.layers[0][1]  # type: ignore[index]
    assert norm.num_groups == 2
    small = [*range(8), *range(16, 24)]
    with torch.no_grad():
        convolution.weight[small] *= 1e-3
        encoder.layers[1][0].weight[:, small] *= 1e-3  # type: ignore[index]
    first = prune_channels(encoder, 0.5).layers[0]  # type: ignore[index]
    assert (first[1].num_groups, first[1].num_channels) == (2, 16)
    kept = [*range(8, 16), *range(24, 32)]
    torch.testing.assert_close(first[0].weight, convolution.weight[kept], rtol=0, atol=0)


def test_the_given_encoder_stays_as_it_is_and_shares_nothing() -> None:
    encoder = made_encoder(WIDE["resnet18"]).train()
    before = copy.deepcopy(encoder.state_dict())
    for keep in (0.5, 1.0):
        pruned = prune_channels(encoder, keep)
        assert pruned.training
        with torch.no_grad():
            for parameter in pruned.parameters():
                parameter.zero_()
    assert encoder.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize("kind", ["cnn", "resnet18"])
def test_what_ships_agrees(kind: str) -> None:
    pruned, pictures = prune_channels(settled(WIDE[kind]), 0.5), made_pictures(5)
    refresh_statistics(pruned, [made_pictures(32, seed=9)])
    graph = export_image_graph(pruned, size=32, channels=3, dim=None, quantise="none")
    found = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = F.normalize(pruned(pictures), dim=1)
    embedding = torch.from_numpy(found.run(None, {"pixels": pictures.numpy()})[0])
    torch.testing.assert_close(embedding, expected, rtol=0, atol=1e-4)


def test_statistics_are_those_of_the_pictures() -> None:
    """Over all batches alike; then eval mode makes of them what training mode does."""
    encoder = prune_channels(settled(WIDE["resnet18"]), 0.5)
    pictures = made_pictures(64, seed=4)
    with torch.no_grad():
        stale = encoder(pictures)
        refresh_statistics(encoder, [pictures])
        assert not encoder.training
        fresh = encoder(pictures)
        expected = encoder.train()(pictures)
    apart = [float((found - expected).norm() / expected.norm()) for found in (stale, fresh)]
    assert apart[1] < 0.03 < 0.1 < apart[0]
    norm = next(layer for layer in encoder.modules() if isinstance(layer, nn.BatchNorm2d))
    assert norm.momentum == 0.1


def test_what_cannot_be_done_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=r"no layer of VitImageEncoder has channels .* Use steps heads and layers"):
        prune_channels(made_encoder(SMALL["vit"]), 0.5)
    encoder = made_encoder(SMALL["cnn"])
    for keep in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"share in \(0, 1\]"):
            prune_channels(encoder, keep)
    with pytest.raises(ValueError, match="pictures to take statistics of"):
        refresh_statistics(encoder, [])
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingExtraError, match=r"step channels needs .*nearfar\[prune\]"):
        prune_channels(encoder, 0.5)


def test_a_linear_map_of_the_whole_map_loses_what_it_read_of_the_channels() -> None:
    encoder = settled({"kind": "cnn", "width": 16, "dim": 40, "pool": "map"})
    smaller = prune_channels(encoder, 0.5, size=32)
    assert [layer.out_channels for layer in convolutions(smaller)] == [8, 16, 16, 32]
    assert (smaller.dim, smaller.width, smaller.projection.in_features) == (40, 32, 32 * 16)
    graph = export_image_graph(smaller, size=32, channels=3, dim=None, quantise="none")
    pictures = made_pictures(3)
    (embedding,) = onnxruntime.InferenceSession(graph).run(None, {"pixels": pictures.numpy()})
    with torch.no_grad():
        expected = F.normalize(smaller.eval()(pictures), dim=1).numpy()
    assert abs(embedding - expected).max() < 1e-4
