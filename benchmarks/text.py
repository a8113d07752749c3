"""Text retrieval on public collections: with labels (tldr pages), and without any (Cranfield, Vaswani).

tldr: the query is what a page says that its command does; the candidates are all pages without that. Alias pages are left
out. Trained on the pages of split `train`, how to join keywords and vectors learned on `valid`, measured on `test`. The
few test descriptions that are also the description of a training page are left out.

Cranfield and Vaswani: recipes/unlabelled-folder.yaml on the collection's own text and nothing else. All documents are
both what is trained on (but for a twentieth, from whose spans the fusion is learned) and the candidates.
Queries and judgements are read for the final measurement only.

The hyper-parameters in both recipes were chosen on tldr's split `valid` (for the recipe without labels: trained on the
pages' text alone, judged by those queries), never on test queries; nothing was tuned on Cranfield or Vaswani.
BM25 is Lucene's variant with English stemming and stop words, over the same text as the encoder gets.

Data: a folder with `tldr/docs_en.jsonl.gz` (rows with text, alias, split) and, in BEIR's layout, `cranfield/` and
`vaswani_npl/` (corpus.jsonl.gz, queries.jsonl.gz, qrels/test.tsv). A set that is missing is passed over.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearfar.cli.console import progress_lines
from nearfar.evaluate import RetrievalTask
from nearfar.learn.run import open_run
from nearfar.progress import Stages
from nearfar.road import learn_fusion, train
from tools.quality import as_figures, scores_of
from tools.results import Figures, arguments, figure, prefixed, report

RECIPES = Path(__file__).resolve().parents[1] / "recipes"

QUICK_SETS = ("tldr", "cranfield")
QUICK = (
    "train.epochs=1",
    "train.validate_every=1000000",
    "frontend.tokenizer.vocab_size=4000",
    "frontend.max_document_tokens=64",
    "encoder.dim=64",
    "method.matryoshka=[]",
)


@dataclass(frozen=True)
class Collection:
    """A data set, ready to train on and to measure.

    Attributes:
        recipe: file of the recipe.
        overrides: changes to it.
        test: what is measured.
        validation: what the fusion is learned from; None leaves that to the held-out pairs of the run.
    """

    recipe: Path
    overrides: tuple[str, ...]
    test: RetrievalTask
    validation: RetrievalTask | None = None


def main() -> int:
    """Measure every collection that is there."""
    options = arguments(__doc__ or "").parse_args()
    if options.data is None:
        print(
            "nothing to measure without data: give --data DIR, a folder with tldr/, cranfield/ or vaswani_npl/ (see --help)"
        )
        return 0
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary:
        work = options.work or Path(temporary)
        for name, (folder, read) in SETS.items():
            if options.quick and name not in QUICK_SETS:
                continue
            if not (options.data / folder).is_dir():
                print(f"{name}: passed over, there is no {options.data / folder}", file=sys.stderr)
                continue
            print(f"{name}", file=sys.stderr)
            place = work / name
            place.mkdir(parents=True)
            with progress_lines() as stages:
                collection = read(options.data / folder, place)
                measured = measure_collection(collection, place, stages, QUICK if options.quick else ())
            figures |= prefixed(f"{name}_", measured)
    if figures:
        report(figures, options.json, quick=options.quick)
    return 0


def measure_collection(collection: Collection, work: Path, stages: Stages, overrides: tuple[str, ...]) -> Figures:
    """Train, export, and measure against BM25."""
    started = time.perf_counter()
    run = train(collection.recipe, work / "run", overrides=(*collection.overrides, *overrides), stages=stages)
    seconds = time.perf_counter() - started
    bundle = run.export(work / "bundle", baselines=(), stages=stages)
    fusion = bundle.manifest.fusion
    if collection.validation is not None:
        fusion = learn_fusion(bundle, collection.validation, work / "fusion", stages)
    untrained = open_run(run.directory).untrained()
    rows = scores_of(bundle, collection.test, work / "index", fusion=fusion, untrained=untrained, stages=stages)
    return {
        **as_figures(rows),
        "train_seconds": figure(seconds, "s"),
        "bundle_mb": figure(bundle.size_bytes / 1e6, "MB"),
        "documents": figure(len(collection.test.documents)),
        "queries": figure(len(collection.test.queries)),
    }


# --- labelled --------------------------------------------------------------------------------------------------------


def read_tldr(folder: Path, work: Path) -> Collection:
    """Descriptions of commands and the pages without them."""
    pages = [row for row in rows_of(folder / "docs_en.jsonl.gz") if not row["alias"]]
    described = [description_and_rest(page["text"]) for page in pages]
    documents = [rest for _, rest in described]
    wanted: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for number, (page, (description, _)) in enumerate(zip(pages, described, strict=True)):
        if description:
            wanted[page["split"]][description][number] = 1.0

    def task(split: str) -> RetrievalTask:
        unseen = {query: pages for query, pages in wanted[split].items() if query not in wanted["train"]}
        return RetrievalTask(list(unseen), documents, list(unseen.values()))

    pairs = work / "pairs.jsonl"
    with pairs.open("w", encoding="utf-8") as file:
        for description, relevant in wanted["train"].items():
            for number in relevant:
                row = {"query": description, "positive": documents[number]}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    overrides = (f"data.source.path={json.dumps(str(pairs.absolute()))}", "data.split.test=0.0")
    return Collection(RECIPES / "tldr.yaml", overrides, task("test"), task("valid"))


def description_and_rest(page: str) -> tuple[str, str]:
    """What a page says its command does (its quoted lines, but for the link), and the page without it."""
    description: list[str] = []
    rest: list[str] = []
    for line in page.splitlines():
        quoted = line.startswith(">") and not line.startswith("> More information:")
        (description if quoted else rest).append(line)
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(rest)).strip()
    return " ".join(line[1:].strip() for line in description), text


# --- unlabelled ------------------------------------------------------------------------------------------------------


def read_beir(folder: Path, work: Path) -> Collection:
    """A collection whose text alone is trained on; its queries are only measured."""
    documents: list[str] = []
    places: dict[str, int] = {}
    table = work / "documents.jsonl"
    with table.open("w", encoding="utf-8") as file:
        for row in rows_of(folder / "corpus.jsonl.gz"):
            # Cranfield's texts begin with their title; said once is enough, and a title must not find itself.
            title, text = row["title"].strip(), row["text"].strip()
            body = text.removeprefix(title).strip()
            places[row["_id"]] = len(documents)
            documents.append(f"{title}\n{body}" if title else body)
            if body:
                file.write(json.dumps({"id": row["_id"], "title": title, "text": body}, ensure_ascii=False) + "\n")
    queries = {row["_id"]: row["text"] for row in rows_of(folder / "queries.jsonl.gz")}
    judged: dict[str, dict[int, float]] = defaultdict(dict)
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, gain = line.split("\t")
        judged[query][places[document]] = float(gain)
    task = RetrievalTask([queries[query] for query in judged], documents, list(judged.values()))
    source = {"kind": "jsonl", "path": str(table.absolute()), "columns": {"title": "title", "id": "id"}}
    overrides = (f"data.source={json.dumps(source)}", "data.split.test=0.0")
    return Collection(RECIPES / "unlabelled-folder.yaml", overrides, task)


def rows_of(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a compressed JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


SETS: dict[str, tuple[str, Callable[[Path, Path], Collection]]] = {
    "tldr": ("tldr", read_tldr),
    "cranfield": ("cranfield", read_beir),
    "vaswani": ("vaswani_npl", read_beir),
}

if __name__ == "__main__":
    raise SystemExit(main())
