"""Processes that compute the gradient of a joint batch together. A file of its own: they import it by name."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from made_batches import STATIC, TRANSFORMER, made_batch, made_dual_encoder
from torch import Tensor

from nearfar.learn.data.batches import PairBatch, Tokens
from nearfar.learn.methods.dual_encoder import DualEncoder
from nearfar.learn.negatives.ranks import average_gradients, gathered
from nearfar.learn.trainer.caching import embed_by_chunks

CPU = torch.device("cpu")
PLAIN = {**TRANSFORMER, "dropout": 0.0}

# By name: encoder, pairs and negatives of each rank (as many as there are ranks are taken), chunk, towers.
CASES: dict[str, tuple[dict[str, Any], list[tuple[int, int]], int | None, bool]] = {
    "even": (STATIC, [(5, 3)] * 4, None, False),
    "without negatives": (STATIC, [(4, 0)] * 4, None, True),
    "uneven": (PLAIN, [(7, 0), (1, 6), (4, 1), (2, 0)], None, True),
    "in chunks": (PLAIN, [(7, 2), (2, 5), (5, 0), (1, 1)], 2, False),
}


def shares_of(case: str, world: int) -> list[PairBatch]:
    """The batch of each rank; the lists of positives are of different widths."""
    batches = [made_batch(n, m, seed=seed) for seed, (n, m) in enumerate(CASES[case][1][:world])]
    narrow = batches[1].positive_ids[:, :1]
    return [batches[0], batches[1]._replace(positive_ids=narrow), *batches[2:]]


def joint(shares: list[PairBatch]) -> PairBatch:
    """All shares as one batch."""

    def texts(name: str) -> Tokens:
        return Tokens(*map(torch.cat, zip(*(getattr(share, name) for share in shares), strict=True)))

    own = [share.document_ids.tensor_split([len(share.query_ids)]) for share in shares]
    padded = [torch.nn.functional.pad(s.positive_ids, (0, 2 - s.positive_ids.shape[1]), value=-1) for s in shares]
    return PairBatch(
        texts("queries"),
        texts("documents"),
        texts("negatives"),
        torch.cat([share.query_ids for share in shares]),
        torch.cat([documents for documents, _ in own] + [negatives for _, negatives in own]),
        torch.cat(padded),
        torch.cat([share.rows for share in shares]),
    )


def method_of(case: str) -> DualEncoder:
    return made_dual_encoder(CASES[case][0], separate=CASES[case][3], dtype=torch.float64)


def gradients(method: DualEncoder) -> dict[str, Tensor]:
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None}


def _gradient(case: str, rank: int, world: int, *, weight: float = 1.0) -> dict[str, Tensor]:
    method, share, size = method_of(case), shares_of(case, world)[rank], CASES[case][2]
    if size is None:
        (weight * method.loss(gathered(method.embed(share)))).backward()
    else:
        cached = embed_by_chunks(method.embed, share.split(size), CPU)
        (weight * method.loss(gathered(cached.embedded))).backward()
        cached.backward(nullcontext)
    average_gradients(method.parameters())
    return gradients(method)


def _partly_used(rank: int) -> list[Tensor | None]:
    """Three parameters: one that all ranks use, one that only the first uses, one that none uses."""
    parameters = [torch.nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(3)]
    loss = (parameters[0] * (rank + 1)).sum()
    if rank == 0:
        loss = loss + parameters[1].square().sum()
    loss.backward()
    average_gradients(parameters)
    return [parameter.grad for parameter in parameters]


class Fields(NamedTuple):
    """Of every kind that is gathered."""

    vectors: Tensor
    halves: Tensor
    numbers: Tensor
    lists: Tensor
    nothing: Tensor


def fields_of(rank: int) -> tuple[Tensor, ...]:
    """Different on every rank, and of different lengths and widths."""
    n, p = (3 * rank + 1) % 4, rank + 1
    return (
        torch.full((n, 2, 3), float(rank)),
        torch.full((n, 2), rank + 0.5, dtype=torch.bfloat16),
        torch.full((n,), rank),
        torch.full((n, p), rank),
        torch.zeros(0, dtype=torch.int64),
    )


def _work(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    found: dict[str, Any] = {case: _gradient(case, rank, world) for case in CASES}
    found["weighted"] = _gradient("even", rank, world, weight=rank + 1.0)
    found["partly used"] = _partly_used(rank)
    found["joined"] = tuple(gathered(Fields(*fields_of(rank))))
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def found_by(world: int, folder: Path) -> list[dict[str, Any]]:
    """What each rank found: the gradients of every case by name, and some more."""
    # One process imports torch, and the ranks are copies of it.
    multiprocessing.set_forkserver_preload([__name__])
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        torch.multiprocessing.start_processes(_work, (world, str(folder)), nprocs=world, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]
