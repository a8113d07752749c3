"""What a reader of pictures yields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from nearfar.sources.document import ReadReport

Content: TypeAlias = Path | bytes | npt.NDArray[np.uint8]
"""A picture that is not decoded yet: a file, the bytes of one, or an array (h, w)."""

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""What folders, files and cells call the parts of a data set -> what nearfar calls them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, not decoded.

    Attributes:
        id: unique and stable within its source (for example `cats/7.jpg` or `train.parquet#7`).
        content: where its pixels are.
        label: the class; empty without one.
        split: `train`, `validation`, `test` or what the data call it; empty where they say nothing.
        location: where a person finds it, for messages.
        group: what it belongs together with (one patient, one film); empty where the data say nothing.
        session: what it was taken in together with others of its label (one day, one camera); empty where the data say nothing.
        attribute: the group whose error rates are told apart (sex, camera); empty where the data say nothing.
    """

    id: str
    content: Content = field(compare=False, repr=False)
    label: str = ""
    split: str = ""
    location: str = ""
    group: str = ""
    session: str = ""
    attribute: str = ""


class PictureSource(Protocol):
    """A place that pictures come from, read one by one so that memory does not grow with it."""

    report: ReadReport

    def pictures(self) -> Iterator[Picture]:
        """Yield the pictures in a fixed order; a second call starts again from the first."""
        ...

    def contents(self, ids: Sequence[str]) -> Iterator[Content]:
        """Yield the content of these pictures again, in the order of `ids`; cheapest in the order of `pictures`."""
        ...


def split_called(value: Any) -> str:
    """The split that a folder or cell names: a known word in nearfar's form, any other word as it is."""
    text = str(value).strip()
    return SPLITS.get(text.lower(), text)
