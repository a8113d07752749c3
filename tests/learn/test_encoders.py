"""Encoders: the static one against a plain loop, the others against themselves in other company."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from made_models import STATIC, TRANSFORMER, made_model, made_texts

from nearfar.learn.data.batches import Tokens
from nearfar.learn.encoders.static import StaticTextEncoder
from nearfar.learn.encoders.text import PaddedTextEncoder, pad
from nearfar.learn.model import TorchEmbedder
from nearfar.recipe.text import StaticEncoder

TEXTS = [[3], [4, 4, 5, 4], [7, 8, 9], [5, 5], [0, 3, 3]]


def joined(texts: Sequence[Sequence[int]]) -> Tokens:
    return Tokens.of([np.array(text, np.int32) for text in texts], empty=0)


def static(**settings: object) -> StaticTextEncoder:
    torch.manual_seed(0)
    share = np.array([0.0, 1.0, 0.0, 0.9, 0.5, 0.1, 0.01, 0.2, 0.3, 0.4])
    block = StaticEncoder.model_validate({"kind": "static", "dim": 8, **settings})
    return StaticTextEncoder(block, vocab_size=10, document_share=share)


@pytest.mark.parametrize("frequency", ["sqrt", "linear"])
@pytest.mark.parametrize("projection", [None, 5])
def test_static_is_a_weighted_sum(frequency: str, projection: int | None) -> None:
    encoder = static(term_frequency=frequency, projection=projection).eval()
    found = encoder(joined(TEXTS)).detach()
    assert found.shape == (len(TEXTS), encoder.dim)
    table, weight = encoder.table.detach(), encoder.token_weight.detach()
    folded = torch.from_numpy(encoder.folded_table())
    for text, vector in zip(TEXTS, found, strict=True):
        expected, from_folded = torch.zeros(8), torch.zeros(encoder.dim)
        for token in set(text):
            count = text.count(token)
            share = math.sqrt(count) if frequency == "sqrt" else count
            expected += share * weight[token] * table[token]
            from_folded += share * folded[token]
        if encoder.projection is not None:
            expected = encoder.projection.weight.detach() @ expected
        torch.testing.assert_close(vector, expected)
        torch.testing.assert_close(vector, from_folded)


def test_rare_tokens_weigh_more_at_the_start() -> None:
    weight = static().token_weight.detach()
    assert weight[6] > weight[5] > weight[4] > weight[3] > weight[1] > 0
    assert weight[0] == weight[2] == weight[6]  # unseen as much as the rarest seen one
    assert float(weight.mean()) == pytest.approx(1.0)
    everywhere = StaticTextEncoder(StaticEncoder(kind="static", dim=8), vocab_size=3, document_share=np.ones(3))
    assert everywhere.token_weight.tolist() == [1.0, 1.0, 1.0]


def test_token_dropout_is_for_training_only() -> None:
    encoder = static(token_dropout=0.5)
    whole = encoder.eval()(joined(TEXTS))
    assert torch.equal(encoder(joined(TEXTS)), whole)
    torch.manual_seed(0)
    dropped = encoder.train()(joined([[3, 4, 5, 6, 7, 8, 9]] * 200))
    kept = (dropped @ torch.linalg.pinv(encoder.table[3:] * encoder.token_weight[3:, None])).detach()
    share = (kept.abs() > 0.5).float().mean()
    assert abs(float(share) - 0.5) < 0.05
    # A text that lost all its tokens neither breaks the loss nor gets a gradient.
    nothing = static(token_dropout=0.999).train()
    vectors = torch.nn.functional.normalize(nothing(joined([[3]] * 50)), dim=-1)
    vectors.sum().backward()
    assert nothing.table.grad is not None
    assert bool(torch.isfinite(nothing.table.grad).all())


@pytest.mark.parametrize("frequency", ["sqrt", "linear"])
def test_company_does_not_change_a_static_vector(frequency: str) -> None:
    encoder = static(term_frequency=frequency).eval()
    together = encoder(joined(TEXTS))
    for text, vector in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(encoder(joined([text]))[0], vector)


def test_pad_is_a_rectangle() -> None:
    ids, mask = pad(joined([[4], [5, 6, 7]]), 9)
    assert ids.tolist() == [[4, 9, 9], [5, 6, 7]]
    assert mask.tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_transformer_does_not_see_padding(pooling: str) -> None:
    method, frontend = made_model(TRANSFORMER, f"encoder.pooling={pooling}")
    encoder = method.query_tower
    assert isinstance(encoder, PaddedTextEncoder)
    rows = frontend.encode(made_texts(12), "query")
    with torch.no_grad():
        together = encoder(Tokens.of(rows, frontend.pad_id))
        assert together.std() > 0.1
        for row, vector in zip(rows, together, strict=True):
            alone = encoder(Tokens.of([row], frontend.pad_id))[0]
            torch.testing.assert_close(alone, vector, rtol=1e-4, atol=1e-5)
        ids, mask = pad(Tokens.of(rows, frontend.pad_id), frontend.pad_id)
        ids[mask == 0] = 17  # whatever stands there
        torch.testing.assert_close(encoder.embed_padded(ids, mask), together, rtol=1e-4, atol=1e-5)
        turned = encoder(Tokens.of([row[::-1].copy() for row in rows], frontend.pad_id))
        assert not torch.allclose(turned, together, atol=1e-2)  # order counts


@pytest.mark.parametrize("encoder", [STATIC, TRANSFORMER])
def test_the_embedder_gives_unit_rows_in_order_whatever_the_batches(encoder: str) -> None:
    method, frontend = made_model(encoder)
    texts = ["", *made_texts(30)]
    whole = TorchEmbedder(method, frontend).embed(texts)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(TorchEmbedder(method, frontend, batch_size=4).embed(texts), whole, atol=1e-5)
    short = TorchEmbedder(method, frontend, dim=8).embed(texts)
    np.testing.assert_allclose(short, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-5)
    assert TorchEmbedder(method, frontend).embed([]).shape == (0, 32)
    method.train()
    again = TorchEmbedder(method, frontend).embed(texts)
    assert method.training
    np.testing.assert_allclose(again, whole, atol=1e-6)


def test_fresh_weights_come_from_the_seed() -> None:
    def table(*overrides: str) -> torch.Tensor:
        return made_model(STATIC, *overrides)[0].query_tower.table.detach()  # type: ignore[return-value]

    assert torch.equal(table(), table())
    assert not torch.equal(table(), table("seed=1"))
    method, _ = made_model(STATIC, "method.towers=separate")
    assert not torch.equal(method.query_tower.table, method.document_tower.table)  # type: ignore[arg-type]


def test_the_gradient_repeats_to_the_bit_on_several_threads() -> None:
    """Batches of real size: below some ten thousand tokens one thread does all the work and order is no question."""
    generator = np.random.default_rng(0)
    tokens = joined([generator.integers(0, 500, 200) for _ in range(512)])
    encoder = StaticTextEncoder(StaticEncoder(kind="static", dim=64), vocab_size=500)
    target = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        gradients = []
        for _ in range(8):
            encoder.zero_grad()
            (encoder(tokens) * target).sum().backward()
            assert encoder.token_weight.grad is not None
            assert encoder.table.grad is not None
            gradients.append((encoder.token_weight.grad.clone(), encoder.table.grad.clone()))
    finally:
        torch.set_num_threads(threads)
    for weight, table in gradients[1:]:
        assert torch.equal(weight, gradients[0][0])
        assert torch.equal(table, gradients[0][1])
