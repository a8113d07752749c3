"""What there is to find in a corpus of partners: queries of one tower, items of another, and which belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.evaluate.cross_modal import Kept, Partners
    from nearfar.learn.data.joint import JointCorpus

    Ints = npt.NDArray[np.int64]
    Rows = npt.NDArray[np.bool_]


class Direction(NamedTuple):
    """Queries of one tower over the items of another.

    Attributes:
        left: tower of the queries.
        right: tower of the items to find; the same where captions of one thing find each other.
        queries: (q,) numbers of items, ascending; each has a partner.
        gallery: (m,) numbers of items, ascending.
        partners: which belong together, by place in these two.
    """

    left: str
    right: str
    queries: Ints
    gallery: Ints
    partners: Partners

    @property
    def name(self) -> str:
        """`image_to_text`: the beginning of the names of its figures."""
        return f"{self.left}_to_{self.right}"


@dataclass(frozen=True)
class Linked:
    """A corpus, seen as items and the keys that they have: of rows, or of labels where rows have them.

    Attributes:
        corpus: whose.
        keys: (rows,) int64: rows of one label share a key, a row without one has its own; -1 for rows that do not count.
    """

    corpus: JointCorpus
    keys: Ints

    @classmethod
    def of(cls, corpus: JointCorpus) -> Linked:
        """By rows and by labels: items of one label belong together, and what shares a row."""
        import numpy as np

        own = len(corpus.counts.labels) + np.arange(len(corpus.labels), dtype=np.int64)
        return cls(corpus, np.where(corpus.labels >= 0, corpus.labels, own))

    @classmethod
    def by_label(cls, corpus: JointCorpus) -> Linked:
        """By labels alone, for towers that no row pairs."""
        return cls(corpus, corpus.labels)

    def placed(self, tower: str, rows: Rows) -> tuple[Ints, Ints]:
        """The items of a tower in some rows, and the row of each: an item comes once for each row that it is in."""
        import numpy as np

        sides = self.corpus.sides[tower]
        of = np.repeat(np.arange(len(self.keys), dtype=np.int64), np.diff(sides.starts))
        taken = rows[of] & (self.keys[of] >= 0)
        return sides.items[taken], of[taken]

    def items(self, tower: str, rows: Rows) -> Ints:
        """(n,) numbers of the items of a tower in some rows, ascending."""
        import numpy as np

        return np.unique(self.placed(tower, rows)[0])

    def kept(self, tower: str, rows: Rows, numbers: Ints) -> Kept:
        """The keys that some items have by some rows.

        Args:
            tower: of the items.
            rows: those that count.
            numbers: of the items, ascending; others in the rows are passed over.
        """
        import numpy as np

        from nearfar.evaluate.cross_modal import Kept

        items, of = self.placed(tower, rows)
        taken = np.isin(items, numbers)
        return Kept(np.searchsorted(numbers, items[taken]), self.keys[of[taken]])

    def partners(self, left: str, right: str, rows: Rows, queries: Ints, gallery: Ints) -> Partners:
        """Which items of two towers belong together by some rows; both ascending."""
        import numpy as np

        from nearfar.evaluate.cross_modal import Partners

        own = np.searchsorted(gallery, queries) if left == right else None
        asked, found = self.kept(left, rows, queries), self.kept(right, rows, gallery)
        return Partners(asked, found, asked=len(queries), found=len(gallery), own=own)

    def direction(
        self,
        left: str,
        right: str,
        rows: Rows,
        *,
        rng: np.random.Generator,
        most: int,
        queries: Ints | None = None,
        gallery: Ints | None = None,
        among: Rows | None = None,
    ) -> Direction | None:
        """Queries of one tower over the items of another.

        Args:
            left: tower of the queries.
            right: tower of the items to find.
            rows: where both are taken from.
            rng: draws what is measured where there is more.
            most: queries at most.
            queries: numbers of items to ask with; None takes all in `rows`.
            gallery: numbers of items to find, those that belong to a query among them; None takes all in `rows`.
            among: rows that say what belongs together; None takes `rows`.

        Returns:
            None where no query has a partner, or there is nothing to find but partners of all.
        """
        import numpy as np

        asked = self.items(left, rows) if queries is None else queries
        asked = np.sort(rng.permutation(asked)[:most])
        found = self.items(right, rows) if gallery is None else gallery
        if left == right:
            asked = asked[np.isin(asked, found)]
        among = rows if among is None else among
        partners = self.partners(left, right, among, asked, found)
        with_partner = partners.counts() > 0
        if not with_partner.all():
            asked = asked[with_partner]
            partners = self.partners(left, right, among, asked, found)
        return Direction(left, right, asked, found, partners) if len(asked) and len(found) > 1 else None


def paired_rows(corpus: JointCorpus) -> dict[tuple[str, str], Rows]:
    """For every two towers that learned from each other the rows that have both, in the order of the streams."""
    import numpy as np

    found: dict[tuple[str, str], Rows] = {}
    for stream in corpus.counts.streams:
        pair = (stream.left, stream.right)
        has = [np.diff(corpus.sides[tower].starts) > (stream.left == stream.right) for tower in pair]
        rows = (corpus.files == stream.file) & has[0] & has[1]
        found[pair] = found[pair] | rows if pair in found else rows
    return found


def both_ways(pairs: Mapping[tuple[str, str], Rows]) -> Iterator[tuple[str, str, Rows]]:
    """Each pair of towers as two directions; two captions of a row are one."""
    for (left, right), rows in pairs.items():
        yield left, right, rows
        if left != right:
            yield right, left, rows
