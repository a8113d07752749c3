"""Conditions in Qdrant's real engine, which the package qdrant-edge-py runs in this process: the same code as the server's."""

import random

import pytest
from conditions import KEYS, VALUES, made_condition, made_metadata

from nearfar.connect.outgoing import json_metadata, passage_key
from nearfar.connect.qdrant_where import where_filter
from nearfar.edge.where import matches
from nearfar.errors import DataError

models = pytest.importorskip("qdrant_client", reason="the extra qdrant is not installed").models
engine = pytest.importorskip("qdrant_edge", reason="qdrant-edge-py is not installed")

_KEYS = tuple(key for key in KEYS if '"' not in key)
# The package makes MatchValue(True) a MatchValue(1), so conditions ask for no bools here; the metadata have them.
_VALUES = tuple(value for value in VALUES if not isinstance(value, bool))


def _filter(given):
    parts = {
        name: [_part(part) for part in getattr(given, name)]
        for name in ("must", "should", "must_not")
        if getattr(given, name) is not None
    }
    return engine.Filter(**parts)


def _part(given):
    match given:
        case models.Filter():
            return _filter(given)
        case models.HasIdCondition():
            return engine.HasIdCondition(set(given.has_id))
        case models.IsEmptyCondition():
            return engine.IsEmptyCondition(given.is_empty.key)
        case models.FieldCondition(match=models.MatchValue() as match):
            return engine.FieldCondition(given.key, match=engine.MatchValue(match.value))
        case models.FieldCondition(range=models.Range() as bounds):
            return engine.FieldCondition(given.key, range=engine.RangeFloat(**bounds.model_dump()))
    raise AssertionError(given)


@pytest.fixture(scope="module")
def metadata():
    return [made_metadata(seed, keys=_KEYS) for seed in range(400)]


@pytest.fixture(scope="module")
def shard(metadata, tmp_path_factory):
    vectors = engine.EdgeVectorParams(size=2, distance=engine.Distance.Dot)
    shard = engine.EdgeShard.create(str(tmp_path_factory.mktemp("shard")), engine.EdgeConfig(vectors=vectors))
    points = [
        engine.Point(passage_key(str(number), 0), [1.0, 0.0], {"metadata": json_metadata(known, str(number))})
        for number, known in enumerate(metadata)
    ]
    shard.update(engine.UpdateOperation.upsert_points(points))
    yield shard
    shard.close()


def test_conditions_mean_what_they_mean_on_the_device(metadata, shard):
    rng = random.Random(2)
    said = found = 0
    for _ in range(500):
        condition = made_condition(rng, depth=2, keys=_KEYS, values=_VALUES, patterns=())
        try:
            narrowed = _filter(where_filter(condition))
        except DataError:
            continue  # an order of texts, or a very long number
        points, _ = shard.scroll(engine.ScrollRequest(limit=1000, filter=narrowed))
        expected = {passage_key(str(number), 0) for number, known in enumerate(metadata) if matches(condition, known)}
        assert {point.id for point in points} == expected, condition
        said += 1
        found += bool(expected)
    assert said > 150
    assert found > 50
