"""What a teacher has said of a corpus: its vector of every document, and where a static student starts from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle
from nearfar.embedder import Side
from nearfar.errors import RunError
from nearfar.frontend import TextFrontend
from nearfar.frontend.frontend import Frontend
from nearfar.learn.compress.ridge import PRIOR_LENGTH, principal_axes, ridge_table, weighted_bags
from nearfar.learn.data.corpus import Ints, PairCorpus
from nearfar.learn.data.textfile import TokenFile
from nearfar.learn.data.vector_file import Halves, open_vectors, write_vectors
from nearfar.learn.data.whole import write_whole
from nearfar.learn.encoders.static import inverse_document_frequency
from nearfar.learn.negatives.mining import nearest
from nearfar.progress import Stages

Floats = npt.NDArray[np.float32]

_FITTED_ON = 200_000  # documents that the ridge regression looks at; more say little new of single pieces
_EXACT_UP_TO = 50_000
_NEAREST = 16  # near-duplicates of a document that are known
# How vocabularies write that a piece goes on a word (WordPiece), or begins one (Unigram, BPE).
_MARKS = ("##", "\u2581", "\u0120")


class TeacherEncoder(Protocol):
    """An embedder with what its texts are cut into."""

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        ...

    @property
    def bundle(self) -> Bundle:
        """Where it comes from."""
        ...

    @property
    def frontend(self) -> Frontend:
        """What cuts its texts."""
        ...

    def embed(self, items: Sequence[str], side: Side = "document") -> Floats:
        """Embed texts: float32 (n, d), rows of unit length."""
        ...


@dataclass(frozen=True)
class Taught:
    """The teacher's part of a run directory.

    Attributes:
        vectors: (documents, D) float16, the teacher's vector of every document of the corpus.
        duplicates: (documents, p) numbers of the training documents that are nearly the same, filled up with -1.
        axes: (D, d) orthonormal, from the teacher's space to that of a student of fewer dimensions; None where they are equal.
        start: (v, d) the table that a static student starts with; None for other students.
        name: of the teacher's bundle.
        digest: of the teacher's bundle.
        asymmetric: whether the student learns queries alone, and documents stay the teacher's.
    """

    vectors: Halves
    duplicates: Ints
    axes: Floats | None
    start: Floats | None
    name: str
    digest: str
    asymmetric: bool

    @classmethod
    def open(cls, folder: Path) -> Taught:
        """Open what `teach` has left in a folder."""
        teacher = json.loads((folder / "teacher.json").read_text("utf-8"))
        with np.load(folder / "taught.npz") as arrays:
            return cls(
                open_vectors(folder / "documents.f16", int(teacher["dim"])),
                arrays["duplicates"],
                arrays.get("axes"),
                arrays.get("start"),
                teacher["name"],
                teacher["digest"],
                teacher["asymmetric"],
            )


def is_taught(folder: Path) -> bool:
    """Whether `teach` has finished in a folder."""
    return (folder / "teacher.json").is_file()


def teach(
    folder: Path,
    teacher: TeacherEncoder,
    corpus: PairCorpus,
    frontend: TextFrontend,
    document_tokens: TokenFile,
    *,
    dim: int,
    starts: bool,
    damped: bool,
    asymmetric: bool,
    same: float,
    threads: int,
    stages: Stages,
) -> Taught:
    """Ask a teacher about a corpus; what is finished in the folder is taken up as it is.

    Args:
        folder: in the run directory.
        teacher: embeds every document, and for `starts` every piece of the vocabulary.
        corpus: the documents.
        frontend: of the student.
        document_tokens: token ids of the documents, by the student's frontend.
        dim: of the student.
        starts: whether a table to start with is wanted.
        damped: whether the student counts the root of a token's frequency.
        asymmetric: whether the student's queries are compared with the teacher's own documents.
        same: cosine from which two documents are near-duplicates.
        threads: of searching for those.
        stages: told what is being done.

    Raises:
        RunError: the dimensions of teacher and student do not fit.
    """
    check_dimensions(teacher.dim, dim, asymmetric=asymmetric)
    folder.mkdir(exist_ok=True)
    _forget_another(folder, teacher.bundle.digest)
    texts, tick = corpus.texts, stages("the teacher embeds the documents", len(corpus.document_texts))

    def embedded(rows: slice) -> Floats:
        vectors = teacher.embed([texts[int(number)] for number in corpus.document_texts[rows]], "document")
        tick(len(vectors))
        return vectors

    write_vectors(folder / "documents.f16", len(corpus.document_texts), teacher.dim, embedded)
    vectors = open_vectors(folder / "documents.f16", teacher.dim)
    documents = corpus.training_documents()
    found: dict[str, npt.NDArray[np.generic]] = {"duplicates": _duplicates(vectors, documents, same, threads)}
    axes = None
    if dim < teacher.dim:
        axes = found["axes"] = principal_axes(np.asarray(vectors[_some(documents)], dtype=np.float32), dim)
    if starts:
        found["start"] = _start(folder, teacher, frontend, document_tokens, vectors, documents, axes, damped, stages)
    np.savez(folder / "taught.npz", **found)  # type: ignore[arg-type]  # the stub takes a name for allow_pickle
    # Last: its presence says that the folder is whole.
    bundle = teacher.bundle
    about = {"name": bundle.manifest.name, "digest": bundle.digest, "dim": teacher.dim, "asymmetric": asymmetric}
    write_whole(folder / "teacher.json", json.dumps(about))
    return Taught.open(folder)


def check_dimensions(teacher: int, student: int, *, asymmetric: bool) -> None:
    """Refuse a student that cannot live in the teacher's space.

    Raises:
        RunError: naming both dimensions.
    """
    if student == teacher or (student < teacher and not asymmetric):
        return
    because = (
        "its queries are compared with the teacher's own vectors"
        if asymmetric
        else "it cannot learn more dimensions than the teacher has"
    )
    mend = f"{teacher}" + ("; the step `rank` of `compress` makes a table smaller" if asymmetric else " or less")
    raise RunError(
        f"the encoder gives {student} dimensions, but the teacher {teacher}, and {because}: set encoder.dim "
        f"(encoder.projection, where it has one) to {mend}"
    )


def _spoken(piece: str) -> str:
    """A piece of a vocabulary as it would stand in a text."""
    for mark in _MARKS:
        piece = piece.removeprefix(mark)
    return piece


def _forget_another(folder: Path, digest: str) -> None:
    """Remove the vectors that an attempt with another teacher has left: those of two cannot be compared."""
    asked = folder / "asked"
    if asked.is_file() and asked.read_text("utf-8") == digest:
        return
    for left in (*folder.glob("*.f16"), *folder.glob("*.f16.part")):
        left.unlink()
    write_whole(asked, digest)


def _some(documents: Ints) -> Ints:
    """Of very many documents an even choice."""
    return documents[:: max(1, len(documents) // _FITTED_ON)]


def _duplicates(vectors: Halves, documents: Ints, same: float, threads: int) -> Ints:
    """(documents, p) for each training document the others that are nearly the same; empty rows for what is held out."""
    known = np.asarray(vectors[documents], dtype=np.float32)
    near = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for rows, scores, places in nearest(known, known, _NEAREST + 1, _EXACT_UP_TO, threads):
        numbers = np.arange(rows.start, rows.start + len(scores))
        found = np.nonzero((scores >= same) & (places != numbers[:, None]) & (places >= 0))
        near.append((numbers[found[0]], places[found]))
    owners, others = (np.concatenate(parts) for parts in zip(*near, strict=True))
    counts = np.bincount(owners, minlength=len(documents))
    slots = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((len(vectors), max(1, int(counts.max(initial=0)))), -1, np.int64)
    table[documents[owners], slots] = documents[others]
    return table


def _start(
    folder: Path,
    teacher: TeacherEncoder,
    frontend: TextFrontend,
    document_tokens: TokenFile,
    vectors: Halves,
    documents: Ints,
    axes: Floats | None,
    damped: bool,
    stages: Stages,
) -> Floats:
    """What the teacher makes of each piece, corrected by ridge regression on the training documents."""
    pieces = frontend.pieces
    tick = stages("the teacher embeds the vocabulary", len(pieces))

    def embedded(rows: slice) -> Floats:
        found = teacher.embed([_spoken(piece) for piece in pieces[rows]], "document")
        tick(len(found))
        return found

    write_vectors(folder / "pieces.f16", len(pieces), teacher.dim, embedded)
    prior = PRIOR_LENGTH * np.asarray(open_vectors(folder / "pieces.f16", teacher.dim), dtype=np.float32)
    stages("fitting the table")
    chosen = _some(documents)
    tokens = [document_tokens[int(number)] for number in chosen]
    counts = np.zeros(frontend.vocab_size, np.int64)
    for ids in tokens:
        counts[np.unique(ids)] += 1
    bags = weighted_bags(tokens, inverse_document_frequency(counts / max(1, len(tokens))), damped=damped)
    targets = np.asarray(vectors[chosen], dtype=np.float32)
    if axes is not None:
        targets, prior = targets @ axes, prior @ axes
    return ridge_table(bags, targets, prior)
