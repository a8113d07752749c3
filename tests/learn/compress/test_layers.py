"""A transformer with fewer layers does what one whose other layers do nothing would do."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from made_hf_models import made_hf_encoder, made_rows
from made_image_encoders import SMALL, made_encoder, made_pictures
from made_models import STATIC, made_model
from torch import nn

from nearfar.errors import RunError
from nearfar.learn.compress.layers import evenly_spaced, keep_layers, layers_of
from nearfar.learn.encoders.text import PaddedTextEncoder
from nearfar.learn.encoders.transformer import TransformerTextEncoder
from nearfar.learn.export import export_graph, export_image_graph

needs_transformers = pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")


def of_text(layers: int = 4) -> TransformerTextEncoder:
    method, _ = made_model(f"{{kind: transformer, dim: 32, heads: 4, layers: {layers}, feedforward: 64}}")
    tower = method.query_tower
    assert isinstance(tower, TransformerTextEncoder)
    return tower


def shipped(encoder: PaddedTextEncoder, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(
        export_graph(encoder, dim=encoder.dim, quantise="none"), providers=["CPUExecutionProvider"]
    )
    return torch.from_numpy(session.run(None, {"ids": ids.numpy(), "mask": mask.numpy()})[0])


@pytest.mark.parametrize(
    ("count", "keep", "places"),
    [
        (12, 6, [0, 2, 4, 7, 9, 11]),
        (6, 3, [0, 3, 5]),
        (6, 2, [0, 5]),
        (6, 6, [0, 1, 2, 3, 4, 5]),
        (6, 1, [0]),
        (1, 1, [0]),
    ],
)
def test_places_are_spread_evenly(count: int, keep: int, places: list[int]) -> None:
    assert evenly_spaced(count, keep) == places


@pytest.mark.parametrize("count", range(1, 25))
def test_places_differ_for_every_number(count: int) -> None:
    for keep in range(1, count + 1):
        places = evenly_spaced(count, keep)
        assert len(set(places)) == keep
        assert places == sorted(places)
        assert places[0] == 0
        assert keep == 1 or places[-1] == count - 1


@pytest.mark.parametrize("kind", ["text", "vit"])
def test_layers_that_do_nothing_are_not_missed(kind: str) -> None:
    encoder = of_text() if kind == "text" else made_encoder({**SMALL["vit"], "layers": 4}).eval()
    for block in layers_of(encoder)[1:3]:
        for last in (block.mix, block.feedforward[3]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
    smaller = keep_layers(encoder, 2)
    assert len(layers_of(smaller)) == 2
    inputs = made_rows() if kind == "text" else (made_pictures(3),)
    embed = "embed_padded" if kind == "text" else "__call__"
    with torch.no_grad():
        torch.testing.assert_close(getattr(smaller, embed)(*inputs), getattr(encoder, embed)(*inputs), rtol=0, atol=0)


def test_the_given_encoder_stays_as_it_is_and_shares_nothing() -> None:
    encoder = of_text().train()
    before = copy.deepcopy(encoder.state_dict())
    smaller = keep_layers(encoder, 2)
    assert smaller.training
    assert len(layers_of(encoder)) == 4
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_the_parameters_of_the_others_are_gone_and_the_rest_learns() -> None:
    encoder = of_text()
    smaller = keep_layers(encoder, 3)
    of_a_layer = sum(parameter.numel() for parameter in layers_of(encoder)[0].parameters())
    counts = [sum(parameter.numel() for parameter in one.parameters()) for one in (encoder, smaller)]
    assert counts[0] - counts[1] == of_a_layer
    (smaller.embed_padded(*made_rows()) * torch.linspace(-1, 1, 32)).sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in smaller.parameters())


def test_what_ships_agrees() -> None:
    smaller, rows = keep_layers(of_text(), 2), made_rows()
    with torch.no_grad():
        expected = F.normalize(smaller.embed_padded(*rows), dim=1)
    torch.testing.assert_close(shipped(smaller, *rows), expected, rtol=0, atol=1e-5)
    pictures, vit = made_pictures(3), keep_layers(made_encoder(SMALL["vit"]).eval(), 1)
    graph = export_image_graph(vit, size=32, channels=3, dim=None, quantise="none")
    found = onnxruntime.InferenceSession(graph).run(None, {"pixels": pictures.numpy()})[0]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), F.normalize(vit(pictures), dim=1), rtol=0, atol=1e-5)


@needs_transformers
@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "nomic_bert"])
def test_models_of_transformers(kind: str, tmp_path: Path) -> None:
    """Layers 0 and 3 of 4, by hand: the others pass on what they are given."""
    encoder, rows = made_hf_encoder(kind, tmp_path / "model"), made_rows()
    smaller = keep_layers(encoder, 2)
    assert smaller.model.config.num_hidden_layers == len(layers_of(smaller)) == 2
    assert encoder.model.config.num_hidden_layers == len(layers_of(encoder)) == 4
    for layer in layers_of(encoder)[1:3]:
        layer.register_forward_hook(lambda _, given, __: given[0])
    with torch.no_grad():
        expected = encoder.embed_padded(*rows)
        torch.testing.assert_close(smaller.embed_padded(*rows), expected, rtol=0, atol=1e-6)
    if kind == "nomic_bert":  # an export takes seconds
        torch.testing.assert_close(shipped(smaller, *rows), F.normalize(expected, dim=1), rtol=0, atol=1e-5)


@needs_transformers
def test_kinds_of_layers_go_with_them(tmp_path: Path) -> None:
    encoder = made_hf_encoder("modernbert", tmp_path / "model")
    kinds = encoder.model.config.layer_types
    assert len(set(kinds)) == 2
    assert keep_layers(encoder, 3).model.config.layer_types == [kinds[0], kinds[2], kinds[3]]


@needs_transformers
def test_layers_that_share_their_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"type 'albert' cannot be told .*4 layers.*out of compress\.steps"):
        keep_layers(made_hf_encoder("albert", tmp_path / "model"), 2)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(RunError, match="keep is 5, but the encoder has only 4 layers: lower it"):
        keep_layers(of_text(), 5)
    with pytest.raises(RunError, match=r"StaticTextEncoder has no layers .* kind transformer, hf and vit"):
        keep_layers(made_model(STATIC)[0].query_tower, 1)
    with pytest.raises(RunError, match="CnnImageEncoder has no layers"):
        keep_layers(made_encoder(SMALL["cnn"]), 1)
    with pytest.raises(ValueError, match="at least one layer"):
        keep_layers(of_text(), 0)
