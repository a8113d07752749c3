"""What negatives are worth on the docstring demo: each way to get more, harder or cleaner ones against the plain run.

Every run trains recipes/docs-search.yaml on the docstrings of this environment with one thing changed (VARIANTS below), with
three seeds. A seed fixes the split, the vocabulary, the initial weights and the batches, so a variant is compared with the
plain run of its seed on the same test queries. nDCG@10 is that of the float model over all test queries and all documents;
how much int8 costs is measured in docsearch.py.

The settings are the recipe's defaults or those of the papers, with smaller queues: the static encoder of this recipe is so cheap
that a queue of 16,384 makes a step six times as long. Nothing was tuned, neither on test nor on validation.

Figures: `NAME_ndcg_at_10` mean over the seeds, from lowest to highest; `NAME_gain_pct` mean over the seeds of the gain over
the plain run of the same seed, with a 95 % interval from queries resampled within each seed; `NAME_seconds` of the
training, median over the seeds (one thread, two trainings side by side, so it is rough); `NAME_peak_mb` of a process that trains
30 steps, in which every source has begun.

The documents come from the running environment, so figures differ between environments; --data is not needed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import numpy as np
import numpy.typing as npt

from nearfar.cli.console import progress_lines
from nearfar.errors import DataError
from nearfar.evaluate import Interval, measure, rank_dense
from nearfar.learn.data.split import TEST
from nearfar.learn.heldout import retrieval_task
from nearfar.learn.run import open_run, prepare_run, train_run
from nearfar.progress import Stages
from nearfar.recipe import dump_recipe, load_recipe
from tools.docstrings import spool
from tools.results import Figures, arguments, figure, report
from tools.trainings import output_of, peak_bytes

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "docs-search.yaml"
RESAMPLES = 2_000

VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "queue": ("negatives.queue={size: 4096}",),
    "momentum_queue": ("negatives.queue={size: 4096, momentum: 0.99}",),
    "bank": ("negatives.bank={sample: 8192}",),
    "mined": ("negatives.mined={by: model}",),
    "mined_bm25": ("negatives.mined={by: bm25}",),
    "batch_4096": ("train.batch_size=4096", "train.chunk=1024", "train.max_steps=75", "train.validate_every=19"),
    "margin": ("negatives.margin=0.1",),
    "debias": ("negatives.debias=0.01",),
    "hardness": ("negatives.hardness=0.5",),
}
SHORT = 30
QUICK_VARIANTS = ("queue", "mined")
QUICK_FILES = 300
QUICK = (
    "train.epochs=1",
    "train.batch_size=256",
    "train.chunk=null",
    "train.validate_every=1000",
    "frontend.tokenizer.vocab_size=4000",
    "frontend.max_document_tokens=64",
)


@dataclass(frozen=True)
class Trained:
    """One run: nDCG@10 of each test query, and how long the training took."""

    per_query: npt.NDArray[np.float64]
    seconds: float


def main() -> int:
    """Train everything, print it, write it down."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="these variants; plain is always there")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=Path, help="train the prepared run there; for the children of this program")
    options = parser.parse_args()
    if options.train:
        return train_prepared(options.train)
    quick: bool = options.quick
    wanted = QUICK_VARIANTS if quick else options.only
    names = [name for name in VARIANTS if name == "plain" or name in wanted]
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary, progress_lines() as stages:
        work: Path = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        table = work / "docstrings.jsonl"
        source = spool(table, QUICK_FILES if quick else None, stages)
        overrides = [source, "train.threads=1", *(QUICK if quick else ())]
        runs = trainings(work, names, overrides, 1 if quick else options.seeds, stages)
        figures = figures_of(runs) | memory(work, names, overrides, stages)
    report(figures, options.json, quick=quick)
    return 0


def trainings(
    work: Path, names: list[str], overrides: list[str], seeds: int, stages: Stages
) -> dict[str, list[Trained]]:
    """Every variant with every seed: name -> one for each seed."""
    found: dict[str, list[Trained]] = {name: [] for name in names}
    tick = stages("training", len(names) * seeds)
    for seed in range(seeds):
        folders = {name: work / f"{name}-{seed}" for name in names}
        for name, folder in folders.items():
            prepare(folder, folders["plain"], [*overrides, f"seed={seed}", *VARIANTS[name]])

        def counted(folder: Path) -> Trained:
            result = trained(folder)
            tick(1)
            return result

        with ThreadPoolExecutor(2) as pool:
            for name, result in zip(names, pool.map(counted, folders.values()), strict=True):
                found[name].append(result)
    return found


def memory(work: Path, names: list[str], overrides: list[str], stages: Stages) -> Figures:
    """Peak memory of a short training with the first seed, in which every source has begun."""
    tick = stages("measuring memory", len(names))
    figures: Figures = {}
    for name in names:
        folder = work / f"{name}-memory"
        prepare(folder, work / "plain-0", [*overrides, "seed=0", *VARIANTS[name], f"train.max_steps={SHORT}"])
        figures[f"{name}_peak_mb"] = figure(train_in_a_process_of_its_own(folder), "MB")
        tick(1)
    return figures


def prepare(folder: Path, plain: Path, overrides: list[str]) -> None:
    """A run directory with its recipe and data, ready to be trained; the data is read once for each seed."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    recipe = load_recipe(RECIPE, overrides=overrides)
    if folder == plain:
        prepare_run(recipe, folder)
    else:
        for part in ("data", "frontend"):
            shutil.copytree(plain / part, folder / part)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), "utf-8")


def train_in_a_process_of_its_own(folder: Path) -> float:
    """Train what is prepared; peak memory of that process in MB."""
    return float(output_of(Path(__file__).resolve(), ["--train", str(folder)]))


def trained(folder: Path) -> Trained:
    """Train what is prepared, and measure the result on the test pairs."""
    train_in_a_process_of_its_own(folder)
    run = open_run(folder)
    everything = len(run.corpus.query_texts) + len(run.corpus.document_texts)
    task = retrieval_task(run.corpus, TEST, max_queries=everything, max_documents=everything, seed=run.recipe.seed)
    if task is None:
        raise DataError(f"{folder}: the run held out no test pairs, so there is nothing to measure")
    scores = measure(rank_dense(run.embedder(), task), task, resamples=1)
    seconds = json.loads((folder / "fit.json").read_text("utf-8"))["seconds"]
    return Trained(scores.per_query["ndcg_at_10"], seconds)


def train_prepared(folder: Path) -> int:
    """In a child: train, and print the peak memory of this process in MB."""
    train_run(load_recipe(folder / "recipe.yaml"), folder, resume=True)
    print(json.dumps(peak_bytes() / 1e6))
    return 0


def figures_of(runs: dict[str, list[Trained]]) -> Figures:
    """Quality, gain and cost of each variant."""
    figures: Figures = {}
    for name, found in runs.items():
        qualities = [float(run.per_query.mean()) for run in found]
        figures[f"{name}_ndcg_at_10"] = figure(Interval(mean(qualities), min(qualities), max(qualities)), "share")
        if name != "plain":
            figures[f"{name}_gain_pct"] = figure(gain(found, runs["plain"]), "%")
        figures[f"{name}_seconds"] = figure(median(run.seconds for run in found), "s")
    return figures


def gain(ours: list[Trained], plain: list[Trained]) -> Interval:
    """Percent of nDCG@10 above the plain run: mean over the seeds, queries resampled within each."""
    rng = np.random.default_rng(0)

    def drawn() -> float:
        ratios = []
        for mine, other in zip(ours, plain, strict=True):
            places = rng.integers(len(mine.per_query), size=len(mine.per_query))
            ratios.append(mine.per_query[places].mean() / other.per_query[places].mean())
        return float(np.mean(ratios))

    value = mean(float(m.per_query.mean() / p.per_query.mean()) for m, p in zip(ours, plain, strict=True))
    low, high = np.quantile([drawn() for _ in range(RESAMPLES)], [0.025, 0.975])
    return Interval(*((ratio - 1) * 100 for ratio in (value, float(low), float(high))))


if __name__ == "__main__":
    raise SystemExit(main())
