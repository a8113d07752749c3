"""The students of the text benchmark: which recipe each comes from, what is changed in it, and how it is made small."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.bundle import Bundle
from nearfar.bundle.bundle import MANIFEST
from nearfar.learn.run import train_run
from nearfar.progress import Stages
from nearfar.recipe import load_recipe
from nearfar.recipe.compress import Compress
from nearfar.road import Run
from tools import minilm
from tools.text_teacher import RememberingTeacher

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

MIDDLE = Compress.model_validate({"limit": 1.0, "steps": [{"kind": "rank", "rank": 320}, {"kind": "weights"}]})
"""How the query encoder is made of its run, and"""

SMALL = Compress.model_validate({"limit": 1.0, "steps": [{"kind": "weights", "format": "codebook"}]})
"""how the small one is."""

INT8 = Compress.model_validate({"limit": 1.0, "steps": [{"kind": "weights"}]})
"""How the transformer is made. Sizes are asked for here, so no step is left out for what it costs."""


@dataclass(frozen=True)
class Student:
    """How one student is trained.

    Attributes:
        recipe: file of the recipe.
        overrides: changes to it.
        quick: further ones where only shown that it runs.
    """

    recipe: Path
    overrides: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()


_NEVER = "train.validate_every=1000000"

STATIC = Student(RECIPES / "query-encoder.yaml", ("data.split.test=0.0",), ("train.epochs=2", _NEVER))
_FROM_TEACHER = f"encoder.model={json.dumps(str(minilm.model_folder()))}"
TRANSFORMER = Student(
    RECIPES / "small-transformer.yaml",
    ("data.split.test=0.0", _FROM_TEACHER, "train.max_steps=250", "train.precision=bf16-mixed"),
    ("train.max_steps=4", "train.batch_size=8", "frontend.max_document_tokens=32", _NEVER),
)
NO_TEACHER = Student(
    RECIPES / "unlabelled-folder.yaml",
    ("data.split.test=0.0",),
    (
        "train.epochs=1",
        "frontend.tokenizer.vocab_size=4000",
        "frontend.max_document_tokens=64",
        "encoder.dim=64",
        "method.matryoshka=[]",
        _NEVER,
    ),
)
LABELLED = Student(RECIPES / "tldr.yaml", NO_TEACHER.overrides, NO_TEACHER.quick)

_SENTENCES = ("data.split.test=0.0", "method.corpus=0.0", "method.embedding=1.0", "method.similarity=1.0")
STS_STATIC = Student(STATIC.recipe, _SENTENCES, STATIC.quick)
STS_TRANSFORMER = Student(TRANSFORMER.recipe, (*_SENTENCES, *TRANSFORMER.overrides), TRANSFORMER.quick)
"""Similarity of sentences: trained on sentences without their scores, as documents are."""


def of_table(table: Path, columns: Mapping[str, str]) -> str:
    """The override that trains on a table of documents."""
    source = {"kind": "jsonl", "path": str(table.absolute()), "columns": dict(columns)}
    return f"data.source={json.dumps(source)}"


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        run: it.
        seconds: that preparing and training took, but for what the teacher remembers; None where it was there already, or went on.
    """

    run: Run
    seconds: float | None


def trained(
    student: Student,
    source: str,
    directory: Path,
    stages: Stages,
    *,
    teacher: RememberingTeacher | None = None,
    quick: bool = False,
) -> Trained:
    """Train a student; a finished run of the same recipe is used again, and one that was broken off goes on.

    Args:
        student: how.
        source: the override that says on what.
        directory: of the run; one of another recipe is thrown away.
        stages: told what is being done.
        teacher: in place of the one that the recipe names.
        quick: with the student's quick settings.
    """
    taught = (f"teacher.model={json.dumps(str(teacher.bundle.path.absolute()))}",) if teacher else ()
    recipe = load_recipe(student.recipe, (source, *taught, *student.overrides, *(student.quick if quick else ())))
    kept = directory / "recipe.yaml"
    if kept.is_file() and load_recipe(kept) != recipe:
        shutil.rmtree(directory)
    begun = kept.is_file()
    started = time.perf_counter()
    train_run(recipe, directory, resume=begun, stages=stages, teacher=(lambda: teacher) if teacher else None)
    return Trained(Run.open(directory), None if begun else time.perf_counter() - started)


def exported(run: Run, stages: Stages, compress: Compress | None = None) -> Bundle:
    """The bundle of a run, with other steps of compression than the recipe's where they are given; made once."""
    settings: dict[str, Any] = {} if compress is None else compress.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    target = run.directory / f"bundle-{digest}"
    if (target / MANIFEST).is_file():
        return Bundle.open(target)
    return run.export(target, baselines=(), compress=compress, stages=stages)
