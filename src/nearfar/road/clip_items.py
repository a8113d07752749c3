"""Recordings to measure with, as sequences that hold few of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nearfar.road.picture_items import Items

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.learn.clips import TrainedClips
    from nearfar.learn.data.clips import ClipReader

_VIEWS_AT_ONCE = 64


class ClipItems(Items):
    """Recordings as they lie in their source, one in memory at a time: quick from the first to the last, a new start for a step back.

    Args:
        source: what reads them.
        ids: their names.
        rate: at which parts of files, which have to be decoded to be cut out, are given.
    """

    def __init__(self, source: ClipReader, ids: Sequence[str], rate: int) -> None:
        self._source, self._ids, self._rate = source, ids, rate
        self._clips: Iterator[Any] = iter(())
        self._at = len(ids)
        self._item: Any = None

    def __len__(self) -> int:
        return len(self._ids)

    def _one(self, place: int) -> Any:
        from nearfar.frontend.sound import decode_sound

        if place < self._at:
            self._clips, self._at = iter(self._source.again(self._ids)), -1
        while self._at < place:
            clip = next(self._clips)
            self._item = clip.content
            if clip.start is not None or clip.end is not None:
                self._item = decode_sound(clip.content, self._rate, name=clip.location, start=clip.start, end=clip.end)
            self._at += 1
        return self._item


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
