"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from nearfar.sources.document import Metadata


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage that was found.

    Attributes:
        id: of its document.
        title: of its document; may be empty.
        text: the part of its text that shows why it was found, on one line.
        location: where a person finds it.
        score: larger is better. Cosine in mode `dense`, BM25 in `keyword`, the fused score in `hybrid`, that of the
            cross-encoder after reranking; scores of different queries or modes do not compare, but for cosines and
            those of a cross-encoder.
        rank: 1 for the best.
        passage: its number in its document, from 1.
        heading: that it stands under; empty where that is the title.
        page: from 1, where its document has pages.
        metadata: of its document.
        modality: the tower that embedded it, in an index of several modalities; empty in an index of texts.
        thumbnail: a small PNG or JPEG of it, where it is a picture and the index keeps one; else empty.
    """

    id: str
    title: str
    text: str
    location: str
    score: float
    rank: int
    passage: int = 1
    heading: str = ""
    page: int | None = None
    metadata: Metadata = field(default_factory=dict, hash=False)
    modality: str = ""
    thumbnail: bytes = field(default=b"", repr=False)
