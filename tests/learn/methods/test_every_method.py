"""What holds for every image method: shapes, gradients, chunks, restarts, and that `embed` changes nothing."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from made_methods import CLASSES, HAS_COPY, HAS_MEMORY, SMALL, made_batch, made_method, step
from torch import Tensor, nn

from nearfar.learn.negatives import MemoryBank, MomentumEncoder, Queue
from nearfar.learn.views.batch import ViewBatch

KINDS = tuple(SMALL)
VIEWS_OF_FEATURES = {"moco_v2": 1, "densecl": 1, "classifier": 1, "arc_face": 1, "triplet": 1}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def batch_for(kind: str, **keys: Any) -> ViewBatch:
    return made_batch(crops=2 if kind == "swav" else 0, **keys)


def memory_of(method: nn.Module) -> list[Tensor]:
    stores = [m for m in method.modules() if isinstance(m, (Queue, MemoryBank))]
    return [buffer.clone() for store in stores for buffer in store.buffers()]


def test_fields_go_over_pictures_and_the_first_is_what_the_encoder_makes(kind: str) -> None:
    method, batch = made_method(kind), batch_for(kind, n=5)
    embedded = method.embed(batch)
    assert embedded._fields[0] == "features"
    assert embedded.features.shape == (5, VIEWS_OF_FEATURES.get(kind, 2), 10)
    for view in range(embedded.features.shape[1]):
        torch.testing.assert_close(embedded.features[:, view], method.encoder(batch.views[view]))
    assert all(isinstance(field, Tensor) and len(field) == 5 for field in embedded)
    assert method.loss(embedded).shape == ()


def test_gradients_reach_the_trained_parts_and_no_copy(kind: str) -> None:
    method = made_method(kind)
    for number in range(2):  # so that memories are not empty
        step(method, number)
    method.follow(2, 10)
    embedded = method.embed(batch_for(kind, seed=2))
    method.zero_grad(set_to_none=True)
    method.loss(embedded).backward()
    copies = [m for m in method.modules() if isinstance(m, MomentumEncoder)]
    assert bool(copies) == (kind in HAS_COPY)
    slow = {id(p) for each in copies for p in each.parameters()}
    for name, parameter in method.named_parameters():
        if id(parameter) in slow:
            assert parameter.grad is None
            assert not parameter.requires_grad
        else:
            assert parameter.grad is not None, name
            assert bool(parameter.grad.any()) or "bias" in name, name


def test_embed_by_chunks_is_embed_at_once(kind: str) -> None:
    """In eval mode, in which no BatchNorm looks at the other pictures."""
    method, batch = made_method(kind), batch_for(kind, n=7)
    for number in range(2):
        step(method, number)
    method.eval()
    whole = method.embed(batch)
    parts = [method.embed(part) for part in batch.split(3)]
    for name, field, *chunks in zip(whole._fields, whole, *parts, strict=True):
        torch.testing.assert_close(torch.cat(chunks), field, msg=lambda text, name=name: f"{name}: {text}")


def test_embed_may_be_repeated_and_loss_too(kind: str) -> None:
    method, batch = made_method(kind), batch_for(kind)
    step(method, 0)
    method.follow(1, 10)
    state = copy.deepcopy(method.state_dict())
    first, second = method.embed(batch), method.embed(batch)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert torch.equal(method.loss(first), method.loss(first))
    for name, buffer in method.state_dict().items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(buffer, state[name]), name


@pytest.mark.parametrize("norm", [False, True])
def test_a_restored_run_goes_on_to_the_bit(kind: str, norm: bool) -> None:
    crops = 2 if kind == "swav" else 0
    unbroken = made_method(kind, norm=norm)
    for number in range(3):
        step(unbroken, number, crops=crops)
    saved = io.BytesIO()
    torch.save(unbroken.state_dict(), saved)
    saved.seek(0)
    restored = made_method(kind, norm=norm, seed=9)
    restored.load_state_dict(torch.load(saved, weights_only=True), strict=True)
    for number in range(3, 6):
        assert step(unbroken, number, crops=crops) == step(restored, number, crops=crops)
    other = restored.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in unbroken.state_dict().items())


@pytest.mark.parametrize("kind", HAS_MEMORY)
def test_only_remember_changes_the_memory(kind: str) -> None:
    method, batch = made_method(kind), batch_for(kind)
    embedded = method.embed(batch)
    before = memory_of(method)
    method.loss(embedded).backward()
    method.follow(1, 10)
    assert all(torch.equal(*pair) for pair in zip(before, memory_of(method), strict=True))
    method.remember(embedded)
    after = memory_of(method)
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert not any(buffer.requires_grad for buffer in after)


@pytest.mark.parametrize("kind", HAS_MEMORY)
@pytest.mark.parametrize("n", [4, 10, 13, 25])
def test_batches_of_any_size_go_with_a_memory_of_ten(kind: str, n: int) -> None:
    method = made_method(kind)
    for number in range(3):
        embedded = method.embed(made_batch(n, seed=number))
        assert bool(method.loss(embedded).isfinite())
        method.remember(embedded)


def test_the_gradient_by_cached_embeddings_is_that_of_one_pass(kind: str) -> None:
    """As gradient caching takes it: every float field a leaf, though some of them are not to be learned through."""
    method, batch = made_method(kind).eval(), batch_for(kind, n=7)
    for number in range(2):
        step(method, number)
    method.follow(2, 10)
    trained = [p for p in method.parameters() if p.requires_grad]
    expected = torch.autograd.grad(method.loss(method.embed(batch)), trained)

    method.zero_grad()
    with torch.no_grad():
        embedded = method.embed(batch)
    leaves = type(embedded)(*(field.clone().requires_grad_(field.is_floating_point()) for field in embedded))
    method.loss(leaves).backward()
    start = 0
    for part in batch.split(3):
        again = method.embed(part)
        rows = slice(start, start := start + len(part.items))
        pairs = [(a, leaf.grad[rows]) for a, leaf in zip(again, leaves, strict=True) if leaf.grad is not None]
        outputs, gradients = zip(*((a, gradient) for a, gradient in pairs if a.requires_grad), strict=True)
        torch.autograd.backward(outputs, gradients)
    for parameter, wanted in zip(trained, expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted)


TAKE_ANY = ("classifier", "instance_discrimination", "arc_face", "triplet")


@pytest.mark.parametrize(
    ("kind", "views"), [(k, v) for k in KINDS for v in (1, 3) if k not in TAKE_ANY and (k, v) != ("sup_con", 1)]
)
def test_another_number_of_views_is_refused(kind: str, views: int) -> None:
    with pytest.raises(ValueError, match="two views of full size"):
        made_method(kind).embed(made_batch(views=views))


def test_a_single_picture_is_embedded(kind: str) -> None:
    embedded = made_method(kind).eval().embed(made_batch(1))
    assert len(embedded.features) == 1
    assert CLASSES == 3


@pytest.mark.parametrize("kind", HAS_COPY)
def test_what_the_copies_make_gets_no_gradient_even_as_a_leaf(kind: str) -> None:
    """Gradient caching and the joining of ranks ask for a gradient of every float field."""
    method = made_method(kind)
    for number in range(2):  # while the queue is empty, and after
        embedded = method.embed(made_batch(seed=number))
        leaves = type(embedded)(*(f.detach().clone().requires_grad_(f.is_floating_point()) for f in embedded))
        method.loss(leaves).backward()
        fixed = [name for name in embedded._fields if name.endswith(("keys", "targets"))]
        assert fixed
        assert all(getattr(leaves, name).grad is None for name in fixed)
        method.remember(embedded)
