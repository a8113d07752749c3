"""Learning to see: every method on CIFAR-10 and MNIST with a small network, views a second, lightly beside us, cells.

- Methods: recipes/cifar10.yaml with one method after the other (all settings are the defaults of the method; clip and siglip learn
  from captions that name the label, sup_con from the label) trains the same small CNN from the same seed over the same batches.
  `knn_METHOD` (10 nearest of all training pictures, cosine, plain vote) and `probe_METHOD` (a linear classifier on all training
  labels) are measured once, at the end, on the 10,000 test pictures, with 95 % bootstrap intervals; `knn_pixels` is that of the
  pixels themselves, `knn_random` of the same encoder untrained. `images_per_core_second_METHOD` is by processor time (one thread,
  validation while training included), `peak_mb_METHOD` of the whole process. The same with `mnist_` before the key.
- `knn_shipped`: the int8 bundle of the SimCLR run through the device's runtime; `shipped_mb` its size on disk.
- Views: `views_per_second_core`, 32 x 32 RGB with crop, flip, jitter, grey and blur; `views_vs_torchvision` the ratio to the
  transform that lightly's SimCLR uses, both on one thread by processor time.
- lightly: SimCLR with its own transform, loader, head and loss, on the same pictures, seed and epochs, in turns in one run:
  `speed_vs_lightly` is the ratio of pictures a second.
- Cells: what a map of features knows of blood cells that it was never told of; see tools/cells.py.

lightly and torchvision are installed without what they depend on (see the Makefile); without them those figures are left out.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearfar.cli.console import progress_lines
from nearfar.evaluate import mean_interval, ratio_interval
from nearfar.evaluate.knn import knn_correct
from nearfar.evaluate.labelled import embedded_units
from nearfar.evaluate.pixels import PixelEmbedder
from nearfar.evaluate.probe import linear_probe
from nearfar.learn.data.picture_rows import stored
from nearfar.learn.data.pictures import PictureCorpus
from nearfar.learn.data.split import TEST, TRAIN
from nearfar.learn.pictures import PreparedPictures, TrainedPictures, build_method
from nearfar.learn.run import open_run, prepare_run, train_run
from nearfar.learn.trainer.pictures import embed_stored
from nearfar.learn.views import plain, views_per_second_core
from nearfar.progress import Stages
from nearfar.recipe import Recipe, dump_recipe, load_recipe
from nearfar.recipe.views import Blur, Views
from tools.captions import train_on_captions
from tools.cells import measure_cells
from tools.results import Figures, arguments, figure, prefixed, report
from tools.trainings import output_of, peak_bytes

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "cifar10.yaml"
METHODS = (
    "simclr",
    "moco_v2",
    "moco_v3",
    "byol",
    "swav",
    "simsiam",
    "barlow_twins",
    "vicreg",
    "nnclr",
    "densecl",
    "instance_discrimination",
    "sup_con",
)
CAPTIONED = ("clip", "siglip")
OF_METHOD = {"swav": ("views.local={count: 4, size: 16}",)}
# Left and right differ in digits, and colour there is none.
OF_DATA: dict[str, tuple[str, ...]] = {
    "cifar10": ("data.source.columns.label_name=label_name",),
    "mnist": ("frontend.size=28", "frontend.channels=1", "views.flip=0.0", "views.crop.scale=[0.4, 1.0]", "views.rotation=15.0"),
}  # fmt: skip
PARTS = ("views", "methods", "lightly", "cells")
RESAMPLES = 2_000
RESNET: dict[str, Any] = {"kind": "resnet", "depth": 18, "stem": "small"}
LIGHTLY_PICTURES, LIGHTLY_EPOCHS = 5_120, 3
QUICK_METHODS = ("swav", "clip")


def main() -> int:
    """Measure everything, print it, write it down."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts; the others stay in --json as they are")  # fmt: skip
    parser.add_argument(
        "--methods", nargs="+", choices=(*METHODS, *CAPTIONED), default=[*METHODS, *CAPTIONED], help="likewise"
    )
    parser.add_argument("--epochs", type=float, default=10.0, help="passes over CIFAR-10; over MNIST a quarter of it")
    parser.add_argument("--train", nargs=2, metavar=("FOLDER", "METHOD"), help="train what is prepared; for the children of this program")  # fmt: skip
    options = parser.parse_args()
    if options.train:
        return train_prepared(Path(options.train[0]), options.train[1])
    if options.data is None:
        if not options.quick:
            parser.error("--data names the folder with cifar10/, mnist/ and bccd/")
        print("no --data: nothing to measure on")
        return 0
    quick: bool = options.quick
    before: Figures = {}
    in_part = set(options.only) != set(PARTS) or set(options.methods) != {*METHODS, *CAPTIONED}
    if options.json and options.json.exists() and in_part:
        before = json.loads(options.json.read_text("utf-8"))["figures"]
    with tempfile.TemporaryDirectory(prefix="nearfar-") as temporary, progress_lines() as stages:
        work: Path = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        figures: Figures = {}
        data: Path = options.data
        if quick:
            subset(data / "cifar10", work / "few" / "cifar10", 512, 256)
        few = work / "few" if quick else data
        if "views" in options.only:
            figures |= views(few, stages, quick=quick)
        if "methods" in options.only:
            names = [name for name in options.methods if not quick or name in QUICK_METHODS]
            for name, share in (("cifar10", 1.0),) if quick else (("cifar10", 1.0), ("mnist", 0.25)):
                epochs = 1.0 if quick else share * options.epochs
                found = methods(few, work / name, name, names, epochs, stages)
                figures |= found if name == "cifar10" else prefixed("mnist_", found)
        if "lightly" in options.only:
            figures |= lightly(few, work / "lightly", stages, quick=quick)
        if "cells" in options.only:
            figures |= measure_cells(data, work / "cells", seeds=1 if quick else 3, quick=quick)
    report({**before, **figures}, options.json, quick=quick)
    return 0


# --- methods ---------------------------------------------------------------------------------------------------------


def methods(data: Path, work: Path, name: str, names: Sequence[str], epochs: float, stages: Stages) -> Figures:
    """Every method with the same network, seed and batches, two trainings at a time."""
    overrides = [
        f"data.source.path={json.dumps(str(data / name))}",
        f"train.epochs={epochs}",
        "train.threads=1",
        *OF_DATA[name],
    ]
    prepared = work / "prepared"
    recipe = load_recipe(RECIPE, overrides=overrides)
    if not (prepared / "data" / "pictures.json").exists():
        prepared.mkdir(parents=True, exist_ok=True)
        prepare_run(recipe, prepared, stages)
    corpus = PictureCorpus.open(prepared / "data")
    figures = baselines(recipe, corpus, stages)
    tick = stages(f"training on {name}", len(names))

    def trained(method: str) -> Figures:
        folder = work / method
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        own = [] if method in CAPTIONED else [f"method.kind={method}", *OF_METHOD.get(method, ())]
        (folder / "recipe.yaml").write_text(dump_recipe(load_recipe(RECIPE, overrides=[*overrides, *own])), "utf-8")
        (folder / "data").symlink_to(prepared / "data")
        found: Figures = json.loads(output_of(Path(__file__).resolve(), ["--train", str(folder), method]))
        tick(1, method)
        return found

    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(trained, names):
            figures |= found
    figures["epochs"] = figure(epochs)
    if name == "cifar10" and "simclr" in names:
        figures |= shipped(work / "simclr", stages)
    return figures


def baselines(recipe: Recipe, corpus: PictureCorpus, stages: Stages) -> Figures:
    """The pixels themselves, and the encoder before training."""
    tick = stages("baselines", 2)
    frontend = recipe.of_images.frontend
    pixels = PixelEmbedder(lambda numbers: _plain(corpus, np.asarray(numbers), frontend.size), frontend.channels * frontend.size**2)  # fmt: skip
    figures = quality("pixels", corpus, *(embedded_units(pixels, numbers) for numbers in _sides(corpus)))
    tick(1)
    # As every run begins: the encoder is the first thing that is made from the seed.
    encoder = TrainedPictures(Path(), recipe, PreparedPictures(corpus)).untrained().encoder
    return figures | _of_encoder("random", encoder, corpus, frontend.size)


def _plain(corpus: PictureCorpus, numbers: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    return plain(stored(corpus, numbers), corpus.aspects[numbers], size).numpy()


def _sides(corpus: PictureCorpus) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return corpus.numbers_of(TRAIN), corpus.numbers_of(TEST)


def _of_encoder(name: str, encoder: Any, corpus: PictureCorpus, size: int) -> Figures:
    vectors = [embed_stored(encoder, corpus, numbers, size) for numbers in _sides(corpus)]
    return quality(name, corpus, vectors[0], vectors[1])


def quality(name: str, corpus: PictureCorpus, bank: Any, queries: Any) -> Figures:
    """KNN and linear probe of embedded training and test pictures."""
    train, test = (corpus.labels[numbers] for numbers in _sides(corpus))
    classes = len(corpus.counts.classes)
    knn = knn_correct(bank, train, queries, test, classes=classes, k=10)
    probe = linear_probe(bank, train, queries, test).correct
    return {
        f"knn_{name}": figure(mean_interval(knn, resamples=RESAMPLES), "share"),
        f"probe_{name}": figure(mean_interval(probe, resamples=RESAMPLES), "share"),
    }


def train_prepared(folder: Path, method: str) -> int:
    """In a child: train, measure, and print figures as JSON."""
    recipe = load_recipe(folder / "recipe.yaml")
    corpus = PictureCorpus.open(folder / "data")
    torch.set_num_threads(1)
    started = time.process_time()
    if method in CAPTIONED:
        encoder, steps = train_on_captions(method, recipe, corpus)
    else:
        trained = train_run(recipe, folder, resume=True)
        assert isinstance(trained, TrainedPictures)
        encoder, steps = trained.method().encoder, json.loads((folder / "fit.json").read_text("utf-8"))["steps"]
    seconds, peak = time.process_time() - started, peak_bytes()
    figures = _of_encoder(method, encoder, corpus, recipe.of_images.frontend.size)
    figures[f"images_per_core_second_{method}"] = figure(steps * recipe.train.batch_size / seconds, "images/s")
    figures[f"peak_mb_{method}"] = figure(peak / 1e6, "MB")
    figures[f"core_seconds_{method}"] = figure(seconds, "s")
    print(json.dumps(figures))
    return 0


def shipped(folder: Path, stages: Stages) -> Figures:
    """The bundle of the SimCLR run: files in, vectors out, as on a device."""
    from nearfar.edge import Encoder
    from nearfar.road import Run

    run = Run.open(folder)
    bundle = run.export(baselines=())
    encoder = Encoder.open(bundle)
    trained = open_run(folder)
    assert isinstance(trained, TrainedPictures)
    corpus = trained.corpus
    picture = [np.ascontiguousarray(corpus.pixels[0].transpose(1, 2, 0))]
    taken = sorted(_timed(lambda: encoder.embed(picture)) for _ in range(300))
    metrics = bundle.manifest.metrics["bundle"]
    return {
        "knn_shipped": figure(metrics["knn_accuracy"].value, "share"),
        "knn_float": figure(bundle.manifest.metrics["model"]["knn_accuracy"].value, "share"),
        "shipped_mb": figure(bundle.size_bytes / 1e6, "MB"),
        "shipped_ms": figure(1e3 * taken[len(taken) // 2], "ms"),
    }


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


# --- views and lightly -----------------------------------------------------------------------------------------------


def some_pictures(data: Path, count: int) -> torch.Tensor:
    """Pictures of CIFAR-10 as they are stored, (n, 3, 32, 32) uint8."""
    recipe = load_recipe(RECIPE, overrides=[f"data.source.path={json.dumps(str(data / 'cifar10'))}"])
    from nearfar.learn.data.pictures import first_pictures

    return first_pictures(recipe.data, recipe.of_images.frontend, count)[0]


def views(data: Path, stages: Stages, *, quick: bool) -> Figures:
    """Views a second of one core, in turns with torchvision's."""
    tick = stages("views", 3)
    pixels = some_pictures(data, 512)
    settings = Views(blur=Blur())
    seconds = 0.3 if quick else 3.0
    ours: list[float] = []
    theirs: list[float] = []
    peer = _lightly()
    for _ in range(1 if quick else 3):
        ours.append(views_per_second_core(settings, pixels, size=32, seconds=seconds))
        if peer is not None:
            theirs.append(peer.views_per_second_core(pixels.permute(0, 2, 3, 1).contiguous().numpy(), seconds=seconds))
        tick(1)
    figures = {"views_per_second_core": figure(float(np.median(ours)), "views/s")}
    if theirs:
        ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
        figures["torchvision_views_per_second_core"] = figure(float(np.median(theirs)), "views/s")
        figures["views_vs_torchvision"] = figure(float(np.median(ratios)), "times")
    return figures


def _lightly() -> Any:
    """The module that trains with lightly, or None where lightly is not installed."""
    from tools import lightly_simclr

    return lightly_simclr if lightly_simclr.is_installed() else None


def lightly(data: Path, work: Path, stages: Stages, *, quick: bool) -> Figures:
    """SimCLR with lightly and with nearfar: the same pictures, network, head, views, optimiser, seed, batch and epochs.

    What differs: views are made in batches instead of one by one, and convolutions run in bfloat16 (`train.precision`).
    """
    peer = _lightly()
    if peer is None:
        return {}
    few = 256 if quick else LIGHTLY_PICTURES
    subset(data / "cifar10", work / "pictures", few, few if quick else None)
    networks: dict[str, dict[str, Any]] = {"resnet": RESNET, "cnn": {"kind": "cnn"}}
    if quick:
        del networks["resnet"]
    recipe = _as_lightly(work, networks["cnn"], quick=quick)
    prepared = work / "prepared"
    prepared.mkdir(parents=True, exist_ok=True)
    prepare_run(recipe, prepared, stages)
    corpus = PictureCorpus.open(prepared / "data")
    train, test = _sides(corpus)
    pictures = np.ascontiguousarray(corpus.pixels[train].transpose(0, 2, 3, 1))
    figures: Figures = {}
    for name, encoder in networks.items():
        recipe = _as_lightly(work, encoder, quick=quick)
        epochs = round(recipe.train.epochs)
        batch, rate = recipe.train.batch_size, recipe.train.learning_rate
        tick = stages(f"lightly and nearfar: {name}", 2)
        own = build_method(recipe, corpus).encoder if name == "cnn" else None
        options = {"backbone": own, "dim": own.dim} if own is not None else {}
        theirs = peer.train(pictures, seed=0, epochs=epochs, batch_size=batch, learning_rate=rate, **options)
        tick(1)
        folder = work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "recipe.yaml").write_text(dump_recipe(recipe), "utf-8")
        (folder / "data").symlink_to(prepared / "data")
        run = train_run(recipe, folder, resume=True)
        fit = json.loads((folder / "fit.json").read_text("utf-8"))
        tick(1)
        assert isinstance(run, TrainedPictures)
        ours = fit["steps"] * batch / fit["seconds"]
        size = recipe.of_images.frontend.size
        mine = [embed_stored(run.method().encoder, corpus, numbers, size) for numbers in (train, test)]
        other = [theirs.encode(np.ascontiguousarray(corpus.pixels[n].transpose(0, 2, 3, 1))) for n in (train, test)]
        labels, classes = corpus.labels, len(corpus.counts.classes)
        correct = {
            who: knn_correct(*pair, labels[test], classes=classes, k=10)
            for who, pair in {
                "nearfar": (mine[0], labels[train], mine[1]),
                "lightly": (other[0], labels[train], other[1]),
            }.items()
        }
        suffix = "" if name == "resnet" else f"_{name}"
        figures |= {
            f"images_per_second{suffix}": figure(ours, "images/s"),
            f"lightly_images_per_second{suffix}": figure(theirs.images_per_second, "images/s"),
            f"speed_vs_lightly{suffix}": figure(ours / theirs.images_per_second, "times"),
            f"knn_nearfar{suffix}": figure(mean_interval(correct["nearfar"], resamples=RESAMPLES), "share"),
            f"knn_lightly{suffix}": figure(mean_interval(correct["lightly"], resamples=RESAMPLES), "share"),
            f"knn_vs_lightly{suffix}": figure(
                ratio_interval(correct["nearfar"], correct["lightly"], resamples=RESAMPLES), "times"
            ),
        }
    return figures


def _as_lightly(work: Path, encoder: dict[str, Any], *, quick: bool) -> Recipe:
    """The recipe that does what lightly's benchmark does."""
    return load_recipe(
        RECIPE,
        overrides=[
            f"data.source.path={json.dumps(str(work / 'pictures'))}",
            "data.split.validation=0.0",
            f"encoder={json.dumps(encoder)}",
            "views.crop.scale=[0.08, 1.0]",
            "method={kind: simclr, temperature: 0.5, projector: [512, 128]}",
            f"train.epochs={1 if quick else LIGHTLY_EPOCHS}.0",
            f"train.batch_size={64 if quick else 256}",
            "train.optimiser=sgd",
            "train.learning_rate=0.12",
            "train.weight_decay=0.0005",
            "train.warmup=0.0",
            "train.precision=bf16-mixed",
        ],
    )


def subset(source: Path, target: Path, train: int, test: int | None) -> None:
    """The first pictures of CIFAR-10: the table is in mixed order."""
    import pyarrow.parquet as pq

    target.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", train), ("test", test)):
        pq.write_table(pq.read_table(source / f"{name}.parquet").slice(0, count), target / f"{name}.parquet")


if __name__ == "__main__":
    raise SystemExit(main())
