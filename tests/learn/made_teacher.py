"""A made teacher, and recipes that learn from it: texts that share words are near each other for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from made_corpus import made_words
from tiny_bundle import write_tiny_bundle

from nearfar.bundle import Bundle
from nearfar.edge.encoder import Encoder
from nearfar.learn.data.corpus import PairCorpus
from nearfar.learn.pairs import PreparedPairs
from nearfar.progress import silent
from nearfar.recipe import Recipe, parse_recipe

DIM = 32

COLUMNS = "data.pairings=[{kind: columns}]"
BOTH = "data.pairings=[{kind: columns}, {kind: spans}]"
STUDENT = "encoder={kind: static, dim: 32}"


def write_notes(path: Path, count: int = 120, *, seed: int = 0, words: int = 14) -> Path:
    """A JSONL of notes: `text` to draw spans from, `query` of two of its words, `positive` of one or two texts."""
    rng = np.random.default_rng(seed)
    known = made_words(200, seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            text = [*rng.choice(known, words), f"n{number}"]
            positives = [" ".join(text), *([" ".join(rng.permutation(text))] if number % 3 == 0 else [])]
            row = {
                "text": " ".join(text),
                "query": " ".join(rng.choice(text[:-1], 2)) + f" q{number}",
                "positive": positives,
            }
            file.write(json.dumps(row) + "\n")
    return path


def texts_of(path: Path) -> list[str]:
    """The texts of `write_notes`."""
    return [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]


def write_teacher(folder: Path, texts: Sequence[str], *, dim: int = DIM, seed: int = 0) -> Bundle:
    """A teacher who knows the words of some texts."""
    return write_tiny_bundle(folder, dim=dim, texts=texts, seed=seed, name="teacher")


def taught_recipe(data: Path, teacher: Path, *overrides: str) -> Recipe:
    """A query encoder in the space of a teacher, learned from spans."""
    text = f"""
name: taught
data:
  source: {{kind: jsonl, path: {data}}}
  pairings: [{{kind: spans, min_tokens: 3, max_tokens: 8}}]
  split: {{validation: 0.1, test: 0.1}}
teacher: {{model: {teacher}}}
frontend: {{tokenizer: {{kind: teacher}}}}
encoder: {{kind: static, dim: {DIM}, start: teacher}}
method: {{kind: distil}}
train: {{epochs: 4, batch_size: 16, learning_rate: 0.002, threads: 1, accelerator: cpu, early_stop: null}}
evaluate: {{bootstrap: 20}}
"""
    return parse_recipe(text, base=data.parent, overrides=overrides)


def opens(teacher: Path) -> Callable[[], Encoder]:
    """What a run asks for its teacher."""
    return lambda: Encoder.open(teacher)


def prepared(recipe: Recipe, folder: Path) -> PreparedPairs:
    """The data of a recipe, and what its teacher says of it."""
    assert recipe.teacher is not None
    (folder / "data").mkdir(parents=True, exist_ok=True)
    return PreparedPairs.prepare(recipe, folder, silent, opens(Path(recipe.teacher.model)))


def made_pair_corpus(positives: Sequence[Sequence[int]], spans: Sequence[int], documents: int) -> PairCorpus:
    """A corpus of numbers alone: query i, for training, has the documents `positives[i]`; spans are drawn from `spans`."""
    anything: Any = None
    nothing = np.zeros(0, np.int64)

    def starts(lists: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *map(len, lists)])

    return PairCorpus(
        texts=anything,
        query_texts=np.arange(len(positives)),
        document_texts=np.arange(documents),
        positives=np.array([number for own in positives for number in own], np.int64),
        positive_starts=starts(positives),
        negatives=nothing,
        negative_starts=np.zeros(len(positives) + 1, np.int64),
        side=np.zeros(len(positives), np.int8),
        component=np.arange(len(positives)),
        candidates=np.ones(documents, bool),
        span_documents=np.array(spans, np.int64),
        span_component=np.arange(len(spans)),
        counts=anything,
    )
