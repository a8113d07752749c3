"""Several processes as one run, without DDP's wrapper.

Its reducer expects one backward pass that reaches every parameter; gradient caching makes many. Gradients are averaged once
a step instead (`average_gradients`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy


@dataclass(frozen=True)
class Rank:
    """One process of a run.

    Attributes:
        number: from 0; process 0 writes what there is to write.
        world: how many processes there are.
        rendezvous: where they find each other, an `init_method` of `torch.distributed`.
    """

    number: int
    world: int
    rendezvous: str


class _Started(LightningEnvironment):
    """Processes that somebody else has started, all on this machine."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self._rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self._rank.number

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        """Nothing was set."""


class RanksStrategy(DDPStrategy):
    """The processes of `DDPStrategy` with its collectives, and the model as it is."""

    def __init__(self, rank: Rank) -> None:
        super().__init__(cluster_environment=_Started(rank))
        self._rendezvous = rank.rendezvous

    def _configure_launcher(self) -> None:
        """The processes are there already."""

    def setup_distributed(self) -> None:
        """Meet the other processes."""
        self.set_world_ranks()
        on_gpu = self.root_device.type == "cuda"
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            init_method=self._rendezvous,
            rank=self.global_rank,
            world_size=self.world_size,
            device_id=self.root_device if on_gpu else None,
        )

    def configure_ddp(self) -> None:
        """No wrapper; all ranks begin with the weights of the first."""
        assert self.model is not None
        with torch.no_grad():
            for tensor in chain(self.model.parameters(), self.model.buffers()):
                dist.broadcast(tensor, 0)
