"""Measuring the towers of one space as they ship: how well items of each find those of another, one ranking of all, and their gap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import TYPE_CHECKING

from nearfar.progress import Stages
from nearfar.road.joint_tasks import Direction, Linked, both_ways, paired_rows
from nearfar.road.measure import in_manifest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Metric
    from nearfar.bundle.joint_record import Gap, ScoreScale
    from nearfar.evaluate.bootstrap import Interval
    from nearfar.evaluate.mixed_gallery import Scale
    from nearfar.learn.data.joint import JointCorpus
    from nearfar.recipe import Recipe

    Ints = npt.NDArray[np.int64]
    Vectors = npt.NDArray[np.float32]
    Rows = npt.NDArray[np.bool_]

Embed = Callable[[str, "Ints"], "Vectors"]
"""Unit vectors (n, d) of items of a tower, by their numbers."""

_AT_A_TIME = 256
_LEAST = 8  # items of a tower on a side: of fewer a mean says little
_STANDING = 1_000  # items of each tower


@dataclass(frozen=True)
class Tasks:
    """All that is measured of a corpus.

    Attributes:
        held: directions of towers that learned from each other, over what is held out.
        full: the same queries over the items of all rows.
        columns: name of a column of texts -> its directions, where a tower has several columns.
        unpaired: directions of towers that no row pairs, by label.
        mixed: tower -> queries over the items of all towers: one direction for each tower of the items.
    """

    held: list[Direction] = field(default_factory=list)
    full: list[Direction] = field(default_factory=list)
    columns: list[tuple[str, Direction]] = field(default_factory=list)
    unpaired: list[Direction] = field(default_factory=list)
    mixed: dict[str, list[Direction]] = field(default_factory=dict)

    def needed(self, *, full: bool) -> dict[str, Ints]:
        """Tower -> numbers of all items that take part, ascending."""
        import numpy as np

        used = [*self.held, *(self.full if full else ()), *(one for _, one in self.columns), *self.unpaired]
        used += [one for directions in self.mixed.values() for one in directions]
        parts: dict[str, list[Ints]] = {}
        for one in used:
            parts.setdefault(one.left, []).append(one.queries)
            parts.setdefault(one.right, []).append(one.gallery)
        return {tower: np.unique(np.concatenate(numbers)) for tower, numbers in parts.items()}


class Embedded:
    """Vectors of items by their numbers, each embedded once.

    Args:
        embed: what embeds.
        numbers: tower -> numbers of all items that are asked for, ascending.
        tick: told how many at a time.
    """

    def __init__(self, embed: Embed, numbers: Mapping[str, Ints], tick: Callable[[int], None]) -> None:
        import numpy as np

        self._numbers = numbers
        self._vectors: dict[str, Vectors] = {}
        for tower, own in numbers.items():
            parts = []
            for first in range(0, len(own), _AT_A_TIME):
                parts.append(embed(tower, own[first : first + _AT_A_TIME]))
                tick(len(parts[-1]))
            self._vectors[tower] = np.concatenate(parts)

    def of(self, tower: str, numbers: Ints) -> Vectors:
        """Vectors (n, d) of some of them."""
        import numpy as np

        found: Vectors = self._vectors[tower][np.searchsorted(self._numbers[tower], numbers)]
        return found

    def both(self, one: Direction) -> tuple[Vectors, Vectors]:
        """Queries and gallery of a direction."""
        return self.of(one.left, one.queries), self.of(one.right, one.gallery)


def held_out(corpus: JointCorpus) -> Rows:
    """The rows to measure on: those of the test, and where there is none those of the validation."""
    from nearfar.learn.data.split import TEST, VALIDATION

    test: Rows = corpus.side == TEST
    validation: Rows = corpus.side == VALIDATION
    return test if test.any() else validation


def tasks_of(corpus: JointCorpus, recipe: Recipe) -> Tasks:
    """What is measured on the held-out rows of a corpus; nothing where no row was held out."""
    import numpy as np

    settings, rng = recipe.evaluate, np.random.default_rng([recipe.seed, 3])
    rows, linked, found = held_out(corpus), Linked.of(corpus), Tasks()
    pairs = {pair: has & rows for pair, has in paired_rows(corpus).items()}
    everything = np.ones_like(rows)
    for left, right, own in both_ways(pairs):
        one = linked.direction(left, right, own, rng=rng, most=settings.max_queries)
        if one is None:
            continue
        found.held.append(one)
        rest = np.setdiff1d(linked.items(right, everything), one.gallery)
        room = max(0, settings.max_documents - len(one.gallery))
        gallery = np.union1d(one.gallery, rng.permutation(rest)[:room])
        over_all = linked.direction(
            left, right, own, rng=rng, most=settings.max_queries, queries=one.queries, gallery=gallery, among=everything
        )
        if over_all is not None and len(gallery) > len(one.gallery):
            found.full.append(over_all)
        for column, queries in _by_column(corpus, recipe, one, own):
            of_column = linked.direction(
                left, right, own, rng=rng, most=settings.max_queries, queries=queries, gallery=one.gallery
            )
            if of_column is not None:
                found.columns.append((column, of_column))
    labelled = Linked.by_label(corpus)
    for left, right in permutations(corpus.sides, 2):
        if (left, right) in pairs or (right, left) in pairs:
            continue
        by_label = labelled.direction(left, right, rows, rng=rng, most=settings.max_queries)
        if by_label is not None:
            found.unpaired.append(by_label)
    for left in corpus.sides:
        found.mixed[left] = _over_all_towers(linked, left, rows, rng, settings.max_queries)
    return found


def _over_all_towers(linked: Linked, left: str, rows: Rows, rng: np.random.Generator, most: int) -> list[Direction]:
    """Queries of one tower, those of a partner in another, over the held-out items of every tower."""
    import numpy as np

    queries = np.sort(rng.permutation(linked.items(left, rows))[:most])
    galleries = {tower: linked.items(tower, rows) for tower in linked.corpus.sides}
    has = np.zeros(len(queries), bool)
    for tower, gallery in galleries.items():
        if tower != left and len(gallery):
            has |= linked.partners(left, tower, rows, queries, gallery).counts() > 0
    queries = queries[has]
    return [
        Direction(left, tower, queries, gallery, linked.partners(left, tower, rows, queries, gallery))
        for tower, gallery in galleries.items()
        if len(gallery) and len(queries)
    ]


def _by_column(corpus: JointCorpus, recipe: Recipe, one: Direction, rows: Rows) -> Iterator[tuple[str, Ints]]:
    """The queries of a direction by the column that they stood in, where they are texts of several columns."""
    import numpy as np

    if recipe.of_joint.towers[one.left].kind != "text" or one.left == one.right:
        return
    sides = corpus.sides[one.left]
    of = np.repeat(np.arange(len(corpus.files), dtype=np.int64), np.diff(sides.starts))
    names: dict[str, list[Ints]] = {}
    for number, file in enumerate(recipe.of_joint.source.files):
        here = rows[of] & (corpus.files[of] == number)
        for place, column in enumerate(file.columns.get(one.left, ())):
            names.setdefault(column, []).append(sides.items[here & (sides.columns == place)])
    if len(names) < 2:
        return
    for column, items in names.items():
        queries = np.intersect1d(one.queries, np.concatenate(items))
        if len(queries):
            yield re.sub(r"\W+", "_", column.lower()).strip("_"), queries


def compare_joint(
    rows: Mapping[str, Embed],
    tasks: Tasks,
    *,
    scales: Sequence[ScoreScale],
    labelled: bool,
    resamples: int,
    seed: int,
    stages: Stages,
) -> dict[str, dict[str, Metric]]:
    """Measure towers, with what they should be compared with beside them.

    Args:
        rows: what is measured, by its name.
        tasks: see `tasks_of`.
        scales: of the bundle, for one ranking of all towers.
        labelled: whether items that fit are told by labels: then the precision of the first ten is a figure too.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        stages: told what is being done.

    Returns:
        Figures by row: `chance`, and those given; nothing where nothing was held out.
    """
    if not tasks.held:
        return {}
    found: dict[str, dict[str, Interval]] = {"chance": _by_chance(tasks, labelled=labelled)}
    for row, embed in rows.items():
        numbers = tasks.needed(full=row != "untrained")
        tick = stages(f"measuring: {row}", sum(map(len, numbers.values())))
        vectors = Embedded(embed, numbers, tick)
        found[row] = _figures(tasks, vectors, row, labelled=labelled, resamples=resamples, seed=seed)
        if row == "bundle":
            found[row] |= _mixed(tasks, vectors, scales, resamples=resamples, seed=seed)
    return in_manifest(found)


def _figures(
    tasks: Tasks, vectors: Embedded, row: str, *, labelled: bool, resamples: int, seed: int
) -> dict[str, Interval]:
    from nearfar.evaluate.bootstrap import mean_interval
    from nearfar.evaluate.cross_modal import first_ranks, precision_at, summarise_ranks

    found: dict[str, Interval] = {}
    for one in tasks.held:
        ranks = first_ranks(*vectors.both(one), one.partners)
        scores = summarise_ranks(ranks, resamples=resamples, seed=seed)
        found |= {f"{one.name}_{figure}": value for figure, value in scores._asdict().items()}
    precise = [*(tasks.held if labelled else ()), *tasks.unpaired]
    for one in precise:
        shares = precision_at(*vectors.both(one), one.partners)
        found[f"{one.name}_precision_at_10"] = mean_interval(shares, resamples=resamples, seed=seed)
    further = [(f"{one.name}_recall_at_10_{column}", one) for column, one in tasks.columns]
    if row != "untrained":
        further += [(f"{one.name}_full_recall_at_10", one) for one in tasks.full]
    for name, one in further:
        hits = first_ranks(*vectors.both(one), one.partners) <= 10
        found[name] = mean_interval(hits.astype(float), resamples=resamples, seed=seed)
    return found


def _by_chance(tasks: Tasks, *, labelled: bool) -> dict[str, Interval]:
    """What a random order gives."""
    from nearfar.evaluate.bootstrap import Interval
    from nearfar.evaluate.cross_modal import RECALLS, chance_precision, chance_recall

    values = {f"{one.name}_recall_at_{k}": chance_recall(one.partners, k) for one in tasks.held for k in RECALLS}
    precise = [*(tasks.held if labelled else ()), *tasks.unpaired]
    values |= {f"{one.name}_precision_at_10": chance_precision(one.partners) for one in precise}
    values |= {f"{one.name}_full_recall_at_10": chance_recall(one.partners, 10) for one in tasks.full}
    values |= {f"{one.name}_recall_at_10_{column}": chance_recall(one.partners, 10) for column, one in tasks.columns}
    return {name: Interval(value, value, value) for name, value in values.items()}


def _mixed(
    tasks: Tasks, vectors: Embedded, scales: Sequence[ScoreScale], *, resamples: int, seed: int
) -> dict[str, Interval]:
    """One ranking of the items of all towers for the queries of each: partners found, and how much of it is of another tower."""
    import numpy as np

    from nearfar.evaluate.bootstrap import mean_interval
    from nearfar.evaluate.mixed_gallery import Scale, mixed_recall, rank_mixed

    known = {(one.query, one.items): Scale(one.mean, one.spread) for one in scales}
    values: dict[str, list[npt.NDArray[np.float64]]] = {}
    for left, directions in tasks.mixed.items():
        if not directions:
            continue
        galleries = {one.right: vectors.of(one.right, one.gallery) for one in directions}
        own = next((one.partners.own for one in directions if one.right == left), None)
        across = {place: one.partners for place, one in enumerate(directions) if one.right != left}
        towers = list(galleries)
        by: dict[str, Mapping[str, Scale] | None] = {"plain": None}
        if all((left, tower) in known for tower in towers):
            by["scaled"] = {tower: known[left, tower] for tower in towers}
        for how, scale in by.items():
            ranking = rank_mixed(
                vectors.of(left, directions[0].queries),
                galleries,
                scales=scale,
                own=None if own is None else (left, own),
            )
            values.setdefault(f"mixed_recall_at_10_{how}", []).append(mixed_recall(ranking, across))
            for place, tower in enumerate(towers):
                share = (ranking.towers == place).mean(axis=1)
                values.setdefault(f"mixed_share_{tower}_{how}", []).append(share)
    return {
        name: mean_interval(np.concatenate(parts), resamples=resamples, seed=seed) for name, parts in values.items()
    }


def standing(
    embed: Embed, corpus: JointCorpus, *, resamples: int, seed: int, stages: Stages
) -> tuple[tuple[Gap, ...], tuple[ScoreScale, ...]]:
    """How the towers of a bundle stand to each other: the distances of their means, and what cosines chance gives.

    Measured on validation rows; where these have too few items of a tower, on its training items, never on those of the test.

    Args:
        embed: the bundle.
        corpus: of the run.
        resamples: of the bootstrap.
        seed: draws the items, and of the bootstrap.
        stages: told what is being done.

    Returns:
        Gaps of every two towers; scales of every two, a tower with itself too, or none where all that there is belongs together.
    """
    import numpy as np

    from nearfar.bundle.block import Metric
    from nearfar.bundle.joint_record import Gap, ScoreScale
    from nearfar.errors import DataError
    from nearfar.evaluate.mixed_gallery import modality_gap, score_scale
    from nearfar.learn.data.split import TRAIN, VALIDATION

    rng, linked = np.random.default_rng([seed, 5]), Linked.of(corpus)
    numbers: dict[str, Ints] = {}
    for tower in corpus.sides:
        items = linked.items(tower, corpus.side == VALIDATION)
        if len(items) < _LEAST:
            items = linked.items(tower, corpus.side == TRAIN)
        numbers[tower] = np.sort(rng.permutation(items)[:_STANDING])
    vectors = Embedded(embed, numbers, stages("comparing modalities", sum(map(len, numbers.values()))))
    units = {tower: vectors.of(tower, own) for tower, own in numbers.items()}
    gaps = []
    for left, right in combinations(units, 2):
        found = modality_gap(units[left], units[right], resamples=resamples, seed=seed)
        gaps.append(Gap(towers=(left, right), distance=Metric(value=found.value, low=found.low, high=found.high)))
    everything = np.ones(len(corpus.side), bool)
    scales = []
    try:
        for left in units:
            for right in units:
                partners = linked.partners(left, right, everything, numbers[left], numbers[right])
                scale = score_scale(units[left], units[right], partners)
                scales.append(ScoreScale(query=left, items=right, mean=scale.mean, spread=scale.spread))
    except DataError:  # all that there is of two towers belongs together
        scales = []
    return tuple(gaps), tuple(scales)
