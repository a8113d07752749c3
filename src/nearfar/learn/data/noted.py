"""What a corpus notes down of each picture or recording while its source is read, and what is made of that afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError
from nearfar.learn.data.sides import sides_of
from nearfar.recipe.data import Data
from nearfar.sources.clip import Clip
from nearfar.sources.document import ReadReport
from nearfar.sources.picture import Picture

Ints = npt.NDArray[np.int64]


@dataclass
class Noted:
    """What the source says of each item, in the order in which they are read.

    Attributes:
        keys: by which items of the same content are known.
        labels: empty for none; so are the others.
        splits: to train, validate or test on.
        groups: what belongs together.
        sessions: what was taken in one go.
        attributes: groups whose error rates are told apart.
    """

    keys: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)

    def add(self, item: Picture | Clip, key: int) -> None:
        """Note down one more."""
        self.keys.append(key)
        self.labels.append(item.label)
        self.splits.append(item.split)
        self.groups.append(item.group)
        self.sessions.append(item.session)
        self.attributes.append(item.attribute)

    def sides(self, data: Data, *, identity: bool, seed: int) -> npt.NDArray[np.int8]:
        """TRAIN, VALIDATION, TEST or DROPPED for each (n,).

        Args:
            data: how to split.
            identity: whether labels are identities, which are held out whole.
            seed: of what is drawn.

        Raises:
            DataError: the split that the data come with is not what the recipe asks for.
        """
        return sides_of(
            keys=np.array(self.keys, np.int64),
            labels=self.labels,
            splits=self.splits,
            groups=self.groups,
            split=data.split,
            identity=identity,
            seed=seed,
            kind=data.source.kind,
        )

    @property
    def fingerprint(self) -> str:
        """A digest of the content of all, in their order."""
        return hashlib.sha256(np.asarray(self.keys, dtype="<i8").tobytes()).hexdigest()


def content_key(content: bytes) -> int:
    """A number of 64 bits that is the same for the same content."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def numbered(names: Sequence[str]) -> tuple[list[str], Ints]:
    """The different names in order, numbers by value before words, and (n,) the place of each among them; -1 for an empty one."""
    known = sorted(set(names) - {""}, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))
    place = {name: number for number, name in enumerate(known)}
    return known, np.array([place.get(name, -1) for name in names], np.int64)


def passed_over(read: ReadReport, decoded: ReadReport) -> tuple[dict[str, int], list[str]]:
    """What the reader and the decoder passed over: how many for which reason, and the first few."""
    skipped = dict(decoded.skipped)
    for reason, number in read.skipped.items():
        skipped[reason] = skipped.get(reason, 0) + number
    return skipped, [*read.examples, *decoded.examples][:5]


def check_bad_rows(data: Data, skipped: dict[str, int], examples: Sequence[str]) -> None:
    """Stop where items could not be read and the recipe says so.

    Raises:
        DataError: `bad_rows` is `refuse`, and there are some.
    """
    if skipped and data.bad_rows == "refuse":
        raise DataError(
            f"{sum(skipped.values())} items of the {data.source.kind} source could not be read, first: {'; '.join(examples)}. "
            "Mend them, or set data.bad_rows to skip."
        )


def nothing_read(what: str, data: Data, skipped: dict[str, int], examples: Sequence[str]) -> DataError:
    """The error of a source without a single item that could be read.

    Args:
        what: pictures or recordings.
        data: where they should have been.
        skipped: how many were passed over, by reason.
        examples: the first of these.
    """
    because = f"; skipped {sum(skipped.values())}, first: {'; '.join(examples)}" if skipped else ""
    return DataError(f"no {what}: nothing that is one was found in the {data.source.kind} source{because}")
