"""The sources of a run: when they begin, what comes back, what does not count, and that a restart changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nearfar.learn.losses import info_nce
from nearfar.learn.negatives import NegativeSources, first_step, ledger, positives_within
from nearfar.recipe.negatives import Bank, Mined, Negatives, Queue

DIM = 5
ITEMS = 60


def made(settings: Negatives, *, total_steps: int = 20, encoder: nn.Module | None = None) -> NegativeSources:
    return NegativeSources(settings, dim=DIM, items=ITEMS, queries=30, total_steps=total_steps, seed=3, encoder=encoder)


def batch(step: int, count: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors of running documents, each with an owner of its own."""
    ids = (torch.arange(count) + step * count) % ITEMS
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(step)), ids, ids + 500


BOTH = Negatives(
    queue=Queue(size=10, start=0.25), bank=Bank(sample=6, start=0.5), mined=Mined(start=0.3, every=4, keep=3)
)


def test_without_a_block_there_is_nothing_and_nothing_to_save() -> None:
    sources = made(Negatives())
    sources.remember(0, *batch(0))
    assert sources.negatives(19) == ()
    assert sources.mined is None
    assert sources.state_dict() == {}


@pytest.mark.parametrize(("start", "steps", "first"), [(0.0, 10, 0), (0.25, 20, 5), (0.1, 15, 2), (0.99, 10, 10)])
def test_the_first_step_is_after_the_share_of_the_steps(start: float, steps: int, first: int) -> None:
    assert first_step(start, steps) == first


def test_each_source_begins_after_its_share_of_the_steps_and_holds_nothing_older() -> None:
    sources = made(BOTH)
    named: dict[int, list[str]] = {}
    for step in range(20):
        given = {source.name: source.contents for source in sources.negatives(step)}
        named[step] = list(given)
        for name, begins in (("queue", 5), ("bank", 10)):
            if name in given:
                assert all(
                    document >= 4 * begins or document < 4 * (step - 15) for document in given[name].ids.tolist()
                )
        sources.remember(step, *batch(step))
    # At its first step a source is still empty.
    assert all(named[step] == [] for step in range(6))
    assert all(named[step] == ["queue"] for step in range(6, 11))
    assert all(named[step] == ["queue", "bank"] for step in range(11, 20))


def test_what_was_pushed_comes_back_with_its_ids_and_owners() -> None:
    sources = made(Negatives(queue=Queue(size=8, start=0.0), bank=Bank(sample=None, start=0.0)))
    for step in range(3):
        sources.remember(step, *batch(step))
    queue, bank = sources.negatives(3)
    vectors, ids, owners = (torch.cat(part) for part in zip(batch(1), batch(2), strict=True))
    assert queue.contents.ids.tolist() == ids.tolist()
    assert queue.contents.owners.tolist() == owners.tolist()
    torch.testing.assert_close(queue.contents.vectors, nn.functional.normalize(vectors, dim=-1))
    assert bank.contents.ids.tolist() == list(range(12))
    assert bank.contents.owners.tolist() == list(range(500, 512))


def test_positives_duplicates_and_those_of_relatives_do_not_count_and_the_rest_does() -> None:
    sources = made(Negatives(queue=Queue(size=8, start=0.0)))
    sources.remember(0, torch.eye(DIM)[:4], torch.tensor([7, 8, 9, -1]), torch.tensor([70, 80, -1, 90]))
    (queue,) = sources.negatives(1)
    anchors = torch.randn(2, DIM, generator=torch.Generator().manual_seed(0))
    # The first anchor has document 7 for a positive; the second is a relative of the owner of document 8.
    owners, positive_ids = torch.tensor([-1, 80]), torch.tensor([[7, -1], [5, -1]])
    share = ledger(anchors, anchors, [queue.group(owners, positive_ids)], temperature=1.0).sources["queue"]
    assert share.count == 3.0
    assert share.ignored == {"positive": 1 / 8, "owner": 1 / 8}

    stored = torch.eye(DIM)[:4]
    loss = info_nce(
        anchors, anchors, torch.arange(2), temperature=1.0, negatives=[queue.negatives(owners, positive_ids)]
    )
    unit = nn.functional.normalize(anchors, dim=-1)
    in_batch = unit @ unit.T
    expected = []
    for row, counts in enumerate([[1, 2, 3], [0, 2, 3]]):
        scores = torch.cat([in_batch[row], unit[row] @ stored[counts].T])
        expected.append(scores.logsumexp(0) - in_batch[row, row])
    assert float(loss) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)


def test_the_sample_of_a_step_is_a_function_of_the_step() -> None:
    sources = made(Negatives(bank=Bank(sample=5, start=0.0)))
    for step in range(10):
        sources.remember(step, *batch(step))

    def ids(step: int) -> list[int]:
        (bank,) = sources.negatives(step)
        return bank.contents.ids.tolist()

    assert ids(11) == ids(11)
    assert ids(11) != ids(12)
    assert len(ids(11)) == 5


def test_a_momentum_queue_holds_what_the_slow_copy_makes_and_the_bank_what_the_model_makes() -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(3, DIM), nn.Dropout(0.9))
    settings = Negatives(queue=Queue(size=8, start=0.5, momentum=0.75), bank=Bank(start=0.0, momentum=0.0, sample=None))
    sources = made(settings, total_steps=4, encoder=encoder)
    sources.train()
    slow = torch.zeros(DIM, 3)
    for step in range(4):
        with torch.no_grad():
            encoder[0].weight.copy_(torch.randn(DIM, 3))
        if step == 2:
            slow = encoder[0].weight.detach().clone()  # it begins with the weights of that moment
        elif step > 2:
            slow = 0.75 * slow + 0.25 * encoder[0].weight.detach()
        inputs, (vectors, ids, owners) = torch.randn(4, 3), batch(step)
        sources.follow(step, encoder)
        assert sources.momentum is not None
        assert sources.wants_keys(step) is (step >= 2)
        sources.remember(step, vectors, ids, owners, keys=sources.momentum(inputs) if step >= 2 else None)
        if step >= 2:
            keys = nn.functional.normalize(inputs @ slow.T + encoder[0].bias.detach(), dim=-1)
            assert sources.queue is not None
            # Without dropout, though all else is in training.
            torch.testing.assert_close(sources.queue.contents().vectors[-4:], keys)
        given = {source.name: source.contents for source in sources.negatives(step)}
        torch.testing.assert_close(given["bank"].vectors[-4:], nn.functional.normalize(vectors, dim=-1))
    assert not any(weight.requires_grad for weight in sources.parameters())


def test_a_momentum_queue_says_what_it_needs() -> None:
    settings = Negatives(queue=Queue(size=8, start=0.0, momentum=0.9))
    with pytest.raises(ValueError, match=r"negatives.queue.momentum is set, so the encoder of the items is needed"):
        made(settings)
    with pytest.raises(ValueError, match="call follow, and give what momentum makes of the items"):
        made(settings, encoder=nn.Linear(3, DIM)).remember(0, *batch(0))


@pytest.mark.parametrize("broken_at", [3, 8, 13])
def test_restored_sources_go_on_to_the_bit(broken_at: int) -> None:
    settings = BOTH.model_copy(update={"queue": Queue(size=10, start=0.25, momentum=0.9)})
    table = np.arange(90).reshape(30, 3)

    def fresh() -> tuple[NegativeSources, nn.Module]:
        torch.manual_seed(1)
        encoder = nn.Linear(3, DIM)
        return made(settings, encoder=encoder), encoder

    def run(sources: NegativeSources, encoder: nn.Module, steps: range) -> list[Any]:
        seen = []
        for step in steps:
            with torch.no_grad():
                encoder.bias.fill_(step / 10)
            assert sources.mined is not None
            if sources.mined.is_due(step):
                sources.mined.replace((table + step) % ITEMS, step)
            drawn = sources.mined.drawn(np.arange(30), step)
            seen.append((drawn.tolist(), [[part.tolist() for part in s.contents] for s in sources.negatives(step)]))
            inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            sources.follow(step, encoder)
            assert sources.momentum is not None
            keys = sources.momentum(inputs) if sources.wants_keys(step) else None
            sources.remember(step, *batch(step), keys=keys)
        return seen

    expected = run(*fresh(), range(20))
    broken, encoder = fresh()
    run(broken, encoder, range(broken_at))
    restored, encoder = fresh()
    restored.load_state_dict(broken.state_dict(), strict=True)
    assert run(restored, encoder, range(broken_at, 20)) == expected[broken_at:]
    assert any(sources for _, sources in expected)


@given(st.lists(st.lists(st.integers(0, 12), max_size=5, unique=True), min_size=1, max_size=6), st.data())
@settings(max_examples=80, deadline=None)
def test_of_many_positives_those_in_the_source_are_listed(positives: list[list[int]], data: st.DataObject) -> None:
    starts = np.cumsum([0, *map(len, positives)])
    members = np.array([document for own in positives for document in own], np.int64)
    rows = np.array(data.draw(st.lists(st.integers(-1, len(positives) - 1), max_size=8)), np.int64)
    ids = np.array(data.draw(st.lists(st.integers(-1, 12), max_size=8)), np.int64)
    listed = positives_within(members, starts, rows, ids)
    assert listed.shape[0] == len(rows)
    assert listed.shape[1] >= 1
    for row, found in zip(rows.tolist(), listed.tolist(), strict=True):
        own = [] if row < 0 else positives[row]
        assert [d for d in found if d >= 0] == [d for d in own if d in ids]
