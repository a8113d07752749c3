"""Pictures to measure with, as sequences that hold few of them at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.learn.pictures import TrainedPictures

_VIEWS_AT_ONCE = 128


class Items(Sequence[Any], ABC):
    """A sequence that knows how to come by one item."""

    @abstractmethod
    def _one(self, place: int) -> Any:
        """The item at a place from 0 to the length."""

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._one(place)


class SourceItems(Items):
    """Items as they lie in their source, one in memory at a time: quick from the first to the last, a new start for a step back.

    Args:
        contents: reads those of some names, in the order of these.
        ids: their names.
    """

    def __init__(self, contents: Callable[[Sequence[str]], Iterator[Any]], ids: Sequence[str]) -> None:
        self._read, self._ids = contents, ids
        self._contents: Iterator[Any] = iter(())
        self._at, self._item = len(ids), None

    def __len__(self) -> int:
        return len(self._ids)

    def _one(self, place: int) -> Any:
        if place < self._at:
            self._contents, self._at = self._read(self._ids), -1
        while self._at < place:
            self._item = next(self._contents)
            self._at += 1
        return self._item


class RandomViews(Items):
    """A random view of each picture, (h, w, c) in [0, 1]: always the same for a seed. Made a block at a time.

    Args:
        trained: the run, whose views they are.
        numbers: which pictures of its corpus.
    """

    def __init__(self, trained: TrainedPictures, numbers: npt.NDArray[np.int64]) -> None:
        import numpy as np

        self._corpus, self._views = trained.corpus, trained.prepared.views(trained.recipe)
        self._numbers = numbers
        self._draws = self._views.draw(self._corpus.aspects[numbers], np.random.default_rng([trained.recipe.seed, 8]))
        self._block: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return len(self._numbers)

    def _one(self, place: int) -> Any:
        from nearfar.learn.data.picture_rows import stored

        number, offset = divmod(place, _VIEWS_AT_ONCE)
        if self._block[0] != number:
            some = slice(number * _VIEWS_AT_ONCE, (number + 1) * _VIEWS_AT_ONCE)
            made = self._views.apply(stored(self._corpus, self._numbers[some]), self._draws.rows(some), count=1)[0]
            self._block = (number, made.permute(0, 2, 3, 1).contiguous().numpy())
        return self._block[1][offset]
