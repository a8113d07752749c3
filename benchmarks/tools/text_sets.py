"""The text collections: documents to search and to train on, and judged queries that nothing is trained on."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.evaluate import RetrievalTask

TABLE = "documents.jsonl"


@dataclass(frozen=True)
class Collection:
    """A collection whose own text is trained on; its queries are only measured.

    Attributes:
        test: queries, all documents, and which belong together.
        ids: name of each document.
        titles: title of each document; empty where it has none.
        bodies: the rest of each.
    """

    test: RetrievalTask
    ids: Sequence[str]
    titles: Sequence[str]
    bodies: Sequence[str]

    @classmethod
    def of(
        cls, rows: Iterable[tuple[str, str, str]], queries: Sequence[str], judged: Sequence[Mapping[str, float]]
    ) -> Collection:
        """A collection of documents (id, title, body), and for each query the gains of documents by their ids."""
        ids, titles, bodies = (list(column) for column in zip(*rows, strict=True))
        places = {name: place for place, name in enumerate(ids)}
        documents = [f"{title}\n{body}" if title else body for title, body in zip(titles, bodies, strict=True)]
        qrels = [{places[name]: gain for name, gain in gains.items()} for gains in judged]
        return cls(RetrievalTask(list(queries), documents, qrels), ids, titles, bodies)

    def write(self, path: Path, *, without: frozenset[int] = frozenset()) -> Path:
        """The table that is trained on: all documents but those `without`, and those that are a title alone."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            for place, (name, title, body) in enumerate(zip(self.ids, self.titles, self.bodies, strict=True)):
                if body and place not in without:
                    file.write(json.dumps({"id": name, "title": title, "text": body}, ensure_ascii=False) + "\n")
        return path

    def first(self, count: int) -> Collection:
        """The first so many documents, and the queries that still have a relevant one."""
        judged = [{place: gain for place, gain in gains.items() if place < count} for gains in self.test.qrels]
        kept = [number for number, gains in enumerate(judged) if any(gain > 0 for gain in gains.values())]
        queries, documents = [self.test.queries[number] for number in kept], self.test.documents[:count]
        task = RetrievalTask(queries, documents, [judged[number] for number in kept])
        return Collection(task, self.ids[:count], self.titles[:count], self.bodies[:count])


@dataclass(frozen=True)
class Labelled:
    """A collection with pairs to learn from.

    Attributes:
        pairs: table of the training queries and their documents.
        test: what is measured.
        validation: what the fusion is learned from.
    """

    pairs: Path
    test: RetrievalTask
    validation: RetrievalTask


@dataclass(frozen=True)
class _Page:
    description: str
    rest: str
    split: str


def read_tldr(folder: Path, work: Path) -> Labelled:
    """Descriptions of commands and the pages without them; the pairs of split `train` are written to `work`."""
    pages = list(_pages(folder))
    documents = [page.rest for page in pages]

    def task(split: str) -> RetrievalTask:
        asked = _asked(pages, split)
        return RetrievalTask(list(asked), documents, [dict.fromkeys(places, 1.0) for places in asked.values()])

    pairs = work / "pairs.jsonl"
    with pairs.open("w", encoding="utf-8") as file:
        for description, places in _described(pages, "train").items():
            for place in places:
                row = {"query": description, "positive": documents[place]}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return Labelled(pairs, task("test"), task("valid"))


def read_pages(folder: Path) -> Collection:
    """The same queries of split `test` and the same pages, without a label: no description is in what is trained on."""
    pages = list(_pages(folder))
    rows = []
    for place, page in enumerate(pages):
        title, _, body = page.rest.partition("\n")
        rows.append((str(place), title.removeprefix("#").strip(), body.strip()))
    asked = _asked(pages, "test")
    return Collection.of(rows, list(asked), [{str(place): 1.0 for place in places} for places in asked.values()])


def read_beir(folder: Path) -> Collection:
    """A collection in the layout of BEIR."""
    rows = []
    for row in rows_of(folder / "corpus.jsonl.gz"):
        # Cranfield's texts begin with their title; said once is enough, and a title must not find itself.
        title, text = row["title"].strip(), row["text"].strip()
        rows.append((row["_id"], title, text.removeprefix(title).strip()))
    queries = {row["_id"]: row["text"] for row in rows_of(folder / "queries.jsonl.gz")}
    judged: dict[str, dict[str, float]] = defaultdict(dict)
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, gain = line.split("\t")
        judged[query][document] = float(gain)
    return Collection.of(rows, [queries[query] for query in judged], list(judged.values()))


def description_and_rest(page: str) -> tuple[str, str]:
    """What a page says its command does (its quoted lines, but for the link), and the page without it."""
    description: list[str] = []
    rest: list[str] = []
    for line in page.splitlines():
        quoted = line.startswith(">") and not line.startswith("> More information:")
        (description if quoted else rest).append(line)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(rest)).strip()
    return " ".join(line[1:].strip() for line in description), text


def rows_of(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a compressed JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _pages(folder: Path) -> Iterator[_Page]:
    for row in rows_of(folder / "docs_en.jsonl.gz"):
        if not row["alias"]:
            description, rest = description_and_rest(row["text"])
            yield _Page(description, rest, row["split"])


def _described(pages: Sequence[_Page], split: str) -> dict[str, list[int]]:
    """Description -> places of the pages of a split that have it."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, page in enumerate(pages):
        if page.description and page.split == split:
            found[page.description].append(place)
    return found


def _asked(pages: Sequence[_Page], split: str) -> dict[str, list[int]]:
    """The same, but for the few descriptions that a page of split `train` has too."""
    trained = _described(pages, "train")
    return {query: places for query, places in _described(pages, split).items() if query not in trained}


SETS: dict[str, tuple[str, Callable[[Path], Collection]]] = {
    "tldr": ("tldr", read_pages),
    "cranfield": ("cranfield", read_beir),
    "vaswani": ("vaswani_npl", read_beir),
}
"""Name -> folder in the data, and what reads it."""
