"""Where `nearly the same` begins: a threshold taken from the user's own items and the encoder that is used.

No cosine means the same in two encoders, so none is built in. A sample of the items is lightly edited and embedded again; the
threshold is what finds a stated share of those copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nearfar.edge.collections.collection import Collection, Rows
from nearfar.edge.collections.light_edits import edited_picture, edited_text
from nearfar.edge.collections.shingles import jaccard
from nearfar.embedder import Embedder, Item
from nearfar.errors import DataError
from nearfar.frontend.settings import TableSettings

SAMPLE = 300
"""Items that are edited. The fifth of a hundred of them is known to about a hundredth of all copies."""

FOUND_ALONE, FOUND_BEFORE_WORDS, FOUND_BY_WORDS = 0.9, 0.95, 0.9
"""The share of copies that the cosine finds where it decides alone (pictures), the share where it only nominates pairs whose
wording (or cells) is then compared, and the share that this comparison finds. Measured in docs/collections.md."""

_LONGEST_SIDE = 512
_CHARACTERS = 2_000


class Threshold(NamedTuple):
    """Where near-identical begins.

    Attributes:
        cosine: least cosine of two near-identical items.
        overlap: least share of common word runs (`shingles.jaccard`), or of equal cells (`row_cells.alike`); 0 where it is not
            asked for.
        found: share of the edited copies that are found; None where somebody else chose the threshold.
        chance: share of random pairs whose cosine is at least `cosine`.
    """

    cosine: float
    overlap: float
    found: float | None
    chance: float

    def unsure(self, items: int) -> bool:
        """Whether more than one in twenty of so many items is expected to have a random partner above the cosine alone."""
        return not self.overlap and self.chance * (items - 1) > 0.05


def threshold_for_texts(collection: Collection, embedder: Embedder, *, edits: float = 0.05, seed: int = 0) -> Threshold:
    """The threshold for the texts of a collection, from 300 of them.

    Args:
        collection: of texts, embedded by `embedder`.
        embedder: embeds the texts and their copies.
        edits: share of the words that change in a copy, at least one word.
        seed: of sample and edits.

    Raises:
        DataError: `edits` is not above 0 and at most 1.
    """
    if not 0 < edits <= 1:
        raise DataError(f"edits is {edits}: give the share of words that may differ, above 0 and at most 1")
    rows = _sample(len(collection), seed)
    # The encoder cuts long texts, so edits near their end would not be seen; those of whole passages would be.
    texts = [collection.entry(int(row)).content[:_CHARACTERS] for row in rows]
    copies = [edited_text(text, edits, f"{seed}-{row}") for row, text in zip(rows, texts, strict=True)]
    cosines = np.einsum("nd,nd->n", embedder.embed(texts), embedder.embed(copies))
    overlaps = np.array([jaccard(text, copy) for text, copy in zip(texts, copies, strict=True)])
    cosine, overlap = _quantile(cosines, FOUND_BEFORE_WORDS), _quantile(overlaps, FOUND_BY_WORDS)
    found = float(np.mean((cosines >= cosine) & (overlaps >= overlap)))
    return Threshold(cosine, overlap, found, chance(collection.vectors, cosine, seed=seed))


def threshold_for_pictures(
    contents: Iterable[Item], embedder: Embedder, vectors: Rows, *, channels: int, seed: int = 0
) -> Threshold:
    """The threshold for pictures, from the first 300 that can be decoded.

    Args:
        contents: pictures in any form, best drawn at random.
        embedder: embeds the pictures and their copies.
        vectors: (n, d), of all pictures.
        channels: of the pictures that the encoder takes.
        seed: of the edits.

    Raises:
        DataError: no picture can be decoded.
    """
    from nearfar.frontend.decoding import decode

    cosines: list[float] = []
    for number, content in enumerate(islice(contents, SAMPLE)):
        try:
            pixels = decode(content, channels, at_least=_LONGEST_SIDE)
        except DataError:
            continue  # embedding it has been reported already
        most = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        scaled = pixels.astype(np.float32) / np.float32(most)
        one, other = embedder.embed([scaled, edited_picture(scaled, seed + number)])
        cosines.append(float(one @ other))
    if not cosines:
        raise DataError("no picture can be decoded, so no threshold can be taken from them: give --threshold")
    cosine = _quantile(np.array(cosines), FOUND_ALONE)
    return Threshold(cosine, 0.0, float(np.mean(np.array(cosines) >= cosine)), chance(vectors, cosine, seed=seed))


def threshold_for_rows(
    rows: Sequence[Mapping[str, Any]],
    embedder: Embedder,
    vectors: Rows,
    settings: TableSettings,
    *,
    edits: float = 0.05,
    seed: int = 0,
) -> Threshold:
    """The threshold for rows, from copies in which some cells are as another row has them, or missing.

    The cosine nominates pairs; they are duplicates where no more cells differ than in a copy.

    Args:
        rows: cells by column, best drawn at random.
        embedder: embeds the rows and their copies.
        vectors: (n, d), of all rows.
        settings: what the columns are.
        edits: share of the columns that differ in a copy, at least one.
        seed: of the edits.

    Raises:
        DataError: `edits` is not above 0 and at most 1.
    """
    if not 0 < edits <= 1:
        raise DataError(f"edits is {edits}: give the share of cells that may differ, above 0 and at most 1")
    names = [column.name for column in settings.columns]
    many = min(max(1, round(edits * len(names))), len(names))
    rng = np.random.default_rng(seed)
    copies = []
    for row in rows:
        copy = dict(row)
        for place in rng.choice(len(names), size=many, replace=False):
            other = rows[int(rng.integers(len(rows)))] if rng.random() < 0.5 else {}
            copy[names[place]] = other.get(names[place])
        copies.append(copy)
    cosines = np.einsum("nd,nd->n", embedder.embed(rows), embedder.embed(copies))
    cosine = _quantile(cosines, FOUND_BEFORE_WORDS)
    overlap = (len(names) - many - 0.5) / len(names)
    return Threshold(cosine, overlap, float(np.mean(cosines >= cosine)), chance(vectors, cosine, seed=seed))


def chance(vectors: Rows, cosine: float, *, pairs: int = 20_000, seed: int = 0) -> float:
    """The share of random pairs of different rows whose cosine is at least `cosine`; 0 of a single row.

    Args:
        vectors: (n, d), rows of unit length.
        cosine: a threshold.
        pairs: how many are drawn.
        seed: of the draw.
    """
    if len(vectors) < 2:
        return 0.0
    rng = np.random.default_rng(seed)
    left = rng.integers(len(vectors), size=pairs)
    right = (left + rng.integers(1, len(vectors), size=pairs)) % len(vectors)
    above = 0
    for start in range(0, pairs, 2_000):
        some = slice(start, start + 2_000)
        one, other = (np.asarray(vectors[rows[some]], dtype=np.float32) for rows in (left, right))
        above += int(np.count_nonzero(np.einsum("nd,nd->n", one, other) >= cosine))
    return above / pairs


def sample_ids(collection: Collection, seed: int = 0) -> Sequence[str]:
    """The ids of items to edit, in the order of the rows."""
    return [collection.entry(int(row)).id for row in _sample(len(collection), seed)]


def _sample(count: int, seed: int) -> npt.NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(count)[:SAMPLE])


def _quantile(values: npt.NDArray[np.floating], found: float) -> float:
    """What a share `found` of the values reaches; rounding may not put it above what equal items have."""
    return float(min(np.quantile(values, 1 - found), 0.999))
