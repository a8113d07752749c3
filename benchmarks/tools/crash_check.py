"""What an index must answer: every document that was acknowledged, and no other."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nearfar.edge import SearchIndex
from nearfar.edge.doctor import doctor
from nearfar.edge.encoder import Encoder
from nearfar.edge.store.reader import StoredPassage
from nearfar.errors import StoreError
from tools.crash_model import Ledger, document, mark

MARK = re.compile(r"mark(\d+)of(\d+)p(\d+)x")
_ALIKE = 0.99
_GONE = 60


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        held: the version of each document that the index holds.
        lost: documents that were acknowledged and are not there, or cannot be found.
        phantom: documents that were never given, or were removed for certain, and are there or are found.
        broken: whatever else is wrong.
    """

    held: dict[int, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    phantom: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def check_folder(path: Path, ledger: Ledger) -> Verdict:
    """Open an index after a kill and ask it for everything; then let `doctor` read a copy of it."""
    verdict = Verdict()
    try:
        index = SearchIndex.open(path)
    except StoreError as error:
        # A first run that was killed before its first transaction leaves no index, and has acknowledged nothing.
        if any(None not in versions for versions in ledger.allowed.values()):
            verdict.lost.append(f"everything: {error}")
        return verdict
    with index:
        check_index(index, ledger, verdict)
    copy = path.with_name(f"{path.name}-copy")
    shutil.copytree(path, copy)
    findings = doctor(copy).findings
    verdict.broken += [finding.what for finding in findings if finding.effect == "answers"]
    if findings and (not doctor(copy, repair=True).sound or doctor(copy).findings):
        verdict.broken.append("doctor --repair left something")
    shutil.rmtree(copy)
    return verdict


def check_index(index: SearchIndex, ledger: Ledger, verdict: Verdict) -> None:
    """Ask an open index for everything: in the store, by keywords and by embeddings."""
    stored = _passages(index)
    _check_store(stored, ledger, verdict)
    _check_dense(index, stored, verdict)
    for passage in stored:
        found = _place(passage.text)
        if found is None:
            continue
        number, version, place = found
        hits = index.search(mark(number, version, place), 3, "keyword", where=f"shelf = {number % 7}")
        if [(hit.id, hit.passage) for hit in hits] != [(passage.id, passage.number)]:
            verdict.lost.append(f"{passage.id} by keyword: {[hit.id for hit in hits]}")
    for number, version in ledger.gone[-_GONE:]:
        if verdict.held.get(number) != version and (hits := index.search(mark(number, version, 1), 3, "keyword")):
            verdict.phantom.append(f"{hits[0].id} by a word of version {version} of doc-{number}")


def _passages(index: SearchIndex) -> list[StoredPassage]:
    with index._store.current():
        return index._store.reader.passages_after(0, -1)


def _check_store(stored: list[StoredPassage], ledger: Ledger, verdict: Verdict) -> None:
    texts: dict[str, list[str]] = {}
    for passage in stored:
        texts.setdefault(passage.id, []).append(passage.text)
    for number, versions in ledger.allowed.items():
        there = texts.pop(f"doc-{number}", None)
        version = next((v for v in versions if there == (None if v is None else _texts(number, v))), -1)
        if version == -1:
            (verdict.lost if there is None else verdict.phantom).append(f"doc-{number}: {there}, not of {versions}")
        elif version is not None:
            verdict.held[number] = version
    verdict.phantom += [f"{id}: never given, or removed" for id in texts]
    if ledger.all_or_nothing:
        step = ledger.in_flight
        assert step is not None
        new = [verdict.held.get(number) == version for number, version in step.documents]
        new += [number not in verdict.held for number in step.numbers]
        if len(set(new)) > 1:
            verdict.broken.append(f"half of one transaction is stored: {step}")


def _check_dense(index: SearchIndex, stored: list[StoredPassage], verdict: Verdict) -> None:
    encoder = Encoder.open(index.bundle, threads=1, dim=index.dim)
    vectors = encoder.embed([passage.text for passage in stored], side="document") if stored else np.empty((0, 0))
    with index._store.current():
        for passage, vector in zip(stored, vectors, strict=True):
            rows, scores = index._store.dense.search(vector, 3)
            if rows[0] != passage.row or scores[0] < _ALIKE:
                verdict.lost.append(f"{passage.id} by its own embedding: {rows.tolist()} {scores.tolist()}")
        if stored:
            everything, _ = index._store.dense.search(vectors[0], len(stored) + 10)
            if strange := set(everything.tolist()) - {passage.row for passage in stored}:
                verdict.phantom.append(f"rows {sorted(strange)} by embedding")


def _texts(number: int, version: int) -> list[str]:
    made = document(number, version)
    return [made.text[passage.begin : passage.end] for passage in made.passages]


def _place(text: str) -> tuple[int, int, int] | None:
    found = MARK.match(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
