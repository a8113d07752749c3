"""The parts of the text benchmark: each trains or opens its systems, measures them, and notes what it found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from nearfar.edge import Encoder
from nearfar.evaluate import rank_dense
from nearfar.evaluate.metrics import ndcg_at
from nearfar.progress import Stages
from nearfar.road.measure import learn_fusion, rank_hybrid
from tools import minilm, text_trainings
from tools.text_added import added, asking_for, held_out
from tools.text_peers import Lsa, Model2vec, distil_model2vec, has_model2vec
from tools.text_ranking import Bench
from tools.text_sets import TABLE, Collection, read_tldr
from tools.text_speed import (
    encode_sentence_transformers,
    openers,
    passages_per_second,
    query_seconds,
)
from tools.text_state import State
from tools.text_sts import spearman_on_dev, write_sentences
from tools.text_teacher import RememberingTeacher, own_teacher, remembering, teacher_bundle
from tools.text_trainings import Student, Trained, exported, of_table, trained

_ALONE = ("minilm", "query_static", "query_static_small", "static", "transformer", "no_teacher")
SYSTEMS = ("bm25", "lsa", "model2vec", *(name + form for name in _ALONE for form in ("", "_hybrid")))
"""In the order of the tables."""

_DOCUMENT = {"title": "title", "id": "id"}
_QUICK_SENTENCES = 200


@dataclass(frozen=True)
class Place:
    """A collection with all that its parts need.

    Attributes:
        name: of the collection.
        collection: documents and queries.
        data: the folder that they come from.
        model: directory of the teacher.
        work: where runs, bundles and indexes are kept.
        state: takes what is measured.
        stages: told what is being done.
        quick: whether only to show that everything runs.
    """

    name: str
    collection: Collection
    data: Path
    model: Path
    work: Path
    state: State
    stages: Stages
    quick: bool = False

    @property
    def folder(self) -> Path:
        """Of this collection."""
        return self.work / self.name

    @cached_property
    def bench(self) -> Bench:
        """Measures systems on it."""
        return Bench(self.name, self.collection.test, self.folder, self.state, self.stages)

    @cached_property
    def teacher(self) -> RememberingTeacher:
        """The teacher, who has embedded all documents."""
        bundle = teacher_bundle(self.model, self.work / "minilm", self.stages)
        return remembering(bundle, self.collection.test.documents, self.work / "taught", self.stages)

    def trained(self, student: Student, name: str, *, without: frozenset[int] = frozenset()) -> Trained:
        """Train a student on the documents, but those `without`."""
        teacher = self.teacher if student not in (text_trainings.NO_TEACHER, text_trainings.LABELLED) else None
        table = self.collection.write(self.folder / f"{name}-{TABLE}", without=without)
        directory = self.folder / f"{name}-run"
        source = of_table(table, _DOCUMENT)
        found = trained(student, source, directory, self.stages, teacher=teacher, quick=self.quick)
        self._note(name, found)
        return found

    def _note(self, name: str, found: Trained) -> None:
        if found.seconds is not None:
            self.state.keep("train_seconds", name, found.seconds, group=self.name)


def keywords(place: Place) -> None:
    """BM25, and LSA beside it."""
    place.bench.keywords()
    lsa = Lsa.fitted(place.collection.test.documents)
    target = place.bench.place("lsa")
    lsa.save(target)
    place.bench.embedder("lsa", lsa, lsa.size_bytes)


def minilm_itself(place: Place) -> None:
    """The teacher on both sides."""
    place.bench.bundle("minilm", own_teacher(place.teacher.bundle, place.work / "minilm-own"), place.teacher)


def model2vec(place: Place) -> None:
    """The peer that is distilled from the same teacher."""
    if not has_model2vec():
        place.stages("model2vec is not installed: passed over")
        return
    target = place.work / "model2vec"
    size = distil_model2vec(place.model, target, quick=place.quick)
    place.bench.embedder("model2vec", Model2vec(target), size)
    place.bench.link("model2vec", target)


def static(place: Place) -> None:
    """One run, three ways of using it."""
    run = place.trained(text_trainings.STATIC, "static").run
    bundle = exported(run, place.stages, text_trainings.MIDDLE)
    place.bench.bundle("query_static", bundle, place.teacher)
    place.bench.bundle("static", bundle)
    place.bench.bundle("query_static_small", exported(run, place.stages, text_trainings.SMALL), place.teacher)


def transformer(place: Place) -> None:
    """A few layers of the teacher, on both sides."""
    student = text_trainings.TRANSFORMER
    if not student.recipe.is_file():
        place.stages(f"there is no {student.recipe.name}: passed over")
        return
    run = place.trained(student, "transformer").run
    place.bench.bundle("transformer", exported(run, place.stages, text_trainings.INT8))


def no_teacher(place: Place) -> None:
    """From the documents alone."""
    run = place.trained(text_trainings.NO_TEACHER, "no_teacher").run
    place.bench.bundle("no_teacher", exported(run, place.stages))


def labelled(place: Place) -> None:
    """With the descriptions of other pages as labels; tldr only."""
    if place.name != "tldr":
        return
    data = read_tldr(place.data, place.folder)
    override = of_table(data.pairs, {"text": "positive"})
    found = trained(text_trainings.LABELLED, override, place.folder / "labelled-run", place.stages, quick=place.quick)
    bundle = exported(found.run, place.stages)
    index = place.folder / "labelled-index"
    shutil.rmtree(index, ignore_errors=True)
    fusion = learn_fusion(bundle, data.validation, index, place.stages)
    assert fusion is not None
    rankings = {
        "labelled": rank_dense(Encoder.open(bundle), data.test),
        "labelled_hybrid": rank_hybrid(bundle, data.test, fusion, index, place.stages),
    }
    for name, ranked in rankings.items():
        place.state.keep("ndcg", name, ndcg_at(ranked, data.test.qrels, 10), group=place.name)
        place.state.keep("mb", name, bundle.size_bytes / 1e6, group=place.name)


def documents_added(place: Place) -> None:
    """A run that has not seen a tenth of the documents."""
    places = held_out(len(place.collection.test.documents))
    run = place.trained(text_trainings.STATIC, "added", without=places).run
    table = Encoder.open(exported(run, place.stages, text_trainings.MIDDLE))
    task = asking_for(place.collection.test, places)
    for way, values in added(task, places, table, place.teacher).items():
        place.state.keep("added", way, values, group=place.name)


def speed(place: Place) -> None:
    """Everything that was measured on this collection, in turn."""
    systems = place.folder / "systems"
    timed = openers(systems) if systems.is_dir() else {}
    if not timed:
        place.stages("nothing to time yet")
        return
    if minilm.has_sentence_transformers():
        timed["sentence_transformers"] = partial(encode_sentence_transformers, place.model)
    place.stages(f"timing queries on {len(timed)} systems")
    for name, seconds in query_seconds(timed, place.collection.test.queries, quick=place.quick).items():
        place.state.keep("seconds", name, seconds, group=place.name)
    place.stages("timing documents")
    for name, rate in passages_per_second(systems, place.collection.test.documents, quick=place.quick).items():
        place.state.keep("passages", name, rate, group=place.name)


COLLECTION_PARTS: dict[str, Callable[[Place], None]] = {
    "keywords": keywords,
    "minilm": minilm_itself,
    "model2vec": model2vec,
    "static": static,
    "transformer": transformer,
    "no_teacher": no_teacher,
    "labelled": labelled,
    "added": documents_added,
    "speed": speed,
}
"""What is measured on a collection, in the order in which it is done."""


def measure_sts(data: Path, model: Path, work: Path, state: State, stages: Stages, *, quick: bool) -> None:
    """Similarity of sentences: the teacher, and two students that have seen sentences without scores."""
    folder, limit = work / "sts", _QUICK_SENTENCES if quick else None
    table = write_sentences(data, folder / TABLE, limit=limit)
    texts = [json.loads(line)["text"] for line in table.read_text("utf-8").splitlines()]
    teacher = remembering(teacher_bundle(model, work / "minilm", stages), texts, work / "taught", stages)
    found = {"teacher": spearman_on_dev(data, teacher, limit=limit)}
    students = {"static": text_trainings.STS_STATIC, "transformer": text_trainings.STS_TRANSFORMER}
    for name, student in students.items():
        if student.recipe.is_file():
            run = trained(
                student, of_table(table, {}), folder / f"{name}-run", stages, teacher=teacher, quick=quick
            ).run
            steps = text_trainings.SMALL if name == "static" else text_trainings.INT8
            found[name] = spearman_on_dev(data, Encoder.open(exported(run, stages, steps)), limit=limit)
    for name, interval in found.items():
        state.keep("sts", name, np.array([interval.value, interval.low, interval.high]))
