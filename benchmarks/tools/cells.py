"""Whether DenseCL's map tells blood cells apart, place by place: without labels for the encoder, few for what reads the map.

An encoder is trained by recipes/cells.yaml on the training pictures of BCCD, by DenseCL and by SimCLR with all else alike. It
stays as it is then. Whole pictures go through it, and a multinomial logistic regression reads from each place of the map what
is there: a red cell, a white cell, a platelet, or none of them. A place belongs to the smallest of the ellipses inscribed in
the boxes that covers its centre; some cells of BCCD have no box, so nobody reaches 1. The regression learns from 5, 20 or all
205 training pictures, and its penalty is chosen by holding out parts of those.

Beside the two stand the same encoder before its first step, and raw colours: the mean colours of the 9 places around, read
the same way. The settings of the recipe were chosen on the validation pictures.

Figures: `cells_f1_ROW_PICTURES`, F1 over all places of all test pictures, mean over the four classes and over the seeds;
`cells_densecl_gain_over_ROW_PICTURES`, how much DenseCL's is higher. A seed draws the initial weights, the views and the
labelled pictures, the same for all rows. 95 % intervals resample test pictures and seeds, each with replacement.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.evaluate import Interval
from nearfar.frontend.image import decode, resize, scaled
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.pictures import TrainedPictures
from nearfar.learn.run import train_run
from nearfar.recipe import load_recipe
from tools.results import Figures, figure

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "cells.yaml"
CLASSES = ("background", "RBC", "WBC", "Platelets")
SHRUNK = 4
"""How many times smaller the encoder sees a picture: about the mean of the recipe's views."""
PLACE = 8
"""Pixels from one place of the map to the next."""
LABELLED = (5, 20, 205)
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
RESAMPLES = 1_000
LEARNED = ("densecl", "simclr")
QUICK = ("train.max_steps=4", "train.batch_size=16", "method.projector=[32, 32]")
QUICK_PICTURES = 16


@dataclass(frozen=True)
class Pictures:
    """Pictures of one side, as the encoder sees them.

    Attributes:
        pixels: (n, 3, h, w) in [0, 1].
        labels: (n, places), of each place of the map its number in `CLASSES`.
    """

    pixels: Tensor
    labels: Ints


def measure_cells(data: Path, folder: Path, *, seeds: int = 3, quick: bool = False) -> Figures:
    """Train, read the maps, and compare on the test pictures.

    Args:
        data: folder with the public data sets.
        folder: where the runs go.
        seeds: how many of each row.
        quick: some steps and few pictures with one seed: shows that it runs.
    """
    source = data / "bccd"
    most = QUICK_PICTURES if quick else None
    train, test = read_side(source, "train", most), read_side(source, "test", most)
    encoders = pretrain(source, folder, seeds=range(1 if quick else seeds), overrides=QUICK if quick else ())
    labelled = tuple(min(k, len(train.labels)) for k in (LABELLED[:1] if quick else LABELLED))
    return as_figures(confusions(encoders, train, test, labelled))


def read_side(source: Path, split: str, most: int | None = None) -> Pictures:
    """The pictures of one split of BCCD, and what is where on them."""
    rows = pq.read_table(source / "bccd.parquet", filters=[("split", "=", split)]).to_pylist()[:most]
    pixels = []
    for row in rows:
        picture = decode(row["image"], 3)
        pixels.append(scaled(resize(picture, picture.shape[0] // SHRUNK, picture.shape[1] // SHRUNK)))
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    places = [side // PLACE for side in stacked.shape[2:]]
    stacked = stacked[:, :, : PLACE * places[0], : PLACE * places[1]]
    return Pictures(stacked, np.stack([labels_of_places(row["objects"], places[0], places[1]) for row in rows]))


def labels_of_places(objects: Iterable[dict[str, Any]], height: int, width: int) -> Ints:
    """What lies under the centre of each place of a map, (height * width,) numbers in `CLASSES`."""
    y, x = np.mgrid[:height, :width] + 0.5
    labels = np.zeros((height, width), np.int64)
    unit = PLACE * SHRUNK

    def area(box: dict[str, Any]) -> int:
        return int((box["xmax"] - box["xmin"]) * (box["ymax"] - box["ymin"]))

    for box in sorted(objects, key=area, reverse=True):
        away = [
            (2 * unit * at - box[f"{axis}min"] - box[f"{axis}max"]) / max(1, box[f"{axis}max"] - box[f"{axis}min"])
            for axis, at in (("x", x), ("y", y))
        ]
        labels[away[0] ** 2 + away[1] ** 2 <= 1] = CLASSES.index(box["name"])
    return labels.ravel()


def pretrain(
    source: Path, folder: Path, *, seeds: Sequence[int], overrides: Sequence[str] = ()
) -> dict[str, list[ImageEncoder]]:
    """Encoders by row, one for each seed: those of `LEARNED`, and `untrained`; two trainings side by side, on one thread each."""
    runs = [(name, seed) for seed in seeds for name in LEARNED]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        waiting = [
            pool.submit(
                trained, folder / f"{name}-{seed}", [f"data.source.path={source}", f"seed={seed}", *overrides], name
            )
            for name, seed in runs
        ]
        found = [one.result() for one in waiting]
    encoders: dict[str, list[ImageEncoder]] = {"untrained": [], **{name: [] for name in LEARNED}}
    for (name, _), (after, before) in zip(runs, found, strict=True):
        encoders[name].append(after)
        if name == LEARNED[0]:
            encoders["untrained"].append(before)
    return encoders


def trained(folder: Path, overrides: Sequence[str], name: str) -> tuple[ImageEncoder, ImageEncoder]:
    """The encoder of a run after its training, and before."""
    projector = [f"method.{o.removeprefix('method.')}" for o in overrides if o.startswith("method.")]
    del projector
    kind = [] if name == "densecl" else [f"method={{kind: {name}}}"]
    recipe = load_recipe(RECIPE, overrides=["train.threads=1", *kind, *overrides])
    run = train_run(recipe, folder)
    assert isinstance(run, TrainedPictures)
    return run.method().encoder, run.untrained().encoder


def confusions(
    encoders: dict[str, list[ImageEncoder]], train: Pictures, asked: Pictures, labelled: Sequence[int]
) -> dict[tuple[str, int], npt.NDArray[np.int64]]:
    """Of each row and number of labelled pictures: (seeds, pictures, classes, classes), places by truth and answer."""
    found: dict[tuple[str, int], npt.NDArray[np.int64]] = {}
    seeds = len(next(iter(encoders.values())))
    colours = colour_vectors(train.pixels), colour_vectors(asked.pixels)
    for name in ("colours", *encoders):
        of_seeds: dict[int, list[npt.NDArray[np.int64]]] = {k: [] for k in labelled}
        for seed in range(seeds):
            known, queries = (
                colours if name == "colours" else [map_vectors(encoders[name][seed], x.pixels) for x in (train, asked)]
            )
            order = np.random.default_rng([seed, 7]).permutation(len(known))
            for k in labelled:
                some = order[:k]
                answers = read_places(known[some], train.labels[some], queries)
                of_seeds[k].append(confusion(asked.labels, answers))
        found |= {(name, k): np.stack(v) for k, v in of_seeds.items()}
    return found


@torch.no_grad()
def map_vectors(encoder: ImageEncoder, pixels: Tensor) -> Floats:
    """(n, places, width) of whole pictures (n, 3, h, w)."""
    encoder.eval()
    maps = torch.cat([encoder.maps(some) for some in pixels.split(16)])
    return maps.flatten(2).mT.contiguous().numpy()


def colour_vectors(pixels: Tensor) -> Floats:
    """(n, places, 27): mean colours of each place and of the 8 around it."""
    means = F.avg_pool2d(pixels, PLACE)
    around = F.unfold(F.pad(means, (1, 1, 1, 1), mode="replicate"), 3)
    return around.mT.contiguous().numpy()


def read_places(known: Floats, labels: Ints, queries: Floats) -> Ints:
    """Classes (m, places) that logistic regression on known (k, places, d) sees in queries (m, places, d).

    The penalty is that of the highest F1 where each fifth of the known pictures is held out in turn.
    """
    width = known.shape[2]
    mean, std = known.mean((0, 1)), known.std((0, 1))
    known, queries = ((part - mean) / np.where(std > 1e-8, std, 1) for part in (known, queries))
    fold = np.arange(len(known)) % 5
    folds = range(5 if len(known) <= 20 else 1)
    scores = []
    for penalty in PENALTIES:
        counted = []
        for held in folds:
            model = _regression(penalty, known[fold != held].reshape(-1, width), labels[fold != held].ravel())
            out = fold == held
            answers = model.predict(known[out].reshape(-1, width)).reshape(labels[out].shape)
            counted.append(confusion(labels[out], answers))
        scores.append(macro_f1(np.concatenate(counted).sum(0)))
    best = PENALTIES[int(np.argmax(scores))]
    model = _regression(best, known.reshape(-1, width), labels.ravel())
    return np.asarray(model.predict(queries.reshape(-1, width)).reshape(queries.shape[:2]), np.int64)


def _regression(penalty: float, vectors: Floats, labels: Ints) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (penalty * len(vectors)), max_iter=100, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a penalty for which the iterations do not suffice is judged by where they end
        return model.fit(vectors, labels)


def confusion(labels: Ints, answers: Ints) -> npt.NDArray[np.int64]:
    """(pictures, classes, classes): how many places of truth t were answered a."""
    n, classes = len(labels), len(CLASSES)
    picture = np.arange(n)[:, None] * classes**2
    counts = np.bincount((picture + labels * classes + answers).ravel(), minlength=n * classes**2)
    return counts.reshape(n, classes, classes)


def macro_f1(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean over the classes of F1, of (..., classes, classes) places by truth and answer; a class that is nowhere counts 0."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    f1 = 2 * right / np.maximum(1, counts.sum(-1) + counts.sum(-2))
    return np.asarray(f1.mean(-1))


def as_figures(found: dict[tuple[str, int], npt.NDArray[np.int64]]) -> Figures:
    """Every figure with its interval; differences are taken within each resample."""
    seeds, pictures = next(iter(found.values())).shape[:2]
    rng = np.random.default_rng(0)
    draws = [(rng.integers(seeds, size=seeds), rng.integers(pictures, size=pictures)) for _ in range(RESAMPLES)]
    values = {key: _with_resamples(counts, draws) for key, counts in found.items()}
    figures = {f"cells_f1_{name}_{k}": _figure(value) for (name, k), value in values.items()}
    for (name, k), value in values.items():
        if name != "densecl":
            figures[f"cells_densecl_gain_over_{name}_{k}"] = _figure(values["densecl", k] - value)
    return figures


def _with_resamples(counts: npt.NDArray[np.int64], draws: Sequence[tuple[Ints, Ints]]) -> npt.NDArray[np.float64]:
    """The figure, and then that of each resample."""
    resampled = [float(macro_f1(counts[s][:, p].sum(1)).mean()) for s, p in draws]
    return np.array([float(macro_f1(counts.sum(1)).mean()), *resampled])


def _figure(value: npt.NDArray[np.float64]) -> dict[str, float | str | None]:
    low, high = np.quantile(value[1:], [0.025, 0.975])
    return figure(Interval(float(value[0]), float(low), float(high)), "share")
