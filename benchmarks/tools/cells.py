"""What the maps of encoders that learned without labels tell of blood cells (BCCD), place by place: DenseCL and others.

The 205 training pictures of BCCD are cut into tiles, on which an encoder learns by recipes/cells.yaml: by DenseCL; by MoCo v2,
which is DenseCL without its loss of places; and by SimCLR, with the same encoder, views and steps. Whole pictures then go
through the encoder, which stays as it is, and multinomial logistic regression reads from each place of the map what is there: a
red cell, a white cell, a platelet, or none of them. A place belongs to the smallest of the ellipses inscribed in the boxes that
covers its centre. Many red cells of BCCD have no box, so nobody comes near 1. The regression learns from 5, 20 or all training
pictures, and its penalty is chosen by holding out parts of those. Vectors are whitened by all training pictures, because a
penalty would otherwise forbid the directions in which a trained map varies little, and platelets show in them.

Beside them stand the same encoder before its first step, and raw colours: the mean colours of the 9 places around, read alike.
What was chosen by hand (tiles, views, scale, whitening) was chosen on the validation pictures.

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
from PIL import Image
from torch import Tensor

from nearfar.evaluate import Interval
from nearfar.frontend.image import decode, resize, scaled
from nearfar.learn.encoders.image import ImageEncoder
from nearfar.learn.pictures import PreparedPictures, TrainedPictures
from nearfar.learn.run import open_run, prepare_run, train_run
from nearfar.recipe import load_recipe
from tools.results import Figures, figure

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "cells.yaml"
CLASSES = ("background", "RBC", "WBC", "Platelets")
LEARNED: dict[str, tuple[str, ...]] = {
    "densecl": (),
    "moco_v2": ("method={kind: moco_v2, momentum: 0.97, queue: 1024}",),
    "simclr": ("method={kind: simclr}",),
}
ROWS = ("colours", "untrained", *LEARNED)
TILE = 80
"""Height and width of a tile in pixels; it is cut from a picture of half its size."""
SHRUNK = 3
"""How many times smaller the encoder sees a whole picture: about as small as in the recipe's views."""
PLACE = 8
"""Pixels from one place of the map to the next."""
LABELLED = (5, 20, 205)
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Weights of half the squared norm beside the mean loss of a place."""
FLAT = 1e-6
"""Directions with less than this share of the largest variance are left out."""
RESAMPLES = 1_000
QUICK_PICTURES = 16
QUICK = ("train.max_steps=3", "train.batch_size=16")


@dataclass(frozen=True)
class Pictures:
    """Pictures of one side, as the encoder sees them.

    Attributes:
        pixels: (n, 3, h, w) in [0, 1].
        labels: (n, places), of each place of the map its number in `CLASSES`.
    """

    pixels: Tensor
    labels: Ints


@dataclass(frozen=True)
class Job:
    """One row with one seed.

    Attributes:
        row: of `ROWS`.
        seed: of everything.
        data: folder with the public data sets.
        folder: where tiles and runs lie.
        asked: the split that is measured on.
        labelled: numbers of labelled pictures.
        quick: some steps and few pictures.
    """

    row: str
    seed: int
    data: Path
    folder: Path
    asked: str
    labelled: tuple[int, ...]
    quick: bool


def measure_cells(
    data: Path, folder: Path, *, seeds: int = 3, quick: bool = False, rows: Sequence[str] = ROWS, asked: str = "test"
) -> Figures:
    """Train, read the maps, and compare; two trainings side by side, on one thread each.

    Args:
        data: folder with the public data sets.
        folder: where the tiles and the runs go; a run that has ended there is taken up as it is.
        seeds: how many of each row.
        quick: some steps and few pictures, one seed, on the validation pictures: shows that it runs.
        rows: of `ROWS`, `densecl` among them.
        asked: the split that is measured on; whoever tries other settings gives `val`.
    """
    cut_tiles(data, folder / "tiles", QUICK_PICTURES if quick else None)
    labelled = LABELLED[:1] if quick else LABELLED
    jobs = [
        Job(row, seed, data, folder, "val" if quick else asked, labelled, quick)
        for seed in range(1 if quick else seeds)
        for row in rows
    ]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(answered, jobs))
    found = {
        (row, k): np.stack([counts[k] for job, counts in zip(jobs, done, strict=True) if job.row == row])
        for row in rows
        for k in labelled
    }
    return as_figures(found)


def cut_tiles(data: Path, folder: Path, most: int | None) -> None:
    """Cut the training pictures into files, unless that has been done."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    for number, row in enumerate(_rows(data, "train", most)):
        picture = _smaller(row["image"], 2)
        for top in range(0, picture.shape[0] - TILE + 1, TILE):
            for left in range(0, picture.shape[1] - TILE + 1, TILE):
                tile = np.ascontiguousarray(picture[top : top + TILE, left : left + TILE])
                Image.fromarray(tile).save(folder / f"{number:03}-{top:03}-{left:03}.png", compress_level=1)


def answered(job: Job) -> dict[int, Ints]:
    """In a child: train if the row asks for it; by number of labelled pictures, what `confusion` says of the asked ones."""
    torch.set_num_threads(1)
    most = QUICK_PICTURES if job.quick else None
    train, asked = (read_split(job.data, split, most) for split in ("train", job.asked))
    if job.row == "colours":
        known, queries = (colour_vectors(side.pixels) for side in (train, asked))
    else:
        encoder = encoder_of(job)
        known, queries = (map_vectors(encoder, side.pixels) for side in (train, asked))
    known, queries = whitened(known, queries)
    order = np.random.default_rng([job.seed, 7]).permutation(len(known))
    return {
        k: confusion(asked.labels, read_places(known[order[:k]], train.labels[order[:k]], queries))
        for k in job.labelled
    }


def encoder_of(job: Job) -> ImageEncoder:
    """The encoder of a row, trained where it is to be."""
    folder = job.folder / f"{job.row}-{job.seed}"
    overrides = [
        f"data.source.path={job.folder / 'tiles'}",
        f"seed={job.seed}",
        "train.threads=1",
        *LEARNED.get(job.row, ()),
        *(QUICK if job.quick else ()),
    ]
    recipe = load_recipe(RECIPE, overrides=overrides)
    if job.row == "untrained":
        folder.mkdir(parents=True, exist_ok=True)
        prepared = prepare_run(recipe, folder)
        assert isinstance(prepared, PreparedPictures)
        return prepared.trained(recipe, folder).untrained().encoder
    run = open_run(folder) if (folder / "fit.json").exists() else train_run(recipe, folder)
    assert isinstance(run, TrainedPictures)
    return run.method().encoder


def read_split(data: Path, split: str, most: int | None = None) -> Pictures:
    """The pictures of one split of BCCD, and what is where on them."""
    rows = _rows(data, split, most)
    pixels = torch.from_numpy(np.stack([scaled(_smaller(row["image"], SHRUNK)) for row in rows])).permute(0, 3, 1, 2)
    height, width = (side // PLACE for side in pixels.shape[2:])
    whole_places = pixels[:, :, : PLACE * height, : PLACE * width].contiguous()
    return Pictures(whole_places, np.stack([labels_of_places(row["objects"], height, width) for row in rows]))


def labels_of_places(objects: Iterable[dict[str, Any]], height: int, width: int) -> Ints:
    """What lies under the centre of each place of a map, (height * width,) numbers in `CLASSES`."""
    unit = PLACE * SHRUNK
    y, x = (np.mgrid[:height, :width] + 0.5) * unit
    labels = np.zeros((height, width), np.int64)
    boxes = [(o["xmin"], o["ymin"], o["xmax"], o["ymax"], CLASSES.index(o["name"])) for o in objects]
    for left, top, right, bottom, name in sorted(boxes, key=lambda b: (b[0] - b[2]) * (b[3] - b[1])):
        across = (2 * x - left - right) / max(1, right - left)
        down = (2 * y - top - bottom) / max(1, bottom - top)
        labels[across**2 + down**2 <= 1] = name
    return labels.ravel()


@torch.no_grad()
def map_vectors(encoder: ImageEncoder, pixels: Tensor) -> Floats:
    """(n, places, width) of whole pictures (n, 3, h, w)."""
    encoder.eval()
    maps = torch.cat([encoder.maps(some) for some in torch.split(pixels, 16)])
    vectors: Floats = maps.flatten(2).mT.contiguous().numpy()
    return vectors


def colour_vectors(pixels: Tensor) -> Floats:
    """(n, places, 27): mean colours of each place and of the 8 around it."""
    means = F.avg_pool2d(pixels, PLACE)
    around = F.unfold(F.pad(means, (1, 1, 1, 1), mode="replicate"), 3)
    vectors: Floats = around.mT.contiguous().numpy()
    return vectors


def whitened(known: Floats, queries: Floats) -> tuple[Floats, Floats]:
    """Both in directions that have mean 0 and variance 1 in `known` and are uncorrelated there; it takes no labels."""
    flat = known.reshape(-1, known.shape[-1]).astype(np.float64)
    mean = flat.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(flat.T))
    kept = variances > FLAT * variances[-1]
    turn = directions[:, kept] / np.sqrt(variances[kept])
    return ((known - mean) @ turn).astype(np.float32), ((queries - mean) @ turn).astype(np.float32)


def read_places(known: Floats, labels: Ints, queries: Floats) -> Ints:
    """Classes (m, places) that logistic regression on known (k, places, d) sees in queries (m, places, d).

    The penalty is that of the highest F1 on pictures held out of the known ones: each fifth in turn, or with many only one.
    """
    fold = np.arange(len(known)) % 5
    scores = []
    for penalty in PENALTIES:
        counted = []
        for held in range(5 if len(known) <= 20 else 1):
            out = fold == held
            answers = _answers(penalty, known[~out], labels[~out], known[out])
            counted.append(confusion(labels[out], answers))
        scores.append(macro_f1(np.concatenate(counted).sum(axis=0)))
    return _answers(PENALTIES[int(np.argmax(scores))], known, labels, queries)


def _answers(penalty: float, known: Floats, labels: Ints, queries: Floats) -> Ints:
    from sklearn.linear_model import LogisticRegression

    d = known.shape[-1]
    regression = LogisticRegression(C=1 / (penalty * labels.size), max_iter=100, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a penalty for which the iterations do not suffice is judged by where they end
        regression.fit(known.reshape(-1, d), labels.ravel())
    return np.asarray(regression.predict(queries.reshape(-1, d)).reshape(queries.shape[:-1]), np.int64)


def confusion(labels: Ints, answers: Ints) -> Ints:
    """(pictures, classes, classes): how many places of the one class were taken for the other."""
    n, classes = len(labels), len(CLASSES)
    first = np.arange(n)[:, None] * classes**2
    counts = np.bincount((first + labels * classes + answers).ravel(), minlength=n * classes**2)
    return counts.reshape(n, classes, classes).astype(np.int64)


def macro_f1(counts: Ints) -> npt.NDArray[np.float64]:
    """Mean over the classes of F1, of (..., classes, classes) places by truth and answer; a class that is nowhere counts 0."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    f1 = 2 * right / np.maximum(1, counts.sum(axis=-1) + counts.sum(axis=-2))
    return np.asarray(f1.mean(axis=-1), np.float64)


def as_figures(found: dict[tuple[str, int], Ints]) -> Figures:
    """Every figure with its interval.

    Args:
        found: by row and number of labelled pictures, (seeds, pictures, classes, classes). Differences are taken within
            each resample.
    """
    seeds, pictures = next(iter(found.values())).shape[:2]
    rng = np.random.default_rng(0)
    draws: list[tuple[Ints, Ints]] = [
        (np.asarray(rng.integers(seeds, size=seeds)), np.asarray(rng.integers(pictures, size=pictures)))
        for _ in range(RESAMPLES)
    ]
    values = {key: _with_resamples(counts, draws) for key, counts in found.items()}
    figures = {f"cells_f1_{row}_{k}": _figure(value) for (row, k), value in values.items()}
    for (row, k), value in values.items():
        if row != "densecl":
            figures[f"cells_densecl_gain_over_{row}_{k}"] = _figure(values["densecl", k] - value)
    return figures


def _with_resamples(counts: Ints, draws: Sequence[tuple[Ints, Ints]]) -> npt.NDArray[np.float64]:
    """The figure, and then that of each resample."""
    resampled = [float(macro_f1(counts[s][:, p].sum(axis=1)).mean()) for s, p in draws]
    return np.array([float(macro_f1(counts.sum(axis=1)).mean()), *resampled])


def _figure(value: npt.NDArray[np.float64]) -> dict[str, float | str | None]:
    low, high = np.quantile(value[1:], [0.025, 0.975])
    return figure(Interval(float(value[0]), float(low), float(high)), "share")


def _rows(data: Path, split: str, most: int | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(
        data / "bccd" / "bccd.parquet", filters=[("split", "=", split)]
    ).to_pylist()
    return rows[:most]


def _smaller(picture: bytes, times: int) -> npt.NDArray[Any]:
    """Decoded, with so many times less height and width."""
    pixels = decode(picture, 3)
    return resize(pixels, pixels.shape[0] // times, pixels.shape[1] // times)
