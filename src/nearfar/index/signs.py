"""A scan over one bit a component: which vectors are worth comparing exactly.

Every vector is kept as the signs of its components, after the mean of all has been taken away. Two vectors are then
compared by counting the bits in which they differ, at some three microseconds a thousand vectors; the best are put in
order by the query's own components against those signs. What comes out are candidates: the caller scores them with
better codes. There is nothing to train or link, so a new vector costs as much as writing it down, and a search among
some of the vectors only looks at those.

Source: Charikar, "Similarity estimation techniques from rounding algorithms", 2002; taking the mean away first, and the
query with more than one bit, as in Gao and Long, "RaBitQ", 2024. Bits are counted by faiss.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nearfar.errors import StoreError
from nearfar.index.faiss_threads import faiss, faiss_threads
from nearfar.index.rows import Rows, Stretches, stretches

Vectors = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]

_MAGIC = b"NFSIGNS1"
_HEADER = struct.Struct("<8sQQQ")
_ALIGNED = 64
_LARGEST = 1 << 40


class SignIndex:
    """Vectors as signs. Make a file with `write_signs`, then `SignIndex.open` it; or `SignIndex.of` some in memory."""

    def __init__(self, mean: Vectors, rows: Stretches, bits: Bits) -> None:
        """Search `bits`, uint8 (n, ceil(d / 8)), of vectors whose ids are `rows`; `mean` (d,) was taken away from them."""
        self.mean = mean
        self.rows = rows
        self._bits = bits

    @classmethod
    def of(cls, mean: Vectors, rows: Rows, vectors: Vectors) -> SignIndex:
        """Of vectors (n, d) in memory, with ascending ids (n,)."""
        return cls(mean, stretches(rows), signs_of(vectors, mean))

    @classmethod
    def open(cls, path: Path) -> SignIndex:
        """Open a file, mapped into memory.

        Raises:
            StoreError: it is missing, cut off or damaged.
        """
        try:
            content = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: cannot read the codes of the index ({error})") from error
        return cls.read(content, str(path))

    @classmethod
    def read(cls, content: Bits, name: str) -> SignIndex:
        """Open the content of a file, uint8 (bytes,).

        Raises:
            StoreError: it is cut off or damaged.
        """
        damaged = StoreError(f"{name}: the codes of the index are damaged or cut off")
        if len(content) < _HEADER.size:
            raise damaged
        magic, count, dim, runs = _HEADER.unpack(content[: _HEADER.size].tobytes())
        if magic != _MAGIC or not 0 < dim < _LARGEST or not 0 < count < _LARGEST or not 0 < runs <= count:
            raise damaged
        mean_at, places_at, rows_at, bits_at, end = _layout(count, dim, runs)
        if len(content) != end:
            raise damaged
        mean = content[mean_at : mean_at + 4 * dim].view(np.float32)
        places = np.array(content[places_at : places_at + 8 * runs].view(np.int64))
        rows = np.array(content[rows_at : rows_at + 8 * runs].view(np.int64))
        lengths = np.diff(places, append=count)
        # Without the bounds the sums could leave 64 bits and pass for sound.
        bounded = min(places.min(), rows.min()) >= 0 and max(places.max(), rows.max()) < _LARGEST
        climbs = places[0] == 0 and (lengths > 0).all() and (rows[1:] >= (rows + lengths)[:-1]).all()
        if not bounded or not climbs or not np.isfinite(mean).all():
            raise damaged
        width = (dim + 7) // 8
        return cls(np.array(mean), Stretches(places, rows, count), content[bits_at:].reshape(count, width))

    def __len__(self) -> int:
        """Number of vectors."""
        return self.rows.total

    @property
    def dim(self) -> int:
        """Number of components of a vector."""
        return len(self.mean)

    def search(
        self,
        query: Vectors,
        k: int,
        *,
        considered: int,
        allowed: Rows | None = None,
        without: Rows | None = None,
        threads: int = 1,
    ) -> Rows:
        """The ids of the k vectors that are most likely to have the largest inner product with a query.

        Args:
            query: float32 (d,).
            k: how many.
            considered: how many are taken by the bits in which they differ, before the query's components choose k.
            allowed: ids that may be returned, ascending int64; all by default. Others among them do no harm.
            without: ids that must not be returned, ascending int64.
            threads: of the scan; only many vectors are worth more than one.

        Returns:
            int64 (at most k,), the most likely first.
        """
        places = self._places(query, max(k, considered), allowed, without, threads)
        if len(places) > k or k == 1:
            # The part of the inner product that the bits know of: sum of the components, each with its vector's sign.
            signs = np.unpackbits(self._bits[places], axis=1, count=self.dim)
            places = places[np.argsort(-(signs @ query), kind="stable")[:k]]
        return self.rows.rows_at(places)

    def _places(self, query: Vectors, count: int, allowed: Rows | None, without: Rows | None, threads: int) -> Rows:
        bits = signs_of(query[None], self.mean)
        if allowed is not None:
            if without is not None and len(without):
                allowed = np.setdiff1d(allowed, without, assume_unique=True)
            chosen = self.rows.places_of(allowed)
            if len(chosen) <= count:
                return chosen
            return chosen[_nearest(bits, np.ascontiguousarray(self._bits[chosen]), count, threads)]
        hidden = self.rows.places_of(without) if without is not None else ()
        return _nearest(bits, self._bits, min(count, len(self)), threads, hidden=hidden)


def signs_of(vectors: Vectors, mean: Vectors) -> Bits:
    """One bit a component: whether it is above the mean; uint8 (n, ceil(d / 8)) of vectors (n, d) and mean (d,)."""
    return np.packbits(vectors > mean, axis=1)


def write_signs(file: BinaryIO, mean: Vectors, rows: Rows, blocks: Iterable[Vectors]) -> None:
    """Write a file from beginning to end.

    Args:
        file: to write to.
        mean: float32 (d,), about the mean of the vectors.
        rows: ids of the vectors, ascending, int64 (n,), at least one.
        blocks: the vectors in the order of the ids, float32 (b, d) at a time.
    """
    where = stretches(rows)
    dim = len(mean)
    mean_at, places_at, rows_at, bits_at, end = _layout(len(rows), dim, len(where.rows))
    head = bytearray(bits_at)
    head[: _HEADER.size] = _HEADER.pack(_MAGIC, len(rows), dim, len(where.rows))
    head[mean_at : mean_at + 4 * dim] = mean.astype("<f4").tobytes()
    head[places_at : places_at + 8 * len(where.places)] = where.places.astype("<i8").tobytes()
    head[rows_at : rows_at + 8 * len(where.rows)] = where.rows.astype("<i8").tobytes()
    file.write(head)
    written = bits_at
    for block in blocks:
        written += file.write(signs_of(block, mean).tobytes())
    if written != end:
        raise ValueError(f"{len(rows)} ids were given, but {(written - bits_at) // ((dim + 7) // 8)} vectors")


def _layout(count: int, dim: int, runs: int) -> tuple[int, int, int, int, int]:
    """Where mean, places, rows and bits begin, and where the file ends."""
    mean_at = _aligned(_HEADER.size)
    places_at = _aligned(mean_at + 4 * dim)
    rows_at = _aligned(places_at + 8 * runs)
    bits_at = _aligned(rows_at + 8 * runs)
    return mean_at, places_at, rows_at, bits_at, bits_at + count * ((dim + 7) // 8)


def _aligned(size: int) -> int:
    return (size + _ALIGNED - 1) // _ALIGNED * _ALIGNED


def _nearest(query: Bits, bits: Bits, k: int, threads: int, hidden: Any = ()) -> Rows:
    """The places of the k rows of `bits` that differ from `query` (1, w) in the fewest bits, but for the `hidden` places."""
    library = faiss()
    differing = np.empty((1, k), dtype=np.int32)
    places = np.empty((1, k), dtype=np.int64)
    pointer = library.swig_ptr
    shown: tuple[Any, ...] = ()
    if len(hidden):
        mask = np.ones(len(bits), dtype=np.bool_)
        mask[hidden] = False
        shown = (library.IDSelectorBitmap(np.packbits(mask, bitorder="little")),)
    with faiss_threads(threads):
        library.hammings_knn_mc(
            pointer(query), pointer(bits), 1, len(bits), k, bits.shape[1], pointer(differing), pointer(places), *shown
        )
    found: Rows = places[0]
    return np.asarray(found[found >= 0])
