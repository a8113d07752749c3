"""Encoders of rows, the method on top of them, and the graphs that ship."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from nearfar.learn.data.table_batches import RowBatch
from nearfar.learn.encoders.build_table import build_table_encoder
from nearfar.learn.encoders.table import FeatureVectors
from nearfar.learn.export.table import export_table_graph
from nearfar.learn.losses import clip
from nearfar.learn.methods.scarf import Scarf
from nearfar.recipe.table import Scarf as ScarfSettings
from nearfar.recipe.table import TableEncoderSettings

WIDTHS = (2, 5, 2, 3)
KINDS = {
    "mlp": {"kind": "mlp", "width": 16, "layers": 3, "dim": 8},
    "without a skip": {"kind": "mlp", "width": 16, "layers": 2, "dim": 8, "skip": False},
    "feature_tokens": {"kind": "feature_tokens", "dim": 8, "heads": 2, "layers": 2},
}


@pytest.fixture(params=KINDS)
def encoder(request):
    torch.manual_seed(0)
    settings = TypeAdapter(TableEncoderSettings).validate_python(KINDS[request.param])
    return build_table_encoder(settings, WIDTHS).eval()


def features(count, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, WIDTHS, size=(count, len(WIDTHS)))
    values = rng.normal(size=codes.shape).astype(np.float32) * (np.array(WIDTHS) == 2) * (codes == 1)
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(codes)


def test_every_column_counts(encoder):
    values, codes = features(40)
    plain = encoder(values, codes)
    assert plain.shape == (40, 8)
    for feature, width in enumerate(WIDTHS):
        other = codes.clone()
        other[:, feature] = (other[:, feature] + 1) % width
        assert (encoder(values, other) - plain).abs().amax(dim=1).min() > 1e-4
    for feature in (0, 2):
        moved = values.clone()
        moved[:, feature] += 1
        assert (encoder(moved, codes) - plain).abs().amax(dim=1).min() > 1e-4


def test_a_row_does_not_depend_on_the_others(encoder):
    values, codes = features(20)
    torch.testing.assert_close(encoder(values, codes)[:5], encoder(values[:5], codes[:5]))


def test_the_sum_of_feature_vectors_is_that_of_one_hot_columns():
    vectors = FeatureVectors(WIDTHS, 6)
    values, codes = features(10)
    one_hot = torch.cat([nn.functional.one_hot(codes[:, i], width) for i, width in enumerate(WIDTHS)], dim=1).float()
    expected = one_hot @ vectors.of_code.weight + values @ vectors.of_value
    torch.testing.assert_close(vectors.summed(values, codes), expected)
    torch.testing.assert_close(vectors(values, codes).sum(dim=1), expected)


@pytest.mark.parametrize("quantise", ["none", "int8"])
def test_the_graph_gives_unit_vectors_of_the_encoder(encoder, quantise):
    session = onnxruntime.InferenceSession(export_table_graph(encoder, features=4, dim=6, quantise=quantise))
    assert {node.name: node.type for node in session.get_inputs()} == {
        "values": "tensor(float)",
        "codes": "tensor(int64)",
    }
    values, codes = features(50)
    (found,) = session.run(["embedding"], {"values": values.numpy(), "codes": codes.numpy()})
    with torch.no_grad():
        expected = nn.functional.normalize(encoder(values, codes)[:, :6], dim=-1).numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    cosines = (found * expected).sum(axis=1)
    assert cosines.min() > (1 - 1e-5 if quantise == "none" else 0.95)


def test_the_loss_is_infonce_between_row_and_copy(encoder):
    method = Scarf(encoder, ScarfSettings(kind="scarf", projector=(12, 6), temperature=0.5))
    values, codes = features(24)
    batch = RowBatch(values.view(12, 2, -1), codes.view(12, 2, -1))
    embedded = method.embed(batch)
    assert embedded.features.shape == (12, 2, 8)
    assert embedded.projections.shape == (12, 2, 6)
    first, second = (method.projector(encoder(batch.values[:, view], batch.codes[:, view])) for view in (0, 1))
    torch.testing.assert_close(method.loss(embedded), clip(first, second, temperature=0.5))
    logits = nn.functional.normalize(first, dim=-1) @ nn.functional.normalize(second, dim=-1).T / 0.5
    target = torch.arange(12)
    both = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
    torch.testing.assert_close(method.loss(embedded), both)


def test_a_batch_in_parts_embeds_to_the_same(encoder):
    method = Scarf(encoder, ScarfSettings(kind="scarf", projector=(6,)))
    values, codes = features(20)
    batch = RowBatch(values.view(10, 2, -1), codes.view(10, 2, -1))
    parts = torch.cat([method.embed(part).projections for part in batch.split(4)])
    torch.testing.assert_close(parts, method.embed(batch).projections)
