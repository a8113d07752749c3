"""The teacher of a run, who need not be asked again about the documents that he has embedded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Embedder, Item, Side
from nearfar.road.teacher import teacher_of

if TYPE_CHECKING:
    from nearfar.learn.pairs import TrainedPairs


class TeacherOfRun:
    """An embedder that knows the documents of a run by heart.

    Args:
        trained: a run whose teacher has embedded its documents.
        opened: opens the teacher, for everything else.
    """

    def __init__(self, trained: TrainedPairs, opened: Callable[[], Embedder]) -> None:
        from nearfar.learn.data.textfile import text_key

        taught = trained.prepared.taught
        assert taught is not None
        self._vectors, self._opened = taught.vectors, opened
        corpus, self._key = trained.corpus, text_key
        self._numbers = {text_key(corpus.document(number)): number for number in range(len(corpus.document_texts))}
        self._teacher: Embedder | None = None

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return int(self._vectors.shape[1])

    def embed(self, items: Sequence[Item], side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed texts: float32 (n, dim), rows of unit length."""
        numbers = [self._numbers.get(self._key(item), -1) if side == "document" else -1 for item in items]
        known = np.array(numbers, dtype=np.int64)
        vectors = np.empty((len(items), self.dim), dtype=np.float32)
        vectors[known >= 0] = self._vectors[known[known >= 0]]
        unknown = np.flatnonzero(known < 0)
        if len(unknown):
            self._teacher = self._teacher or self._opened()
            vectors[unknown] = self._teacher.embed([items[int(place)] for place in unknown], side)
        return vectors


def teacher_documents(trained: TrainedPairs) -> TeacherOfRun:
    """The teacher of a finished run."""
    return TeacherOfRun(trained, lambda: teacher_of(trained.recipe, trained.directory))
