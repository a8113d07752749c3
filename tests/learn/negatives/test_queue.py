"""The queue: first in, first out, and the same after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar.learn.negatives import Queue

DIM = 3


def made(count: int, *, first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors that differ, with running ids, and owners that differ from them."""
    source = torch.Generator().manual_seed(first)
    vectors = torch.nn.functional.normalize(torch.randn(count, DIM, generator=source), dim=-1)
    ids = torch.arange(first, first + count)
    return vectors, ids, 1_000 + ids


@given(st.integers(1, 9), st.lists(st.integers(0, 25), max_size=8))
@settings(max_examples=100, deadline=None)
def test_it_holds_the_last_pushed_oldest_first_however_they_were_pushed(size: int, pushes: list[int]) -> None:
    vectors, ids, owners = made(sum(pushes))
    queue, done = Queue(size, DIM), 0
    for count in pushes:
        part = slice(done, done + count)
        queue.push(vectors[part], ids[part], owners[part])
        done += count
        held = queue.contents()
        last = slice(max(0, done - size), done)
        assert len(queue) == len(held.ids) == min(done, size)
        assert held.ids.tolist() == ids[last].tolist()
        assert held.owners.tolist() == owners[last].tolist()
        torch.testing.assert_close(held.vectors, vectors[last])


def test_what_is_stored_has_unit_length_and_single_precision_and_no_gradient() -> None:
    queue = Queue(4, DIM)
    vectors = (torch.randn(2, DIM, dtype=torch.float64) * 7).requires_grad_()
    queue.push(vectors * 2, torch.arange(2), torch.arange(2))
    held = queue.contents().vectors
    assert held.dtype == torch.float32
    assert not held.requires_grad
    torch.testing.assert_close(held.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(torch.cosine_similarity(held.double(), vectors.detach()), torch.ones(2).double())


def test_a_prefix_of_what_is_stored_has_the_cosines_of_the_prefix() -> None:
    """So that one queue serves all Matryoshka dimensions."""
    queue, anchor, vectors = Queue(5, 8), torch.randn(4), torch.randn(5, 8) * 10
    queue.push(vectors, torch.arange(5), torch.arange(5))
    stored = queue.contents().vectors[:, :4]
    torch.testing.assert_close(
        torch.cosine_similarity(stored, anchor[None]), torch.cosine_similarity(vectors[:, :4], anchor[None])
    )


def test_contents_are_a_copy() -> None:
    queue = Queue(2, DIM)
    queue.push(*made(2))
    held = queue.contents()
    before = [part.clone() for part in held]
    queue.push(*made(2, first=2))
    assert all(torch.equal(*pair) for pair in zip(held, before, strict=True))


def test_a_restored_queue_goes_on_to_the_bit(tmp_path: Path) -> None:
    unbroken, broken = Queue(5, DIM), Queue(5, DIM)
    for queue in (unbroken, broken):
        queue.push(*made(4))
        queue.push(*made(3, first=4))
    torch.save(broken.state_dict(), tmp_path / "state")
    restored = Queue(5, DIM)
    restored.load_state_dict(torch.load(tmp_path / "state", weights_only=True), strict=True)
    for queue in (unbroken, restored):
        queue.push(*made(4, first=7))
    assert unbroken.contents().ids.tolist() == [6, 7, 8, 9, 10]
    for ours, theirs in zip(unbroken.state_dict().items(), restored.state_dict().items(), strict=True):
        assert ours[0] == theirs[0]
        assert torch.equal(ours[1], theirs[1])


def test_an_empty_queue_is_restored_empty() -> None:
    used = Queue(3, DIM)
    used.push(*made(2))
    used.load_state_dict(Queue(3, DIM).state_dict(), strict=True)
    assert len(used) == 0
    assert used.contents().vectors.shape == (0, DIM)
    assert (used.ids == -1).all()
    assert (used.owners == -1).all()


def test_arrays_that_do_not_fit_are_refused() -> None:
    queue = Queue(3, DIM)
    vectors, ids, owners = made(2)
    with pytest.raises(
        ValueError, match=r"vectors \(2, 2\), ids \(2,\) and owners \(2,\) do not fit: expected \(k, 3\)"
    ):
        queue.push(vectors[:, :2], ids, owners)
    with pytest.raises(ValueError, match=r"owners \(1,\)"):
        queue.push(vectors, ids, owners[:1])
    with pytest.raises(ValueError, match="size is 0"):
        Queue(0, DIM)
