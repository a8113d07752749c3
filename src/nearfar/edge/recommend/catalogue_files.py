"""The catalogue as files of a bundle: written where a recommender is exported, read on the device."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nearfar.edge.recommend.prior import Prior
from nearfar.errors import BundleError, DataError
from nearfar.index.quantise import quantise_int8

NAMES: Final = "names.txt.z"
VECTORS: Final = "vectors.npy"
SCALES: Final = "scales.npy"
POPULARITY: Final = "popularity.npy"
PRIOR: Final = "prior.npz"
FACTS: Final = "facts.jsonl.z"

_MAX_TEXT = 1 << 30
# Bytes of a line on average: without it a small file could unfold into more than a device has memory for.
_MAX_LINE = 1 << 16


def catalogue_files(
    names: Sequence[str],
    vectors: npt.NDArray[np.floating[Any]],
    popularity: npt.NDArray[np.floating[Any]],
    prior: Prior | None = None,
    facts: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, bytes]:
    """The files of a catalogue, by the names that they have in a bundle; the same catalogue gives the same bytes.

    Args:
        names: of n items, all different, without line breaks.
        vectors: (n, d); each is rounded to int8 with a scale of its own.
        popularity: (n,), log of the share of training actions, smoothed.
        prior: what comes after what.
        facts: what else is known of each item, as JSON can hold it; the title under `title`.

    Returns:
        Name -> content; `prior` and `facts` only where they are given.

    Raises:
        DataError: a name is empty, comes twice or has a line break; or a fact is nothing that JSON can hold.
    """
    check_names(names)
    codes, scales = round_vectors(vectors)
    files = {
        NAMES: packed_lines(names),
        VECTORS: npy(codes),
        SCALES: npy(scales),
        POPULARITY: npy(np.asarray(popularity).astype("<f2")),
    }
    if prior is not None:
        files[PRIOR] = prior.to_bytes()
    if facts is not None and any(facts):
        files[FACTS] = packed_lines([fact_line(fact) for fact in facts])
    return files


def round_vectors(vectors: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """Vectors (n, d) as int8 (n, d) and scales float16 (n,), the nearest to them that there are with such scales."""
    values = np.asarray(vectors, dtype=np.float32)
    _, exact = quantise_int8(values)
    # Up to the next float16, so that the largest component stays within 127 steps.
    scales = exact.astype("<f2")
    scales = np.where(scales.astype(np.float32) < exact, np.nextafter(scales, np.float16(np.inf)), scales)
    steps = scales.astype(np.float32)[:, None]
    rounded = np.rint(np.divide(values, steps, out=np.zeros_like(values), where=steps > 0))
    return rounded.astype(np.int8), scales


def fact_line(fact: Mapping[str, Any]) -> str:
    """What is known of one item as one line of JSON, always the same for the same facts.

    Raises:
        DataError: a value is nothing that JSON can hold.
    """
    try:
        return json.dumps(dict(fact), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"facts {dict(fact)!r}: {error}: give text, numbers, true, false and lists of them") from error


def check_names(names: Sequence[str]) -> None:
    """Refuse names that a catalogue cannot hold.

    Raises:
        DataError: one is empty, has a line break, or comes twice.
    """
    seen: set[str] = set()
    for place, name in enumerate(names):
        if not name or "\n" in name or "\0" in name:
            raise DataError(f"item {place}: {name[:80]!r} cannot be the name of an item: give text of one line")
        if name in seen:
            raise DataError(f"item {place}: {name[:80]!r} is the name of two items: give each its own")
        seen.add(name)


def packed_lines(lines: Sequence[str]) -> bytes:
    """Lines as a DEFLATE file, each ended by a newline."""
    return zlib.compress("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"), 9)


def unpacked_lines(content: bytes, where: str, count: int) -> list[str]:
    """Undo `packed_lines`.

    Raises:
        BundleError: it is no such file, or has other than `count` lines.
    """
    again = "export the bundle again"
    try:
        inflating = zlib.decompressobj()
        most = max(1, min(_MAX_TEXT, count * _MAX_LINE))
        plain = inflating.decompress(content, most)
        if not inflating.eof:
            raise BundleError(f"{where}: is cut off, or larger than {most:,} bytes: {again}")
        # Counted before they are taken apart: a gigabyte of line breaks would be a thousand million texts.
        found = plain.count(b"\n") + (not plain.endswith(b"\n") and bool(plain))
        if found != count:
            raise BundleError(f"{where}: has {found:,} lines for {count:,} items: {again}")
        lines = plain.decode("utf-8", "surrogatepass").split("\n")
    except (zlib.error, UnicodeDecodeError) as error:
        raise BundleError(f"{where}: not lines of text ({error}): {again}") from error
    if lines.pop():
        raise BundleError(f"{where}: its last line is cut off: {again}")
    return lines


def npy(array: npt.NDArray[Any]) -> bytes:
    """An array as the bytes of a `.npy` file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def read_npy(content: bytes, where: str, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Read an array of known type and shape.

    Raises:
        BundleError: it is another one.
    """
    again = "export the bundle again"
    try:
        array: npt.NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BundleError(f"{where}: not a .npy file ({error}): {again}") from error
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise BundleError(
            f"{where}: holds {array.dtype} {array.shape}, where the manifest says {np.dtype(dtype)} {shape}: {again}"
        )
    return array
