"""What a loss looks up of the teacher: vectors, near-duplicates, positives, and whom a query is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from made_teacher import made_pair_corpus

from nearfar.learn.teacher_memory import TeacherMemory
from nearfar.learn.teaching import Taught

DOCUMENTS, WIDE, NARROW = 40, 6, 4
# Query 0 has three documents; documents 30 and after are held out.
CORPUS = made_pair_corpus([[3, 8, 21], [4], [5, 6]], spans=range(9, 30), documents=DOCUMENTS)
KNOWN = [3, 4, 5, 6, 8, *range(9, 30)]


def made_taught(*, axes: bool = False, duplicates: dict[int, list[int]] | None = None) -> Taught:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((DOCUMENTS, WIDE))
    near = np.full((DOCUMENTS, 2), -1, np.int64)
    for number, others in (duplicates or {}).items():
        near[number, : len(others)] = others
    turned = np.linalg.qr(rng.standard_normal((WIDE, NARROW)))[0].astype(np.float32)
    return Taught(
        vectors.astype(np.float16), near, turned if axes else None, None, "teacher", "0" * 64, asymmetric=True
    )


def memory(limit: int = 1000, **taught: Any) -> TeacherMemory:
    return TeacherMemory(made_taught(**taught), CORPUS, limit=limit)


def numbers(*given: int) -> torch.Tensor:
    return torch.tensor(given)


def test_rows_are_the_teachers_and_projected_ones_the_students() -> None:
    taught, wanted = made_taught(axes=True), numbers(7, 3, 7)
    vectors = taught.vectors[[7, 3, 7]].astype(np.float32)
    found = memory(axes=True)
    assert found.dim == WIDE
    np.testing.assert_array_equal(found.rows(wanted).numpy(), vectors)
    assert taught.axes is not None
    np.testing.assert_allclose(found.projected(wanted).numpy(), vectors @ taught.axes, rtol=1e-5)
    np.testing.assert_array_equal(memory().projected(wanted).numpy(), vectors)


def test_duplicates_by_number() -> None:
    found = memory(duplicates={3: [9], 5: [10, 12]}).duplicates(numbers(5, 4, 3))
    assert found.tolist() == [[10, 12], [-1, -1], [9, -1]]


def test_all_training_documents_are_candidates_and_nothing_that_is_held_out() -> None:
    asked = numbers(21, 3, 29, 3)
    found = memory().candidates(asked)
    assert found.ids.tolist() == KNOWN
    assert found.ids[found.places].tolist() == asked.tolist()
    np.testing.assert_array_equal(found.vectors.numpy(), made_taught().vectors[KNOWN].astype(np.float32))


@pytest.mark.parametrize("axes", [False, True])
def test_above_the_limit_those_of_the_batch_and_some_others(axes: bool) -> None:
    found = memory(limit=12, axes=axes)
    asked = numbers(21, 3, 29, 3)
    drawn = found.candidates(asked)
    assert drawn.ids[drawn.places].tolist() == asked.tolist()
    assert len(torch.unique(drawn.ids)) == len(drawn.ids) <= 12
    assert set(drawn.ids.tolist()) <= set(KNOWN)
    torch.testing.assert_close(drawn.vectors, found.projected(drawn.ids))
    assert found.candidates(numbers(21, 4)).ids.tolist() != drawn.ids.tolist(), "others at another step"


def test_every_rank_draws_the_same_whatever_the_order_of_the_batch() -> None:
    """Ranks hold the batch in the order of the ranks, one process in its own; and neither may disturb other randomness."""
    torch.manual_seed(1)
    one = memory(limit=12).candidates(numbers(21, 3, 29))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    other = memory(limit=12).candidates(numbers(29, 21, 3))
    assert one.ids.tolist() == other.ids.tolist()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_above_the_limit_is_compared_with_itself() -> None:
    found = memory(limit=2).candidates(numbers(3, 4, 5, 3))
    assert found.ids.tolist() == [3, 4, 5]
    assert found.places.tolist() == [0, 1, 2, 0]


def test_all_positives_of_a_query_are_known_also_those_that_no_batch_holds() -> None:
    found = memory()
    ids = found.candidates(numbers(3)).ids
    assert sorted(found.positives(numbers(0), ids)[0].tolist()) == [3, 8, 21]
    listed = found.positives(numbers(1, -1, 2), ids)
    assert [sorted(n for n in row if n >= 0) for row in listed.tolist()] == [[4], [], [5, 6]]
    assert found.positives(numbers(0), numbers(8, 9)).tolist() == [[8]]
