"""How well each system ranks the documents of a collection: nDCG@10 of every query, and what is needed to time it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle
from nearfar.edge import Encoder
from nearfar.edge.fusion import NEUTRAL
from nearfar.edge.teacher import BySide
from nearfar.embedder import Embedder
from nearfar.evaluate import RetrievalTask, rank_bm25, rank_dense
from nearfar.evaluate.metrics import ndcg_at
from nearfar.progress import Stages
from nearfar.road.measure import rank_hybrid
from tools.text_state import State
from tools.text_teacher import RememberingTeacher

Ranked = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bench:
    """Where the systems of one collection are measured.

    Attributes:
        name: of the collection.
        task: queries and documents.
        work: a folder of its own; `systems/<system>` is what is timed.
        state: takes the figures.
        stages: told what is being done.
    """

    name: str
    task: RetrievalTask
    work: Path
    state: State
    stages: Stages

    def ranked(self, system: str, ranking: Callable[[], Ranked]) -> None:
        """Note how good the ranking of a system is."""
        self.stages(f"measuring: {system}")
        self.state.keep("ndcg", system, ndcg_at(ranking(), self.task.qrels, 10), group=self.name)

    def place(self, system: str) -> Path:
        """Where what is timed of a system lies."""
        return self.work / "systems" / system

    def link(self, system: str, target: Path) -> None:
        """Let what is timed of a system be a folder that lies elsewhere."""
        link = self.place(system)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target.absolute(), target_is_directory=True)

    def keywords(self) -> None:
        """BM25 (Lucene's variant, English stemming and stop words)."""
        self.ranked("bm25", lambda: rank_bm25(self.task))

    def embedder(self, system: str, embedder: Embedder, size_bytes: int) -> None:
        """A system that embeds both sides."""
        self.ranked(system, lambda: rank_dense(embedder, self.task))
        self.state.keep("mb", system, size_bytes / 1e6, group=self.name)

    def bundle(self, system: str, bundle: Bundle, teacher: RememberingTeacher | None = None) -> None:
        """A bundle alone and as hybrid search, through the runtime of the device.

        Args:
            system: its name; the other's is that with `_hybrid`.
            bundle: what ships.
            teacher: embeds the documents in its place.
        """
        encoder = Encoder.open(bundle)
        self.embedder(system, BySide(encoder, teacher) if teacher else encoder, bundle.size_bytes)
        hybrid = f"{system}_hybrid"
        self.link(system, bundle.path)
        index = self.place(hybrid)
        shutil.rmtree(index, ignore_errors=True)
        fusion = bundle.manifest.fusion or NEUTRAL
        self.ranked(hybrid, lambda: rank_hybrid(bundle, self.task, fusion, index, self.stages, teacher=teacher))
        self.state.keep("mb", hybrid, bundle.size_bytes / 1e6, group=self.name)
