"""Encoders of histories and of items, and the graphs that ship."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_actions import made_content
from pydantic import TypeAdapter

from nearfar.learn.encoders.build_sequence import build_sequence_encoder
from nearfar.learn.encoders.item_start import item_start
from nearfar.learn.encoders.item_tower import ItemTower
from nearfar.learn.export.sequence import choose_sequence_graph, export_sequence_graph, run_graph
from nearfar.recipe.events import SequenceEncoderSettings

LENGTH, GAPS, WIDTHS, DIM = 12, 9, (4, 2, 3), 16
KINDS = {
    "transformer": {"kind": "sequence_transformer", "dim": DIM, "layers": 2, "heads": 2},
    "one block": {"kind": "sequence_transformer", "dim": DIM, "layers": 1, "heads": 4},
    "gru": {"kind": "sequence_gru", "dim": DIM, "layers": 2},
    "average": {"kind": "decayed_average", "dim": DIM, "half_life": 3.0},
}


def built(kind, context=WIDTHS):
    torch.manual_seed(0)
    settings = TypeAdapter(SequenceEncoderSettings).validate_python(KINDS[kind])
    encoder = build_sequence_encoder(settings, length=LENGTH, gaps=GAPS, context=context).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():  # so that nothing is zero, as some begin
            parameter += 0.1 * torch.randn_like(parameter)
    return encoder


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def histories(lengths, *, context=True, padded=None, seed=0):
    """Histories of these lengths, left padded to `padded` or the longest, as the graph takes them."""
    rng = np.random.default_rng(seed)
    longest = padded or max(1, *lengths)
    n = len(lengths)
    feed = {
        "vectors": np.zeros((n, longest, DIM), np.float32),
        "gaps": np.zeros((n, longest), np.int64),
        "weights": np.zeros((n, longest), np.float32),
        "mask": np.zeros((n, longest), np.float32),
    }
    for row, count in enumerate(lengths):
        there = slice(longest - count, None) if count else slice(0, 0)
        feed["vectors"][row, there] = rng.normal(size=(count, DIM))
        feed["gaps"][row, there] = rng.integers(GAPS, size=count)
        feed["weights"][row, there] = rng.uniform(0.2, 3.0, size=count)
        feed["mask"][row, there] = 1
    if context:
        feed["values"] = rng.normal(size=(n, len(WIDTHS))).astype(np.float32)
        feed["codes"] = rng.integers(0, WIDTHS, size=(n, len(WIDTHS)))
    return feed


@torch.no_grad()
def users(encoder, feed):
    return encoder(*(torch.from_numpy(part) for part in feed.values())).numpy()


def test_padding_before_a_history_changes_nothing(kind):
    encoder = built(kind)
    lengths = (5, 1, 0, 12, 3)
    together = users(encoder, histories(lengths, padded=12))
    for row, count in enumerate(lengths):
        feed = {name: part[row : row + 1] for name, part in histories(lengths, padded=12).items()}
        for name in ("vectors", "gaps", "weights", "mask"):
            feed[name] = feed[name][:, 12 - max(1, count) :]
        np.testing.assert_allclose(users(encoder, feed)[0], together[row], atol=2e-6)


def test_all_places_at_once_are_the_histories_one_by_one(kind):
    encoder = built(kind)
    lengths = (6, 2, 0, 9)
    feed = histories(lengths, padded=9)
    parts = [torch.from_numpy(part) for part in feed.values()]
    values, codes = (part.unsqueeze(1).expand(-1, 10, -1) for part in parts[4:])
    with torch.no_grad():
        everywhere = encoder.everywhere(*parts[:4], values, codes).numpy()
    for end in range(1, 10):
        cut = {
            name: part[:, :end] if name in ("vectors", "gaps", "weights", "mask") else part
            for name, part in feed.items()
        }
        np.testing.assert_allclose(users(encoder, cut), everywhere[:, end], atol=2e-6)
    nothing = {name: np.zeros_like(part[:, :1]) for name, part in list(feed.items())[:4]}
    nothing |= {name: feed[name] for name in ("values", "codes")}
    np.testing.assert_allclose(users(encoder, nothing), everywhere[:, 0], atol=2e-6)


def test_an_empty_history_is_known_by_its_context(kind):
    encoder = built(kind)
    first, second = (histories((0, 0), seed=seed) for seed in (1, 2))
    second["vectors"] = second["vectors"] + 1  # of no meaning where the mask is 0
    same = {**second, "values": first["values"], "codes": first["codes"]}
    np.testing.assert_array_equal(users(encoder, first), users(encoder, same))
    assert np.abs(users(encoder, first) - users(encoder, second)).max() > 1e-3


def test_everything_of_an_action_counts(kind):
    encoder = built(kind)
    feed = histories((8,))
    plain = users(encoder, feed)
    for name, other in (
        ("gaps", (feed["gaps"] + 1) % GAPS),
        ("weights", feed["weights"] ** 2),
        ("codes", 1 - feed["codes"] % 2),
    ):
        assert np.abs(users(encoder, {**feed, name: other}) - plain).max() > 1e-4
    turned = {**feed, "vectors": feed["vectors"][:, ::-1].copy()}
    assert np.abs(users(encoder, turned) - plain).max() > 1e-3


@pytest.mark.parametrize("context", [True, False])
def test_the_graph_is_the_encoder(kind, context):
    encoder = built(kind, WIDTHS if context else ())
    features = len(WIDTHS) if context else 0
    content = export_sequence_graph(encoder, length=LENGTH, features=features, quantise="none")
    for lengths, padded in (((1,), 1), ((0,), 1), ((12,), 12), ((4, 12, 0, 1), 12), ((2, 3), 3)):
        feed = histories(lengths, context=context, padded=padded)
        np.testing.assert_allclose(run_graph(content, feed), users(encoder, feed), atol=1e-5)


def test_int8_keeps_the_vectors(kind):
    encoder = built(kind)
    examples = histories(tuple(range(1, 13)) * 4)
    graph = choose_sequence_graph(encoder, examples, length=LENGTH, features=3)
    assert graph.agreement > 0.99
    assert graph.weights == ("float32" if kind == "gru" else "int8")
    alone = histories((7,))
    wide = {
        name: np.pad(part, ((0, 0), (5, 0), (0, 0))[: part.ndim])
        if name in ("vectors", "gaps", "weights", "mask")
        else part
        for name, part in alone.items()
    }
    found, padded = run_graph(graph.content, alone), run_graph(graph.content, wide)
    # Activations get their range from all that is in the batch, padding too: not the same to the last digit.
    assert (found * padded).sum() / np.linalg.norm(found) / np.linalg.norm(padded) > 0.999


def test_where_int8_loses_too_much_the_graph_stays_float():
    encoder = built("transformer")
    graph = choose_sequence_graph(encoder, histories((5, 3)), length=LENGTH, features=3, least=1.1)
    assert graph.weights == "float32"
    assert graph.agreement < 1.0


def test_a_graph_for_directions_gives_the_scores_of_training():
    encoder = built("transformer", ())
    content = export_sequence_graph(encoder, length=LENGTH, quantise="none", cosine=True, temperature=0.05)
    np.testing.assert_allclose(
        np.linalg.norm(run_graph(content, histories((4, 9), context=False)), axis=1), 20, rtol=1e-4
    )


def test_histories_of_one_action_at_most():
    settings = TypeAdapter(SequenceEncoderSettings).validate_python(KINDS["transformer"])
    encoder = build_sequence_encoder(settings, length=1, gaps=GAPS).eval()
    content = export_sequence_graph(encoder, length=1, quantise="none")
    feed = histories((1, 0), context=False)
    np.testing.assert_allclose(run_graph(content, feed), users(encoder, feed), atol=1e-5)


def test_items_are_their_own_vector_and_their_content():
    torch.manual_seed(0)
    content = made_content(np.arange(10), 10)
    tower = ItemTower(10, warm=7, dim=DIM, content=content)
    numbers = torch.tensor([9, 0, 3, 3])
    by_content = torch.zeros(10, dtype=torch.bool)
    by_content[3] = True
    whole, some = tower(numbers), tower(numbers, by_content)
    alone = tower.of_content(content)[numbers]
    torch.testing.assert_close(whole[0], alone[0])  # cold
    torch.testing.assert_close(some[2:], alone[2:])
    torch.testing.assert_close(whole[1], alone[1] + tower.own.weight[0])
    torch.testing.assert_close(some[:2], whole[:2])
    assert (whole[2] - some[2]).abs().max() > 1e-3
    some[2:].sum().backward()
    assert not tower.own.weight.grad.any()


def test_items_that_are_acted_on_together_begin_near_each_other():
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(60), 20)
    items = rng.integers(10, size=len(owners)) + 10 * (owners % 2)  # two circles of people
    start = item_start(items, owners, 20, 8, seed=0)
    assert start.shape == (20, 8)
    assert np.linalg.norm(start, axis=1).mean() == pytest.approx(1.0, abs=1e-5)
    products = start @ start.T
    assert products[:10, :10].mean() > products[:10, 10:].mean() + 0.1
    np.testing.assert_array_equal(start, item_start(items, owners, 20, 8, seed=0))
    assert item_start(items[:1], owners[:1], 20, 8, seed=0).any() == 0
    assert np.isfinite(item_start(items, owners, 20, 64, seed=0)).all()
