"""all-MiniLM-L6-v2, the teacher of the students and their rival: its bundle, and its vectors of a collection, made once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nearfar.bundle import Bundle
from nearfar.bundle.bundle import MANIFEST
from nearfar.bundle.manifest import TeacherRecord
from nearfar.edge import Encoder
from nearfar.embedder import Item, Side
from nearfar.frontend.frontend import Frontend
from nearfar.learn.data.vector_file import open_vectors, write_vectors
from nearfar.progress import Stages
from nearfar.road.draft import Draft
from nearfar.road.import_encoder import import_encoder

Vectors = npt.NDArray[np.float32]


class RememberingTeacher:
    """A teacher that looks up the documents it has embedded; everything else goes through the encoder.

    Args:
        encoder: the teacher.
        texts: documents it has embedded.
        vectors: (n, d) what it made of them.
    """

    def __init__(self, encoder: Encoder, texts: Sequence[str], vectors: npt.NDArray[np.float16]) -> None:
        self._encoder, self._vectors = encoder, vectors
        self._places = {text: place for place, text in enumerate(texts)}

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._encoder.dim

    @property
    def bundle(self) -> Bundle:
        """Where the teacher comes from."""
        return self._encoder.bundle

    @property
    def frontend(self) -> Frontend:
        """What cuts its texts."""
        return self._encoder.frontend

    def embed(self, items: Sequence[Item], side: Side = "document") -> Vectors:
        """Embed texts: float32 (n, d); those of known documents were rounded to half precision."""
        places = [self._places.get(item, -1) if side == "document" and isinstance(item, str) else -1 for item in items]
        found = np.array(places, dtype=np.int64)
        vectors = np.empty((len(items), self.dim), dtype=np.float32)
        vectors[found >= 0] = self._vectors[found[found >= 0]]
        unknown = np.flatnonzero(found < 0)
        if len(unknown):
            vectors[unknown] = self._encoder.embed([items[int(place)] for place in unknown], side)
        return vectors


def teacher_bundle(model: Path, target: Path, stages: Stages) -> Bundle:
    """The model in float as a bundle; made where it is not there yet."""
    if (target / MANIFEST).is_file():
        return Bundle.open(target)
    return import_encoder(str(model), target, name="all-minilm-l6-v2", quantise="none", stages=stages)


def own_teacher(bundle: Bundle, target: Path) -> Bundle:
    """The same bundle, but with itself noted as the teacher: an index takes document vectors that were made before."""
    if (target / MANIFEST).is_file():
        return Bundle.open(target)
    names = {tower.graph for tower in bundle.manifest.towers.values()} | set(bundle.manifest.frontend.files)
    manifest = bundle.manifest.model_copy(
        update={"teacher": TeacherRecord(name=bundle.manifest.name, digest=bundle.digest)}
    )
    return Draft({name: bundle.read(name) for name in sorted(names)}, manifest).written(target)


def remembering(bundle: Bundle, texts: Sequence[str], folder: Path, stages: Stages) -> RememberingTeacher:
    """Embed documents by a teacher, once for the same teacher and texts; what a killed run has embedded is kept."""
    distinct = list(dict.fromkeys(texts))
    digest = hashlib.sha256(bundle.digest.encode())
    for text in distinct:
        digest.update(hashlib.sha256(text.encode()).digest())
    encoder = Encoder.open(bundle, threads=os.cpu_count() or 1)
    path = folder / f"{digest.hexdigest()[:16]}.f16"
    folder.mkdir(parents=True, exist_ok=True)
    tick = stages("the teacher embeds the documents", len(distinct))

    def embedded(rows: slice) -> Vectors:
        vectors = encoder.embed(distinct[rows], "document")
        tick(len(vectors))
        return vectors

    write_vectors(path, len(distinct), encoder.dim, embedded)
    return RememberingTeacher(encoder, distinct, open_vectors(path, encoder.dim))
