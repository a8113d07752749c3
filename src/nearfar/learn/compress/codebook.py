"""Rows of a table in one byte for several numbers: four bits a number, or parts looked up in codebooks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearfar.index.faiss_threads import faiss, faiss_threads

Floats = npt.NDArray[np.float32]

ENTRIES = 256
"""What one byte tells apart."""

_LEVELS = 16
_SAMPLE = 200_000  # numbers that levels are learned from
_ROWS = 10_000  # rows that a codebook is learned from: forty for each entry
_ROUNDS = 12


@dataclass(frozen=True)
class Codes:
    """A table in codes.

    Attributes:
        codes: uint8 (v, p), one byte for each part of a row.
        books: int8 (b, 256, width), what a byte stands for; b is p, or 1 where all parts share a book.
        scales: float16 (v,), 0 to 1, relative to `unit`.
        unit: what the numbers of the books times `scales` are in.
        dim: d; p * width may be more.
    """

    codes: npt.NDArray[np.uint8]
    books: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float16]
    unit: float
    dim: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.codes.nbytes + self.books.nbytes + self.scales.nbytes

    def table(self) -> Floats:
        """The rows that the codes stand for, float32 (v, d)."""
        books = np.broadcast_to(self.books, (self.codes.shape[1], *self.books.shape[1:]))
        parts = books[np.arange(len(books)), self.codes].astype(np.float32)
        rows = parts.reshape(len(self.codes), -1)[:, : self.dim]
        scaled: Floats = rows * (self.scales.astype(np.float32) * np.float32(self.unit))[:, None]
        return scaled


def four_bit_codes(table: Floats, weights: Floats) -> Codes:
    """Four bits a number and a scale a row.

    The sixteen levels are those that lose least of this table (Lloyd, Least squares quantization in PCM, 1982), relative
    to the largest number of a row. Evenly spaced ones lose a third more, and a scale for every 32 numbers costs what it
    wins.

    Args:
        table: (v, d), finite.
        weights: (v,) what an error in each row counts.
    """
    largest = np.abs(table).max(axis=1, initial=0.0, keepdims=True)
    shares = np.divide(table, largest, out=np.zeros_like(table), where=largest > 0)
    levels = _levels(shares, weights * largest[:, 0] ** 2)
    book = np.stack([np.repeat(levels, _LEVELS), np.tile(levels, _LEVELS)], axis=1)[None]
    books, step = _in_int8(book)
    exact = books[0, :_LEVELS, 1].astype(np.float32)  # the levels as they ship
    nearest = np.searchsorted((exact[1:] + exact[:-1]) / 2, shares / step).astype(np.uint8)
    if nearest.shape[1] % 2:
        nearest = np.pad(nearest, ((0, 0), (0, 1)))
    codes = nearest[:, ::2] * np.uint8(_LEVELS) + nearest[:, 1::2]
    return _fitted(table, codes, books)


def codebook_codes(table: Floats, weights: Floats, *, width: int = 4) -> Codes:
    """Product quantisation: `width` numbers at a time are looked up among 256 (Jégou, Douze and Schmid, PAMI 2011).

    Rows are looked up at unit length and have a scale of their own, so that long rows take no entries from short ones.

    Args:
        table: (v, d), finite.
        weights: (v,) what an error in each row counts.
        width: numbers that share a byte.
    """
    length = np.linalg.norm(table, axis=1, keepdims=True)
    directions = np.divide(table, length, out=np.zeros_like(table), where=length > 0)
    directions = np.pad(directions, ((0, 0), (0, -table.shape[1] % width)))
    parts = np.ascontiguousarray(directions.reshape(len(table), -1, width).transpose(1, 0, 2))  # (p, v, width)
    rows = np.arange(len(table))
    if len(rows) > _ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _ROWS, replace=False))
    counted = np.maximum(weights * length[:, 0] ** 2, np.finfo(np.float32).tiny)[rows]
    with faiss_threads(1):  # the sums of several threads are not always the same
        books, step = _in_int8(np.stack([_centroids(part[rows], counted) for part in parts]))
        codes = np.stack([_nearest(part / step, book) for part, book in zip(parts, books, strict=True)], axis=1)
    return _fitted(table, codes, books)


def _levels(shares: Floats, weights: Floats) -> Floats:
    """The sixteen numbers that `shares` (v, d) are closest to, each row counting as much as its weight; ascending."""
    source = np.random.default_rng(0)
    chance = weights.astype(np.float64) + np.finfo(np.float32).tiny
    drawn = source.choice(len(shares), _SAMPLE, p=chance / chance.sum())
    sample = np.sort(shares[drawn, source.integers(0, shares.shape[1], _SAMPLE)].astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(sample)])
    levels = np.quantile(sample, (np.arange(_LEVELS) + 0.5) / _LEVELS)
    for _ in range(100):
        ends = np.searchsorted(sample, (levels[1:] + levels[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(sample)]])
        members = np.diff(ends)
        levels = np.where(members > 0, np.diff(sums[ends]) / np.maximum(members, 1), levels)
    return np.sort(levels).astype(np.float32)


def _centroids(vectors: Floats, weights: Floats) -> Floats:
    """The 256 vectors (256, w) that `vectors` (n, w) are closest to, by weighted k-means."""
    vectors = np.ascontiguousarray(vectors)
    count = min(ENTRIES, len(vectors))
    means = faiss().Kmeans(
        vectors.shape[1], count, niter=_ROUNDS, seed=1, min_points_per_centroid=1, max_points_per_centroid=_ROWS
    )
    means.train(vectors, weights=weights)
    book = np.zeros((ENTRIES, vectors.shape[1]), np.float32)
    book[:count] = means.centroids
    return book


def _nearest(vectors: Floats, book: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """The entry of the book that each of `vectors` (n, w) is closest to, (n,)."""
    index = faiss().IndexFlatL2(book.shape[1])
    index.add(book.astype(np.float32))
    _, entries = index.search(np.ascontiguousarray(vectors), 1)
    chosen: npt.NDArray[np.uint8] = entries[:, 0].astype(np.uint8)
    return chosen


def _in_int8(books: Floats) -> tuple[npt.NDArray[np.int8], float]:
    """Books in int8 with one step for all, and the step."""
    step = float(np.abs(books).max(initial=0.0)) / 127 or 1.0
    return np.rint(books / step).astype(np.int8), step


def _fitted(table: Floats, codes: npt.NDArray[np.uint8], books: npt.NDArray[np.int8]) -> Codes:
    """The codes with the scale of each row that brings it closest to the table."""
    ones = np.ones(len(table), np.float16)
    coded = Codes(codes, books, ones, 1.0, table.shape[1]).table()
    squares = np.square(coded).sum(axis=1)
    scales = np.divide((coded * table).sum(axis=1), squares, out=np.zeros_like(squares), where=squares > 0)
    unit = float(scales.max(initial=0.0)) or 1.0
    smallest = np.finfo(np.float16).tiny  # a text may have nothing but words of the shortest rows
    relative = np.where(scales > 0, np.maximum(scales / unit, smallest), 0.0)
    return Codes(codes, books, relative.astype(np.float16), unit, table.shape[1])
