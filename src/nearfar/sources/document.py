"""What a reader yields: documents to search and pairs to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar | tuple[Scalar, ...]]
"""What is known of a document beside its text: name -> value or values. Searches can be narrowed to some of them."""

MODALITY = "modality"
"""The key of the metadata that says which tower embedded a document, where the bundle has several or is of no texts."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document that is embedded and found on its own.

    Attributes:
        begin: where it starts in the `text` of its document, in characters.
        end: where it ends; its own text is `document.text[begin:end]`. Neighbours may overlap.
        heading: the heading it stands under; empty for that of the document.
        location: where a person finds it, as `path:line`; empty for that of the document.
        page: its page, from 1, where the document has pages.
    """

    begin: int
    end: int
    heading: str = ""
    location: str = ""
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One thing that can be found.

    Attributes:
        id: unique and stable within its source (for example `guide.md#2` or `json.loads`).
        text: what is embedded and searched, without the title.
        title: a short name shown in results; may be empty.
        location: where a person finds it, as `path:line` where there is a line.
        group: what it belongs together with (package, folder, file): a split by group keeps it whole.
        parent_title: the title of what it is a part of (the file of a section, the module of a function); may be empty.
        metadata: what else is known of it.
        passages: how it is cut, in the order of the text; empty where nobody has cut it yet.
        stamp: changes whenever the document may have changed (size and time of a file); empty where nothing is known.
        modality: the tower of a bundle of several that embeds it; empty for a text.
        item: what is embedded in place of title and text, where it is no text: a path, the bytes of a file, an array, a mapping of
            columns to cells, as `nearfar.edge.Encoder.embed` takes them. Title and text can then say what it is.
    """

    id: str
    text: str
    title: str = ""
    location: str = ""
    group: str = ""
    parent_title: str = ""
    metadata: Metadata = field(default_factory=dict, hash=False)
    passages: tuple[Passage, ...] = ()
    stamp: str = ""
    modality: str = ""
    item: Any = field(default=None, hash=False, compare=False, repr=False)

    @property
    def content(self) -> str:
        """Title and text as one string: what an encoder is given."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Unchanged:
    """In place of a document whose stamp says that it is as the asker knows it; it was not read.

    Attributes:
        id: of the document.
    """

    id: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One anchor with what should lie near it, and optionally what should lie far.

    Attributes:
        query: the anchor text.
        positives: one or more texts that belong to it.
        negatives: texts known not to belong to it; often empty.
        location: `path:line` of the row, for messages.
        group: as in `Document`.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    location: str = ""
    group: str = ""


@dataclass(slots=True)
class ReadReport:
    """What a reader passed over, and why; nothing is dropped silently.

    Attributes:
        read: items yielded.
        skipped: reason -> how many.
        examples: the first few skipped, as `path:line: reason`.
        repeated: items left out because exactly their text had been yielded before; no fault, so not among the skipped.
    """

    read: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    repeated: int = 0

    def skip(self, location: str, reason: str, keep: int = 5, detail: str = "") -> None:
        """Count one skipped item; the first `keep` are remembered with their place.

        What differs from item to item (an offset, a message) belongs in `detail`: reasons are what is counted, so there
        must be few of them.
        """
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        if len(self.examples) < keep:
            self.examples.append(f"{location}: {reason} ({detail})" if detail else f"{location}: {reason}")

    def add(self, other: ReadReport, keep: int = 5) -> None:
        """Take in what another reading passed over; of examples the first `keep` stay."""
        for reason, count in other.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count
        self.examples += other.examples[: max(0, keep - len(self.examples))]

    @property
    def skipped_total(self) -> int:
        """How many items were passed over."""
        return sum(self.skipped.values())


class DocumentSource(Protocol):
    """A place that documents come from, read one by one so that memory does not grow with it."""

    @property
    def report(self) -> ReadReport:
        """What was passed over, and why, as far as it has been read."""
        ...

    def documents(self) -> Iterator[Document]:
        """Yield the documents in a fixed order; a second call starts again from the first."""
        ...


class SearchSource(Protocol):
    """A place that documents for an index come from; of those that the index knows already, only the id."""

    @property
    def report(self) -> ReadReport:
        """What was passed over, and why, as far as it has been read."""
        ...

    def documents(self) -> Iterator[Document | Unchanged]:
        """Yield the documents in a fixed order; a second call starts again from the first."""
        ...


class PairSource(Protocol):
    """A place that labelled pairs come from (a table with named columns)."""

    report: ReadReport

    def pairs(self) -> Iterator[Pair]:
        """Yield the pairs in a fixed order; a second call starts again from the first."""
        ...
