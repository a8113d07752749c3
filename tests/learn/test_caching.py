"""Gradient caching: the gradient of the whole batch, in the memory of a chunk."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from interruption import interrupt_at
from made_batches import STATIC, TRANSFORMER, made_batch, made_dual_encoder
from made_corpus import made_recipe, write_pairs
from torch import Tensor, nn

import nearfar.learn.model
from nearfar.errors import InterruptedRunError, RunError
from nearfar.learn.data.batches import PairBatch
from nearfar.learn.encoders import build_encoder
from nearfar.learn.methods.dual_encoder import DualEncoder, Embedded
from nearfar.learn.run import train_run
from nearfar.learn.trainer.caching import batch_statistics, embed_by_chunks

CPU = torch.device("cpu")
Context = Callable[[], AbstractContextManager[Any]]


def gradients(method: DualEncoder) -> dict[str, Tensor]:
    """The gradient of each parameter; taken away."""
    found = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    method.zero_grad(set_to_none=True)
    return found


def cached_gradients(
    method: DualEncoder, chunks: list[PairBatch], *, context: Context = nullcontext, scale: float = 1.0
) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(1)
    with context():
        cached = embed_by_chunks(method.embed, chunks, CPU)
        loss = method.loss(cached.embedded) * scale
    loss.backward()
    cached.backward(context)
    return loss.detach(), gradients(method)


def whole_gradients(
    method: DualEncoder, chunks: list[PairBatch], *, context: Context = nullcontext
) -> tuple[Tensor, dict[str, Tensor]]:
    """The same chunks, every graph kept."""
    torch.manual_seed(1)
    with context():
        parts = [method.embed(chunk) for chunk in chunks]
        loss = method.loss(Embedded(*map(torch.cat, zip(*parts, strict=True))))
    loss.backward()
    return loss.detach(), gradients(method)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("encoder", [STATIC, {**TRANSFORMER, "dropout": 0.0}], ids=["static", "transformer"])
@pytest.mark.parametrize("separate", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize(("n", "m", "size"), [(12, 5, 4), (11, 0, 4), (7, 30, 3), (9, 2, 1), (9, 4, 8)])
def test_the_gradient_is_that_of_the_whole_batch(
    encoder: dict[str, Any], separate: bool, n: int, m: int, size: int, dtype: torch.dtype, tolerance: float
) -> None:
    method = made_dual_encoder(encoder, separate=separate, dtype=dtype)
    batch = made_batch(n, m)
    loss, found = cached_gradients(method, batch.split(size))
    expected_loss, expected = whole_gradients(method, [batch])
    torch.testing.assert_close(loss, expected_loss, rtol=tolerance, atol=0)
    assert found.keys() == expected.keys() == dict(method.named_parameters()).keys()
    assert float(found["log_temperature"]) != 0
    for name, gradient in expected.items():
        error = (found[name] - gradient).norm() / gradient.norm()
        # What a softmax cannot see (a bias of all its scores) has no gradient but rounding.
        assert error < tolerance or gradient.norm() < 1e-6, (name, float(error))


@pytest.mark.parametrize("encoder", [{**STATIC, "token_dropout": 0.3}, {**TRANSFORMER, "dropout": 0.3}])
def test_dropout_of_the_second_pass_is_that_of_the_first(encoder: dict[str, Any]) -> None:
    method = made_dual_encoder(encoder, dtype=torch.float64)
    chunks = made_batch(11, 4).split(3)
    loss, found = cached_gradients(method, chunks)
    assert loss != cached_gradients(method, made_batch(11, 4).split(4))[0], "no dropout, nothing tested"
    expected_loss, expected = whole_gradients(method, chunks)
    assert torch.equal(loss, expected_loss)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12)


def test_the_second_pass_leaves_the_random_state_alone() -> None:
    method = made_dual_encoder({**TRANSFORMER, "dropout": 0.3}, dtype=torch.float32)
    cached = embed_by_chunks(method.embed, made_batch(8, 0).split(2), CPU)
    method.loss(cached.embedded).backward()
    before = torch.get_rng_state()
    cached.backward(nullcontext)
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_is_that_of_the_first_pass() -> None:
    method = made_dual_encoder({**TRANSFORMER, "dropout": 0.1}, dtype=torch.float32)
    chunks = made_batch(11, 4).split(3)

    def half() -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16, cache_enabled=False)

    loss, found = cached_gradients(method, chunks, context=half)
    expected_loss, expected = whole_gradients(method, chunks, context=half)
    assert torch.equal(loss, expected_loss)
    assert not torch.equal(loss, cached_gradients(method, chunks)[0])
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_a_scaled_loss_gives_scaled_gradients() -> None:
    """What 16-bit training needs: the scaler multiplies the loss by a power of two before the backward pass."""
    method = made_dual_encoder(STATIC, dtype=torch.float32)
    chunks = made_batch(9, 4).split(2)
    _, plain = cached_gradients(method, chunks)
    _, scaled = cached_gradients(method, chunks, scale=1024.0)
    for name, gradient in plain.items():
        assert torch.equal(scaled[name], gradient * 1024)


@pytest.mark.parametrize(("n", "m", "size"), [(12, 5, 4), (7, 30, 3), (5, 2, 1)])
def test_parts_embed_to_the_whole(n: int, m: int, size: int) -> None:
    method = made_dual_encoder(STATIC, dtype=torch.float64)
    batch = made_batch(n, m)
    whole, cached = method.embed(batch), embed_by_chunks(method.embed, batch.split(size), CPU)
    for expected, found in zip(whole, cached.embedded, strict=True):
        assert found.requires_grad == found.is_leaf == expected.is_floating_point() or not found.requires_grad
        torch.testing.assert_close(found.detach(), expected.detach(), rtol=1e-12, atol=1e-12)


class Held:
    """Counts the bytes that autograd keeps for the way back."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __enter__(self) -> Held:
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept[0])
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> Any:
        class Kept(list[Tensor]):
            __slots__ = ("__weakref__",)

        kept, size = Kept([tensor]), tensor.numel() * tensor.element_size()
        self._add(size)
        weakref.finalize(kept, self._add, -size)
        return kept

    def _add(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


@pytest.mark.parametrize("encoder", [STATIC, TRANSFORMER], ids=["static", "transformer"])
def test_what_is_held_does_not_grow_with_the_batch(encoder: dict[str, Any]) -> None:
    method = made_dual_encoder(encoder, dtype=torch.float32)

    def held(n: int, size: int | None) -> int:
        batch = made_batch(n, n // 4, length=8)
        with Held() as held:
            if size is None:
                kept = method.embed(batch)
                assert kept.queries.requires_grad
                return held.most
            cached = embed_by_chunks(method.embed, batch.split(size), CPU)
        assert held.most == 0
        method.loss(cached.embedded).backward()
        with held:
            cached.backward(nullcontext)
        assert held.now == 0
        return held.most

    assert held(512, None) > 6 * held(64, None)
    assert 0 < held(512, 16) <= 1.01 * held(64, 16)
    assert held(64, 16) < held(64, None) / 2


# --- what is refused ---------------------------------------------------------------------------------------------------


def test_a_layer_with_batch_statistics_is_named() -> None:
    def named(layer: nn.Module) -> str | None:
        return batch_statistics(nn.Sequential(nn.Linear(3, 4), layer))

    for layer in (nn.BatchNorm1d(4), nn.SyncBatchNorm(4), nn.BatchNorm2d(4, track_running_stats=False).eval()):
        assert named(layer) == f"1 ({type(layer).__name__})"
    for layer in (nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.InstanceNorm2d(4), nn.BatchNorm1d(4).eval()):
        assert named(layer) is None


class Normalised(nn.Module):
    """An encoder with BatchNorm behind it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.encoder = build_encoder(*args, **kwargs)
        self.norm = nn.BatchNorm1d(self.encoder.dim)
        self.dim = self.encoder.dim

    def forward(self, tokens: Any) -> Tensor:
        normalised: Tensor = self.norm(self.encoder(tokens))
        return normalised


@pytest.mark.recipe
def test_batch_norm_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl", 200)
    monkeypatch.setattr(nearfar.learn.model, "build_encoder", Normalised)
    with pytest.raises(
        RunError, match=r"train\.chunk is 63.* query_tower\.norm \(BatchNorm1d\).*GroupNorm.*leave train"
    ):
        train_run(made_recipe(data, "train.chunk=63", "train.epochs=1"), tmp_path / "refused")
    assert not (tmp_path / "refused" / "checkpoints").exists()
    train_run(made_recipe(data, "train.chunk=64", "train.epochs=1"), tmp_path / "whole")

    def frozen(*args: Any, **kwargs: Any) -> Normalised:
        tower = Normalised(*args, **kwargs)
        tower.norm.eval()
        return tower

    monkeypatch.setattr(nearfar.learn.model, "build_encoder", frozen)
    train_run(made_recipe(data, "train.chunk=10", "train.epochs=3"), tmp_path / "frozen")
    state = torch.load(tmp_path / "frozen" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not state["method.query_tower.norm.running_mean"].any(), "validation must leave a frozen layer frozen"


# --- whole runs ----------------------------------------------------------------------------------------------------------

SCHEDULE = ("train.validate_every=4", "train.checkpoint_every=3", "train.early_stop=null", "train.gradient_clip=1.0")
ENCODERS = {
    "static": "{kind: static, dim: 32}",
    "transformer": "{kind: transformer, dim: 16, heads: 2, layers: 1, feedforward: 32, dropout: 0.0}",
    "dropout": "{kind: transformer, dim: 16, heads: 2, layers: 1, feedforward: 32, dropout: 0.2}",
}


def weights(directory: Path) -> dict[str, Tensor]:
    """Weights and optimiser state at the end."""
    checkpoint = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    state: dict[str, Tensor] = dict(checkpoint["state_dict"])
    for number, moments in checkpoint["optimizer_states"][0]["state"].items():
        state.update({f"{number}.{name}": value for name, value in moments.items()})
    return state


@pytest.mark.recipe
@pytest.mark.parametrize("encoder", ["static", "transformer"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_run_in_chunks_ends_where_one_without_does(tmp_path: Path, encoder: str, precision: str) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl")
    schedule = (*SCHEDULE, f"train.precision={precision}", "train.epochs=3")
    train_run(made_recipe(data, *schedule, encoder=ENCODERS[encoder]), tmp_path / "whole")
    whole = weights(tmp_path / "whole")
    for chunk in (10, 64, 1000):
        recipe = made_recipe(data, *schedule, f"train.chunk={chunk}", encoder=ENCODERS[encoder])
        train_run(recipe, tmp_path / str(chunk))
        for name, value in weights(tmp_path / str(chunk)).items():
            if chunk >= 64:
                assert torch.equal(value, whole[name]), "a chunk as large as the batch is the plain path"
            elif name.endswith("queries_keys_values.bias"):
                pass  # the softmax does not see a bias of all keys: its gradient is rounding, which Adam makes large
            elif precision == "32-true":
                torch.testing.assert_close(value, whole[name], rtol=1e-3, atol=1e-5)
            else:  # three digits a step; how far Adam carries them depends on the parameter
                assert (value - whole[name]).norm() < 0.2 * whole[name].norm() + 1e-3, name


@pytest.mark.recipe
@pytest.mark.parametrize("step", [7, 11])
def test_an_interrupted_run_in_chunks_is_bit_identical_after_resume(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl")
    recipe = made_recipe(data, *SCHEDULE, "train.chunk=10", "train.epochs=3", encoder=ENCODERS["dropout"])
    train_run(recipe, tmp_path / "whole")
    interrupt_at(step, monkeypatch)
    with pytest.raises(InterruptedRunError, match=f"stopped after step {step + 1}"):
        train_run(recipe, tmp_path / "run")
    monkeypatch.undo()
    train_run(recipe, tmp_path / "run", resume=True)
    found, expected = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
