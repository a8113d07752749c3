"""Samples of people (or voices, or characters) to measure with: raw items, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.learn.clips import TrainedClips
    from nearfar.learn.pictures import TrainedPictures

    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class People:
    """Samples, and what is known of each.

    Attributes:
        items: n of them, as an embedder takes them.
        labels: (n,) int64, the number of the identity.
        sessions: (n,) int64, what was taken in one go; below 0 where nobody has said.
        attributes: of each, empty for none; none at all where nothing is said of any.
        groups: what identities of a one-shot episode share (an alphabet), of each; none at all for one group.
    """

    items: Sequence[Any]
    labels: Ints
    sessions: Ints
    attributes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def has_sessions(self) -> bool:
        """Whether it is known of every sample when it was taken."""
        return bool(len(self.sessions) and (self.sessions >= 0).all())

    def attribute_of(self) -> tuple[str, ...]:
        """The attribute of each identity by its number; that of its first sample, empty for none."""
        of_each = [""] * (int(self.labels.max(initial=-1)) + 1)
        for label, attribute in zip(self.labels.tolist(), self.attributes, strict=False):
            of_each[label] = of_each[label] or attribute
        return tuple(of_each)


def people_in_pictures(trained: TrainedPictures, side: int, *, most: int) -> People:
    """The labelled pictures of one side of a run, read from their source anew.

    Args:
        trained: the run.
        side: `TRAIN`, `VALIDATION` or `TEST`.
        most: pictures at most; whole identities are left out, drawn by the seed of the recipe.
    """
    from nearfar.learn.data.pictures import open_source
    from nearfar.road.picture_items import SourceItems

    corpus, recipe = trained.corpus, trained.recipe
    numbers = within(corpus.numbers_of(side), corpus.labels, most, recipe.seed)
    source = open_source(recipe.of_images.source)
    return People(
        SourceItems(source.contents, [corpus.ids[int(number)] for number in numbers]),
        corpus.labels[numbers],
        corpus.sessions[numbers],
        _named(corpus.attributes[numbers], corpus.counts.attributes),
    )


def people_in_clips(trained: TrainedClips, side: int, *, most: int) -> People:
    """The labelled recordings of one side of a run; see `people_in_pictures`."""
    import numpy as np

    from nearfar.learn.data.clips import open_clips
    from nearfar.road.clip_items import clip_items

    corpus, recipe = trained.corpus, trained.recipe
    numbers = within(corpus.numbers_of(side), corpus.labels, most, recipe.seed)
    sessions = corpus.sessions[numbers]
    # A session of one name is the same only within a label.
    own = corpus.labels[numbers] * (len(corpus.counts.sessions) + 1) + sessions
    return People(
        clip_items(open_clips(recipe.of_audio.source), [corpus.ids[int(n)] for n in numbers], corpus.counts.rate),
        corpus.labels[numbers],
        np.where(sessions >= 0, own, -1),
        _named(corpus.attributes[numbers], corpus.counts.attributes),
    )


def _named(places: Ints, names: Sequence[str]) -> tuple[str, ...]:
    """The name at each place, empty for -1; nothing where there are no names."""
    return tuple(names[at] if at >= 0 else "" for at in places.tolist()) if names else ()


def within(numbers: Ints, labels: Ints, most: int, seed: int) -> Ints:
    """Those of some samples that have a label, of so many identities, drawn by chance, that they are at most `most` samples."""
    import numpy as np

    labelled = numbers[labels[numbers] >= 0]
    identities, counts = np.unique(labels[labelled], return_counts=True)
    order = np.random.default_rng([seed, 11]).permutation(len(identities))
    kept = order[np.cumsum(counts[order]) <= most]
    return np.sort(labelled[np.isin(labels[labelled], identities[kept])])
