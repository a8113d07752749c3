"""How well the items of a bundle of several modalities find their partners in somebody else's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import DataError
from nearfar.progress import Stages, silent
from nearfar.sources.document import ReadReport

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle, Metric
    from nearfar.edge.towers import Towers
    from nearfar.learn.data.joint import JointCorpus
    from nearfar.learn.data.joint_rows import RowsRead

    Ints = npt.NDArray[np.int64]
    Vectors = npt.NDArray[np.float32]

MOST_QUERIES = 10_000


@dataclass(frozen=True)
class JointReport:
    """What was measured of a bundle on a table of partners.

    Attributes:
        metrics: by row: `chance` and `bundle`; names as those of a run, such as `image_to_text_recall_at_10`.
        rows: with at least two sides that can be used.
        items: tower -> how many different items.
        alone: rows that were left out because fewer than two sides can be used.
        read: what was passed over.
    """

    metrics: dict[str, dict[str, Metric]]
    rows: int
    items: dict[str, int]
    alone: int
    read: ReadReport


def evaluate_joint(
    bundle: Bundle,
    table: Path,
    items: Mapping[str, Sequence[str]],
    *,
    label: str | None = None,
    most: int = MOST_QUERIES,
    resamples: int = 1000,
    seed: int = 0,
    stages: Stages = silent,
) -> JointReport:
    """Let the items of each row look for their partners among all items of the table.

    Args:
        bundle: of several modalities.
        table: a .csv, .jsonl or .parquet file with rows that the bundle was not trained on.
        items: tower -> its columns; at least two sides.
        label: column that says what a row is of: all items of one label fit each other.
        most: queries of each direction, drawn by chance where there are more.
        resamples: of the intervals.
        seed: of the draw and the intervals.
        stages: told what is being done.

    Raises:
        BundleError: the bundle is damaged.
        DataError: there is no such tower or column, the table cannot be read, or nothing in it can be paired.
    """
    import numpy as np

    from nearfar.edge.towers import Towers
    from nearfar.learn.data.joint_rows import read_partners
    from nearfar.recipe.joint import PairFile
    from nearfar.road.joint_tasks import Linked, both_ways, paired_rows
    from nearfar.road.measure_joint import Tasks, compare_joint

    towers = Towers.of_bundle(bundle)
    for name in items:
        towers.check(name)
    if len(items) < 2:
        known = " ".join(f"--item {name}=COLUMN" for name in towers.names)
        raise DataError(
            f"{table}: partners are of two towers or more: say which column is for which, of {known} (in Python: items={{tower: columns}})"
        )
    gathered = {name: _Gathered(towers, name) for name in towers.names if name in items}
    file = PairFile(path=table, columns={name: tuple(columns) for name, columns in items.items()}, label=label)
    kinds: Any = {name: _Kind(towers.kinds[name]) for name in gathered}
    read = read_partners((file,), kinds, gathered, captions=False, progress=stages("reading and embedding"))
    corpus = _corpus(read, {name: len(one.vectors) for name, one in gathered.items()})
    rng, linked = np.random.default_rng(seed), Linked.of(corpus)
    directions = [
        linked.direction(left, right, own, rng=rng, most=most) for left, right, own in both_ways(paired_rows(corpus))
    ]
    tasks = Tasks(held=[one for one in directions if one is not None])
    if not tasks.held:
        first = f". The first that were passed over: {'; '.join(read.report.examples)}" if read.report.examples else ""
        raise DataError(
            f"{table}: nothing in it can look for a partner: {len(read.files):,} rows have two sides that can be used and "
            f"{read.alone:,} fewer, and there must be two different items to choose from{first}"
        )

    def embed(tower: str, numbers: Ints) -> Vectors:
        return np.stack([gathered[tower].vectors[number] for number in numbers])

    metrics = compare_joint(
        {"bundle": embed},
        tasks,
        scales=(),
        labelled=bool(corpus.counts.labels),
        resamples=resamples,
        seed=seed,
        stages=stages,
    )
    return JointReport(metrics, corpus.counts.rows, corpus.counts.items, read.alone, read.report)


@dataclass(frozen=True)
class _Kind:
    """Of the settings of a tower what reading a table asks for."""

    kind: str


class _Gathered:
    """Embeds the items of a tower while the table is read, each content once."""

    def __init__(self, towers: Towers, name: str) -> None:
        self._towers, self._name = towers, name
        self._numbers: dict[bytes | str, int] = {}
        self.vectors: list[Vectors] = []

    def add(self, content: Any, location: str) -> int:
        """See `learn.towers.tower.ItemWriter`."""
        from nearfar.edge.items.content import item_digest
        from nearfar.learn.towers.tower import RefusedItem

        text = isinstance(content, str)
        try:
            key = content if text else item_digest(content)
            if key not in self._numbers:
                self.vectors.append(self._towers.embed(self._name, [content])[0])
                self._numbers[key] = len(self.vectors) - 1
        except DataError as error:
            raise RefusedItem("no item that can be used", str(error)) from error
        return self._numbers[key]

    def finish(self, training: Ints) -> None:
        """Nothing is fitted."""


def _corpus(read: RowsRead, items: dict[str, int]) -> JointCorpus:
    """The rows of a table, all of them held out, as a run has them."""
    import numpy as np

    from nearfar.learn.data.joint import JointCorpus, JointCounts, Sides, Stream
    from nearfar.learn.data.noted import numbered
    from nearfar.learn.data.split import TEST

    rows = len(read.files)
    classes, labels = numbered(read.labels)
    sides = {
        name: Sides(side.starts, np.asarray(side.items, np.int64), np.asarray(side.columns, np.int64))
        for name, side in read.sides.items()
    }
    counts = JointCounts(
        rows=rows,
        train=0,
        validation=0,
        test=rows,
        dropped=0,
        items=items,
        streams=[Stream(0, left, right, 1.0) for left, right in combinations(sides, 2)],
        labels=classes,
        halves=read.halves,
        alone=read.alone,
        fingerprint="",
    )
    return JointCorpus(np.full(rows, TEST, np.int8), np.zeros(rows, np.int64), labels, sides, {}, counts)
