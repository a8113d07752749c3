"""Recordings to measure with, as sequences that hold few of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nearfar.road.picture_items import Items, SourceItems

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.learn.clips import TrainedClips
    from nearfar.learn.data.clips import ClipReader

_VIEWS_AT_ONCE = 64


def clip_items(source: ClipReader, ids: Sequence[str], rate: int) -> SourceItems:
    """Recordings as they lie in their source, one in memory at a time.

    Args:
        source: what reads them.
        ids: their names.
        rate: at which parts of files, which have to be decoded to be cut out, are given.
    """
    return SourceItems(lambda names: _contents(source, names, rate), ids)


def _contents(source: ClipReader, ids: Sequence[str], rate: int) -> Iterator[Any]:
    from nearfar.frontend.sound import decode_sound

    for clip in source.again(ids):
        if clip.start is None and clip.end is None:
            yield clip.content
        else:
            yield decode_sound(clip.content, rate, name=clip.location, start=clip.start, end=clip.end)


class ClipViews(Items):
    """A random view of each recording, (t,) in [-1, 1]: always the same for a seed. Made a block at a time.

    Args:
        trained: the run, whose views they are.
        numbers: which recordings of its corpus.
    """

    def __init__(self, trained: TrainedClips, numbers: npt.NDArray[np.int64]) -> None:
        import numpy as np

        self._corpus, self._views = trained.corpus, trained.prepared.views(trained.recipe, count=1)
        self._numbers = numbers
        self._draws = self._views.draw(len(numbers), np.random.default_rng([trained.recipe.seed, 8]))
        self._block: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return len(self._numbers)

    def _one(self, place: int) -> Any:
        from nearfar.learn.data.clip_rows import parts_of

        number, offset = divmod(place, _VIEWS_AT_ONCE)
        if self._block[0] != number:
            some = slice(number * _VIEWS_AT_ONCE, (number + 1) * _VIEWS_AT_ONCE)
            draws = self._draws.rows(some)
            parts = parts_of(self._corpus, self._numbers[some], self._views, draws)
            self._block = (number, self._views.apply(parts, draws)[0].numpy())
        return self._block[1][offset]
