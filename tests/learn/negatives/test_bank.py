"""The memory bank: one slot for each item, moved by the formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nearfar.learn.negatives import MemoryBank

DIM = 6


def drawn(count: int, seed: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)) * 3


def unit(vector: Tensor) -> Tensor:
    return vector.double() / vector.double().norm()


def test_a_slot_moves_by_the_formula_and_others_stay() -> None:
    bank, momentum = MemoryBank(5, DIM, momentum=0.7), 0.7
    first, second = drawn(2, 0), drawn(2, 1)
    bank.update(first, torch.tensor([3, 1]), torch.tensor([30, 10]))
    held = bank.contents()
    assert held.ids.tolist() == [1, 3]
    assert held.owners.tolist() == [10, 30]
    torch.testing.assert_close(held.vectors[1].double(), unit(first[0]), atol=1e-6, rtol=0)
    bank.update(second, torch.tensor([3, 4]), torch.tensor([31, 40]))
    held = bank.contents()
    assert held.ids.tolist() == [1, 3, 4]
    assert held.owners.tolist() == [10, 31, 40]
    expected = [unit(first[1]), unit(momentum * unit(first[0]) + (1 - momentum) * unit(second[0])), unit(second[1])]
    torch.testing.assert_close(held.vectors.double(), torch.stack(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seen", [False, True])
def test_an_item_that_occurs_several_times_counts_once_with_the_mean(seen: bool) -> None:
    vectors, before = drawn(4, 2), drawn(1, 3)
    mean = torch.stack([unit(v) for v in (vectors[0], vectors[2], vectors[3])]).mean(0)
    bank = MemoryBank(3, DIM, momentum=0.5)
    if seen:
        bank.update(before, torch.tensor([2]), torch.tensor([7]))
    bank.update(vectors, torch.tensor([2, 0, 2, 2]), torch.tensor([1, 2, 3, 4]))
    expected = unit(0.5 * unit(before[0]) + 0.5 * mean) if seen else unit(mean)
    torch.testing.assert_close(bank.vectors[2].double(), expected, atol=1e-6, rtol=0)
    assert bank.owners.tolist() == [2, -1, 4]  # that of the last occurrence


def test_the_same_updates_give_the_same_bits() -> None:
    def filled() -> Tensor:
        bank = MemoryBank(50, DIM)
        for seed in range(5):
            ids = torch.randint(50, (400,), generator=torch.Generator().manual_seed(seed))
            bank.update(drawn(400, seed), ids, ids)
        return bank.vectors

    assert torch.equal(filled(), filled())


def test_what_was_never_seen_is_never_given() -> None:
    bank = MemoryBank(100, DIM)
    assert bank.contents().vectors.shape == (0, DIM)
    assert len(bank.sample(5, torch.Generator()).ids) == 0
    bank.update(drawn(3, 0), torch.tensor([90, -1, 5]), torch.tensor([1, 2, 3]))
    assert bank.contents().ids.tolist() == [5, 90]
    assert bank.sample(50, torch.Generator()).ids.tolist() == [5, 90]
    bank.update(drawn(1, 1), torch.tensor([-1]), torch.tensor([4]))
    assert bank.contents().owners.tolist() == [3, 1]


def test_a_sample_is_of_different_items_and_even_and_repeats_with_its_generator() -> None:
    bank = MemoryBank(40, DIM)
    even = torch.arange(0, 40, 2)
    bank.update(drawn(20, 0), even, even + 100)
    counts = torch.zeros(40)
    for seed in range(400):
        held = bank.sample(5, torch.Generator().manual_seed(seed))
        assert len(set(held.ids.tolist())) == 5
        assert torch.equal(held.owners, held.ids + 100)
        assert torch.equal(held.vectors, bank.vectors[held.ids])
        counts[held.ids] += 1
    assert (counts[1::2] == 0).all()
    assert counts[even].min() > 60  # 100 expected, standard deviation below 9
    assert counts[even].max() < 140
    again = [bank.sample(5, torch.Generator().manual_seed(7)).ids.tolist() for _ in range(2)]
    assert again[0] == again[1]


def test_a_restored_bank_goes_on_to_the_bit() -> None:
    unbroken = MemoryBank(9, DIM)
    unbroken.update(drawn(4, 0), torch.tensor([1, 5, 5, 8]), torch.arange(4))
    restored = MemoryBank(9, DIM)
    restored.load_state_dict(unbroken.state_dict(), strict=True)
    for bank in (unbroken, restored):
        bank.update(drawn(3, 1), torch.tensor([5, 2, 1]), torch.arange(3))
    for ours, theirs in zip(unbroken.contents(), restored.contents(), strict=True):
        assert torch.equal(ours, theirs)
    unbroken.load_state_dict(MemoryBank(9, DIM).state_dict(), strict=True)
    assert len(unbroken.contents().ids) == 0


def test_what_does_not_fit_is_refused() -> None:
    bank = MemoryBank(3, DIM)
    with pytest.raises(IndexError, match="item 3 has no slot: the bank was made for 3 items"):
        bank.update(drawn(1, 0), torch.tensor([3]), torch.tensor([0]))
    with pytest.raises(ValueError, match="do not fit"):
        bank.update(drawn(2, 0), torch.tensor([1]), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"momentum is 1.0, and must be in \[0, 1\)"):
        MemoryBank(3, DIM, momentum=1.0)
