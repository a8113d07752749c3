"""The items that a device can recommend: names, vectors in int8, popularity, what comes after what, and what is known of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.bundle.recommender_record import RecommenderRecord
from nearfar.edge.recommend.catalogue_files import check_names, read_npy, unpacked_lines
from nearfar.edge.recommend.prior import Prior
from nearfar.errors import BundleError, DataError
from nearfar.index.quantise import dequantise

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_NAMED = 5
_NAMES_COMPARED = 20_000


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All items, by number.

    Attributes:
        names: of n items, all different.
        codes: int8 (n, d).
        scales: float16 (n,): item i is `codes[i] * scales[i]`.
        popularity: float16 (n,), log of the share of training actions, smoothed.
        prior: what comes after what; None where the bundle has none.
        fact_lines: what is known of each item, a line of JSON; none where nothing is known of any.
        sequence: number of the latest update, 0 for what the bundle came with.
    """

    names: tuple[str, ...]
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float16]
    popularity: npt.NDArray[np.float16]
    prior: Prior | None = None
    fact_lines: tuple[str, ...] = ()
    sequence: int = 0

    @classmethod
    def open(cls, bundle: Bundle) -> Self:
        """The catalogue that a bundle comes with.

        Raises:
            BundleError: it is no recommender, or its files do not fit together.
        """
        record = recommender_of(bundle)

        def where(name: str) -> str:
            return str(bundle.path / name)

        count, dim = record.items, bundle.manifest.dim
        names = unpacked_lines(bundle.read(record.names), where(record.names), count)
        try:
            check_names(names)
        except DataError as error:
            raise BundleError(f"{where(record.names)}: {error} (in a bundle: export it again)") from error
        codes = read_npy(bundle.read(record.vectors), where(record.vectors), "i1", (count, dim))
        scales = read_npy(bundle.read(record.scales), where(record.scales), "<f2", (count,))
        popularity = read_npy(bundle.read(record.popularity), where(record.popularity), "<f2", (count,))
        for name, values in ((record.scales, scales), (record.popularity, popularity)):
            if not np.isfinite(values).all():
                raise BundleError(f"{where(name)}: holds values that are not finite numbers: export the bundle again")
        prior = None
        if record.prior is not None:
            prior = Prior.from_bytes(bundle.read(record.prior), where(record.prior), count)
        facts: list[str] = []
        if record.facts is not None:
            facts = unpacked_lines(bundle.read(record.facts), where(record.facts), count)
        return cls(tuple(names), codes, scales, popularity, prior, tuple(facts))

    def __len__(self) -> int:
        """Number of items."""
        return len(self.names)

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return int(self.codes.shape[1])

    def number_of(self, name: str) -> int | None:
        """The number of an item; None for one that is not in the catalogue."""
        return self._numbers.get(name)

    def numbers_of(self, names: Iterable[str]) -> Ints:
        """The numbers of items, int64, in their order.

        Raises:
            DataError: some are not in the catalogue; the message names them.
        """
        wanted = list(names)
        if unknown := [name for name in wanted if name not in self._numbers]:
            shown = ", ".join(repr(name) for name in unknown[:_NAMED])
            more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
            near = get_close_matches(unknown[0], self.names[:_NAMES_COMPARED], n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"not in the catalogue of {len(self):,} items: {shown}{more}{meant}")
        return np.array([self._numbers[name] for name in wanted], dtype=np.int64)

    def vectors(self, numbers: Ints) -> Floats:
        """Vectors of items, float32 (m, d), of their numbers (m,)."""
        return dequantise(self.codes[numbers], self.scales[numbers].astype(np.float32))

    def vector(self, number: int) -> Floats:
        """The vector of one item, float32 (d,)."""
        row: Floats = self.vectors(np.array([number]))[0]
        return row

    def facts_of(self, number: int) -> Mapping[str, Any]:
        """What is known of an item, its title under `title`."""
        if not self.fact_lines:
            return {}
        facts = json.loads(self.fact_lines[number])
        return facts if isinstance(facts, dict) else {}

    def title_of(self, number: int) -> str:
        """What people call an item; empty where nobody says."""
        return str(self.facts_of(number).get("title") or "")

    @cached_property
    def fact_keys(self) -> frozenset[str]:
        """What is known of some item: what a condition may speak of."""
        return frozenset(key for line in set(self.fact_lines) for key in json.loads(line))

    @cached_property
    def fresh(self) -> npt.NDArray[np.bool_]:
        """Which items are the least known, (n,): those that nobody had acted on, where there are such, for they all have the least
        popularity.
        """
        return np.asarray(self.popularity == self.popularity.min())

    @cached_property
    def name_ranks(self) -> Ints:
        """The place of each item when all are sorted by name, int64 (n,): what decides between equal scores."""
        ranks = np.empty(len(self), dtype=np.int64)
        ranks[sorted(range(len(self)), key=self.names.__getitem__)] = np.arange(len(self))
        return ranks

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex of all that it says, however it is stored, and of the number of its latest update."""
        known = hashlib.sha256(f"nearfar catalogue {self.sequence} {len(self)} {self.dim}\n".encode())
        for lines in (self.names, self.fact_lines):
            text = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
            known.update(len(text).to_bytes(8, "little") + text)
        for array, dtype in ((self.codes, "i1"), (self.scales, "<f2"), (self.popularity, "<f2")):
            known.update(array.astype(dtype).tobytes())
        if self.prior is not None:
            for part, dtype in ((self.prior.offsets, "<i8"), (self.prior.columns, "<i4"), (self.prior.codes, "u1")):
                known.update(part.astype(dtype).tobytes())
            known.update(np.append(self.prior.range, self.prior.recency).astype("<f4").tobytes())
        return known.hexdigest()

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}


def recommender_of(bundle: Bundle) -> RecommenderRecord:
    """What the manifest says of a recommender.

    Raises:
        BundleError: the bundle is none.
    """
    record = bundle.manifest.recommender
    if record is None:
        raise BundleError(
            f"{bundle.path}: is of kind {bundle.manifest.kind}, and recommends nothing: give the bundle of a run over events"
        )
    return record
