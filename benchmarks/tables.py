"""Rows of a table with few labels: recipes/table.yaml on the adult set, beside models on the columns themselves.

The encoder learns from all training rows without their labels. Then 1 % of the training rows are labelled, drawn 20 times, and each
system is fitted on these and scores the test part (the set's own):
  nearfar        logistic regression on the vectors of the int8 bundle, through the runtime of the device
  untrained      the same on the vectors of the encoder before training
  columns        the same on what the frontend makes of a row: scaled numbers and one-hot categories
  logistic       logistic regression on standardised numbers and one-hot categories
  gbdt           scikit-learn's HistGradientBoostingClassifier, with settings chosen on the validation part
  gbdt_defaults  with its defaults
Every logistic regression chooses its penalty by cross-validated AUC on the labelled rows that it has.

Keys: adult_auc_1pct_<system>, the mean over the draws; <a>_minus_<b>, paired; adult_auc_all_<system>, all training labels. Intervals
are over test rows and draws. adult_knn_accuracy_<system>: the 10 nearest training rows vote on a test row (2,000 of these).
adult_similar_income_<system>: share of the 10 nearest with its income. adult_similar_occupation_<system>: share with its
occupation, for an encoder trained without that column; `chance` is that of random rows. rows_per_second and row_ms are from
cells to vector on one thread; training_seconds without reading and exporting.

The settings of the recipe and of gbdt were chosen on 5,000 training rows, without a look at the test part; `--on validation` holds the
same rows out and measures on them. With --work, what was trained is kept and taken again.

    python benchmarks/tables.py --data DIR --json OUT [--on validation] [--set encoder.dim=64 ...]

Data: a folder with `adult/adult.parquet`. Without it, and with --quick, rows are invented: that shows that everything runs.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nearfar import road
from nearfar.cli.console import progress_lines
from nearfar.edge.encoder import Encoder
from nearfar.embedder import Embedder
from nearfar.evaluate import mean_interval
from nearfar.evaluate.columns import ColumnEmbedder
from nearfar.evaluate.knn import knn_correct
from nearfar.frontend.table import TableFrontend
from nearfar.index.exact import exact_search
from nearfar.progress import Stages
from nearfar.road.run import training_wing
from tools.adult import CATEGORIES, NUMBERS, People, coded_matrix, made_people, raw_matrix, read_adult
from tools.auc import auc_intervals
from tools.results import Figures, arguments, figure, report

RECIPE = Path(__file__).parent.parent / "recipes" / "table.yaml"
DRAWS, SHARE, VALIDATION, ASKED = 20, 0.01, 5_000, 2_000
MANY = 5_000  # labelled rows, from which two folds are enough to choose a penalty by
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
GBDT = {"min_samples_leaf": 5, "max_iter": 50, "max_leaf_nodes": 8}

Matrix = npt.NDArray[Any]
Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def main() -> int:
    """Train, embed, fit what is compared, and say all figures."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--on", choices=("test", "validation"), default="test", help="what to measure on")
    parser.add_argument("--set", action="append", default=[], help="change a key of the recipe")
    parser.add_argument("--draws", type=int, default=DRAWS, help="how often labels are drawn")
    options = parser.parse_args()
    path = options.data / "adult" / "adult.parquet" if options.data else None
    quick: bool = options.quick or path is None or not path.is_file()
    if quick:
        train, test = made_people(800, 0), made_people(200, 1)
    else:
        assert path is not None
        train, test = read_adult(path)
        if options.on == "validation":
            order = np.random.default_rng(0).permutation(len(train))
            train, test = train.some(order[VALIDATION:]), train.some(order[:VALIDATION])
    draws = 2 if quick else options.draws
    overrides = [*options.set, *(["train.epochs=1", "train.batch_size=64"] if quick else [])]
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary, progress_lines() as stages:
        work = options.work or Path(temporary)
        figures = few_labels(train, test, work / "whole", overrides, draws, stages, share=0.1 if quick else SHARE)
        figures |= similar_occupations(train, test, work / "without-occupation", overrides, stages)
    report(figures, options.json, quick=quick)
    return 0


def few_labels(
    train: People, test: People, folder: Path, overrides: Sequence[str], draws: int, stages: Stages, *, share: float
) -> Figures:
    """AUC with few labels and with all, neighbours, speed and size."""
    bundle = trained_bundle(train, folder, overrides, stages)
    seconds = json.loads((folder / "run" / "fit.json").read_text(encoding="utf-8"))["seconds"]
    stages("embedding")
    encoder = Encoder.open(bundle)
    frontend = encoder.frontend
    assert isinstance(frontend, TableFrontend)
    columns = ColumnEmbedder(frontend.encode, frontend.widths)
    untrained = training_wing().run.open_run(folder / "run").untrained()
    began = time.perf_counter()
    vectors = encoder.embed(test.cells)
    rate = len(test) / (time.perf_counter() - began)
    embedded = encoder.embed(train.cells), vectors
    features: dict[str, tuple[Matrix, Matrix]] = {
        "nearfar": embedded,
        "untrained": (untrained.embed(train.cells), untrained.embed(test.cells)),
        "columns": (columns.plain(*frontend.encode(train.cells)), columns.plain(*frontend.encode(test.cells))),
        "logistic": raw_matrix(train, test),
        "gbdt": coded_matrix(train, test),
    }
    tick = stages("few labels", draws)
    scores: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in (*features, "gbdt_defaults")}
    for draw in range(draws):
        few = np.random.default_rng(draw).permutation(len(train))[: round(share * len(train))]
        for name, (known, asked) in features.items():
            if name == "gbdt":
                scores[name].append(boosted(known[few], train.labels[few], asked, **GBDT))
                scores["gbdt_defaults"].append(boosted(known[few], train.labels[few], asked))
            else:
                scores[name].append(regressed(known[few], train.labels[few], asked))
        tick(1)
    stages("all labels")
    whole = {
        name: [(boosted if name == "gbdt" else regressed)(known, train.labels, asked)]
        for name, (known, asked) in features.items()
        if name in ("nearfar", "logistic", "gbdt")
    }
    stages("intervals")
    pairs = [("nearfar", name) for name in ("gbdt", "logistic", "columns", "untrained")]
    aucs = auc_intervals(test.labels, scores, pairs)
    figures = {f"adult_auc_1pct_{name}": figure(interval) for name, interval in aucs.items()}
    figures |= {
        f"adult_auc_all_{name}": figure(one) for name, one in auc_intervals(test.labels, whole, resamples=200).items()
    }
    asked = np.sort(np.random.default_rng(0).permutation(len(test))[:ASKED])
    neighbours = {"nearfar": embedded, "columns": (columns.embed(train.cells), columns.embed(test.cells))}
    for name, (known, others) in neighbours.items():
        right = knn_correct(known, train.labels, others[asked], test.labels[asked], classes=2, k=10)
        figures[f"adult_knn_accuracy_{name}"] = figure(mean_interval(right))
        shared = same_among_nearest(known, train.labels, others[asked], test.labels[asked])
        figures[f"adult_similar_income_{name}"] = figure(mean_interval(shared))
    figures["rows_per_second"] = figure(rate, "rows/s")
    figures["row_ms"] = figure(one_row(encoder, test), "ms")
    figures["bundle_mb"] = figure(encoder.bundle.size_bytes / 1e6, "MB")
    figures["training_seconds"] = figure(seconds, "s")
    return figures


def similar_occupations(train: People, test: People, folder: Path, overrides: Sequence[str], stages: Stages) -> Figures:
    """Whether similar rows share what the encoder was never shown."""
    column = "occupation"
    bundle = trained_bundle(train, folder, [*overrides, f"data.source.columns.ignore=[{column}]"], stages)
    stages("embedding")
    encoder = Encoder.open(bundle)
    frontend = encoder.frontend
    assert isinstance(frontend, TableFrontend)
    columns = ColumnEmbedder(frontend.encode, frontend.widths)
    names = np.unique(train.category(column), return_inverse=True)
    places = {name: number for number, name in enumerate(names[0].tolist())}
    theirs = np.array([places.get(name, -1) for name in test.category(column).tolist()], np.int64)
    asked = np.flatnonzero((theirs >= 0) & (test.category(column) != "?"))
    asked = np.sort(np.random.default_rng(0).permutation(asked)[:ASKED])
    few = [test.cells[place] for place in asked]
    figures: Figures = {}
    embedders: dict[str, Embedder] = {"nearfar": encoder, "columns": columns}
    for name, embedder in embedders.items():
        shared = same_among_nearest(embedder.embed(train.cells), names[1], embedder.embed(few), theirs[asked])
        figures[f"adult_similar_{column}_{name}"] = figure(mean_interval(shared))
    shares = np.bincount(names[1]) / len(train)
    figures[f"adult_similar_{column}_chance"] = figure(float(shares[theirs[asked]].mean()))
    return figures


def trained_bundle(train: People, folder: Path, overrides: Sequence[str], stages: Stages) -> Path:
    """The bundle of the recipe, trained on rows without their labels; what lies there already is taken."""
    target = folder / "run" / "bundle"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, (*NUMBERS, *CATEGORIES))
        writer.writeheader()
        writer.writerows(train.cells)
    own = [f"data.source.path={folder / 'rows.csv'}", "data.split.validation=0.0", "data.split.test=0.0"]
    run = road.train(RECIPE, folder / "run", overrides=[*own, *overrides], stages=stages)
    return run.export(stages=stages).path


def regressed(known: Matrix, labels: Ints, asked: Matrix) -> npt.NDArray[np.float64]:
    """Scores by logistic regression; centre and one scale for all components are those of the rows that it is fitted on."""
    from sklearn.linear_model import LogisticRegressionCV

    centre = known.mean(axis=0)
    scale = 1 / np.sqrt(known.var(axis=0).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folds = 5 if len(known) < MANY else 2
        model = LogisticRegressionCV(Cs=list(PENALTIES), cv=folds, scoring="roc_auc", max_iter=500)
        model.fit((known - centre) * scale, labels)
    return np.asarray(model.decision_function((asked - centre) * scale), np.float64)


def boosted(known: Matrix, labels: Ints, asked: Matrix, **settings: Any) -> npt.NDArray[np.float64]:
    """Scores by gradient boosting, which knows which columns are categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    categories = list(range(len(NUMBERS), known.shape[1]))
    model = HistGradientBoostingClassifier(categorical_features=categories, random_state=0, **settings)
    return np.asarray(model.fit(known, labels).decision_function(asked), np.float64)


def same_among_nearest(known: Vectors, labels: Ints, asked: Vectors, own: Ints, k: int = 10) -> npt.NDArray[np.float64]:
    """For each row the share of its k nearest that have its label."""
    _, ids = exact_search(asked, known, k)
    return np.asarray((labels[ids] == own[:, None]).mean(axis=1))


def one_row(encoder: Encoder, rows: People) -> float:
    """Median milliseconds from the cells of one row to its vector."""
    taken = []
    for cells in rows.cells[:300]:
        began = time.perf_counter()
        encoder.embed([cells])
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[20:]) * 1000)


if __name__ == "__main__":
    sys.exit(main())
