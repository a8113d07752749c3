"""Distillation of similarities against its formula, and what it must not depend on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nearfar.learn.losses.similarities import similarity_divergence


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_formula(students: Tensor, teachers: Tensor, temperature: float) -> float:
    def shares(vectors: list[list[float]], row: int) -> list[float]:
        lengths = [math.hypot(*vector) for vector in vectors]
        exponentials = [
            math.exp(
                sum(a * b for a, b in zip(vectors[row], other, strict=True)) / (lengths[row] * length) / temperature
            )
            for place, (other, length) in enumerate(zip(vectors, lengths, strict=True))
            if place != row
        ]
        return [value / sum(exponentials) for value in exponentials]

    total = 0.0
    for row in range(len(students)):
        given, wanted = shares(students.tolist(), row), shares(teachers.tolist(), row)
        total += sum(p * math.log(p / q) for p, q in zip(wanted, given, strict=True))
    return total / len(students)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("n", [3, 4, 9])
def test_it_is_the_formula(n: int, temperature: float) -> None:
    students, teachers = drawn(n, 3), drawn(n, 5, seed=1)
    loss = similarity_divergence(students, teachers, temperature=temperature)
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(by_formula(students, teachers, temperature), rel=1e-9)
    assert float(loss) > 0


def test_its_gradient_is_that_of_the_formula_and_the_teacher_gets_none() -> None:
    students, teachers = drawn(5, 3).requires_grad_(), drawn(5, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: similarity_divergence(x, teachers, temperature=0.4), (students,))
    similarity_divergence(students, teachers).backward()
    assert teachers.grad is None
    assert float(students.grad.abs().sum()) > 0


def test_only_relations_count() -> None:
    """A teacher turned and stretched is the same teacher; a student that is one has nothing left to learn."""
    teachers = drawn(6, 4)
    turned = teachers @ torch.linalg.qr(drawn(4, 4, seed=2))[0] * torch.arange(1, 7).unsqueeze(1)
    students = turned.clone().requires_grad_()
    loss = similarity_divergence(students, teachers)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(students.grad, torch.zeros_like(students), rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_have_no_order(n: int) -> None:
    students = drawn(n, 3).requires_grad_()
    loss = similarity_divergence(students, drawn(n, 3, seed=1))
    loss.backward()
    assert float(loss) == 0
    assert float(students.grad.abs().sum()) == 0


def test_half_precision_is_brought_to_single() -> None:
    students, teachers = drawn(8, 16).bfloat16(), drawn(8, 16, seed=1).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = similarity_divergence(students, teachers)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, similarity_divergence(students.float(), teachers.float()))


def test_a_vector_of_zeros_and_a_cold_temperature_stay_finite() -> None:
    students, teachers = drawn(5, 3), drawn(5, 3, seed=1)
    students[2], teachers[3] = 0, 0
    students.requires_grad_()
    loss = similarity_divergence(students, teachers, temperature=0.001)
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(students.grad).all())


def test_as_many_students_as_teachers() -> None:
    with pytest.raises(ValueError, match=r"must be as many: got \(4, 3\) and \(5, 3\)"):
        similarity_divergence(drawn(4, 3), drawn(5, 3))
    with pytest.raises(ValueError, match="must be as many"):
        similarity_divergence(drawn(4), drawn(4))
