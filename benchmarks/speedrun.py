"""SimCLR on CIFAR-10 to 90 % accuracy of its nearest neighbours, by the clock, on one GPU.

The recipe is that of dkobak/simclr-cifar10, whose open challenge this is (90.3 ± .3 in 1 h 39 min on an A100 with 16 workers):
ResNet-18 with a small stem, 500 epochs over the 50,000 training pictures, batch 512, temperature 0.5, projector 1024 and 128,
SGD with learning rate 0.06, momentum 0.9, weight decay 5e-4 and a cosine to zero; crops from 0.2 of the area, flips, jitter
0.4/0.4/0.4/0.1, greyscale 0.1. Ours has BatchNorm in the projector, and both views go through the network together. The whole data
set lies on the device as uint8 and views are made there; bfloat16, channels last, torch.compile. --early-size 24 trains
the first part of the steps on smaller views, which is not in their recipe.

Judged once, at the end: 10 nearest neighbours by cosine among the training pictures vote on each test picture. What is
printed meanwhile is the vote on 5,000 training pictures by the other 45,000; nothing is chosen by it.

Training can be cut into slices: with --slice-minutes and --state it stops in time, writes a checkpoint, and goes on from it when
it is run again; on a CPU to the same bit. The clock runs while training; not while data is read, kernels are compiled
(`start_seconds`), progress is watched or checkpoints are written. On one H200, in one call or in two:

    python benchmarks/speedrun.py --data DATA --state /tmp/speedrun --slice-minutes 9 --json OUT

Figures, when every seed is done: `knn` with the interval over test pictures (of several seeds: mean, lowest and highest);
`minutes_to_90`, the minutes of training if `knn` is at least 0.9 with every seed, else none; `minutes` whatever was reached;
`images_per_second` through a training step, each with two views; `peak_gb` of GPU memory.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nearfar.evaluate import Interval, knn_correct, mean_interval
from nearfar.learn.encoders.build_image import build_image_encoder
from nearfar.learn.methods.build import build_view_method
from nearfar.learn.methods.image_method import ImageMethod
from nearfar.learn.views import ViewBatch, Views
from nearfar.learn.views.draw import Draws
from nearfar.recipe.image_encoders import ResNetEncoder
from nearfar.recipe.methods import SimClr
from nearfar.recipe.views import Crop, Jitter
from nearfar.recipe.views import Views as ViewsSettings
from tools.labelled_pictures import LabelledPictures, load, made
from tools.results import Figures, arguments, figure, report

VIEWS = ViewsSettings(crop=Crop(scale=(0.2, 1.0)), jitter=Jitter(), greyscale=0.1)
METHOD = SimClr(kind="simclr", temperature=0.5, projector=(1024, 128))
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
GOAL, K = 0.9, 10
WATCHED = 5_000
RESERVE_SECONDS = 40.0
"""Kept free of a slice, for imports, and for the checkpoint or the judgement at its end."""


@dataclass(frozen=True)
class Plan:
    """What is trained, and for how long; a checkpoint goes on only with the same plan."""

    epochs: int
    batch_size: int
    learning_rate: float
    width: int
    size: int
    early_size: int
    early_share: float
    pictures: int
    seed: int

    @property
    def steps_an_epoch(self) -> int:
        """Whole batches only."""
        return self.pictures // self.batch_size

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.epochs * self.steps_an_epoch

    def rate(self, step: int) -> float:
        """Learning rate: half a cosine from the peak to zero."""
        return self.learning_rate * (1 + math.cos(math.pi * step / self.steps)) / 2

    def view_size(self, step: int) -> int:
        """Height and width of the views of a step."""
        return self.early_size if step < self.early_share * self.steps else self.size


@dataclass
class Progress:
    """How far a training is."""

    step: int = 0
    seconds: float = 0.0
    start_seconds: float = 0.0
    watched: list[tuple[int, float]] = field(default_factory=list)


class OutOfTime(Exception):  # noqa: N818 - no error
    """The slice is over."""


def main() -> int:
    """Train as far as time allows; figures once everything is done."""
    began = time.monotonic()
    options = parsed()
    quick: bool = options.quick
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type != "cuda" and not (quick or options.device):
        print("nothing to measure: torch finds no GPU (--device cpu trains for days)", file=sys.stderr)
        return 0
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    data = pictures_of(options.data, quick=quick)
    deadline = began + 60 * options.slice_minutes - RESERVE_SECONDS if options.slice_minutes else math.inf
    finished = []
    for seed in range(options.seed, options.seed + options.seeds):
        plan = plan_of(options, data, seed)
        try:
            finished.append(run(plan, data, device, options, deadline))
        except OutOfTime as stopped:
            print(f"{stopped} Run the same command again to go on.")
            return 0
    report(figures_of(finished), options.json, quick=quick)
    return 0


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--state", type=Path, help="checkpoints lie there; needed to train in slices")
    parser.add_argument("--slice-minutes", type=float, help="stop after so many minutes, start-up included")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=0.03, help="for each 256 pictures of a batch")
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage")
    parser.add_argument("--early-size", type=int, help="height and width of the first views; 32 or left out: all alike")
    parser.add_argument("--early-share", type=float, default=0.6, help="of the steps, with --early-size")
    parser.add_argument("--watch-every", type=int, default=50, help="epochs between looks at the progress")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--device", help="by default the GPU")
    parser.add_argument("--stop-after", type=int, help="steps in this call, as if the slice were over; to try resuming")
    options = parser.parse_args()
    if options.slice_minutes and not options.state:
        parser.error("--slice-minutes needs --state")
    if options.data is None and not options.quick:
        parser.error("--data is needed: the folder that has cifar10/train.parquet")
    if options.quick:
        options.epochs, options.batch_size, options.width, options.watch_every = 2, 64, 8, 1
    return options


def pictures_of(folder: Path | None, *, quick: bool) -> LabelledPictures:
    """CIFAR-10; with --quick a little of it, or made pictures."""
    if folder is None:
        return made(400)
    return load(folder / "cifar10", channels=3, **({"train": 400, "test": 80} if quick else {}))


def plan_of(options: argparse.Namespace, data: LabelledPictures, seed: int) -> Plan:
    """What the command line asks for."""
    size = data.train.shape[1]
    early: int = options.early_size or size
    return Plan(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate * options.batch_size / 256,
        width=options.width,
        size=size,
        early_size=early,
        early_share=options.early_share if early != size else 0.0,
        pictures=len(data.train),
        seed=seed,
    )


@dataclass(frozen=True)
class Finished:
    """One seed, trained and judged."""

    correct: list[float]
    seconds: float
    start_seconds: float
    images_per_second: float
    peak_gb: float


def run(
    plan: Plan, data: LabelledPictures, device: torch.device, options: argparse.Namespace, deadline: float
) -> Finished:
    """Train one seed from where it stands, and judge it.

    Raises:
        OutOfTime: the slice is over; the checkpoint is written.
    """
    state: Path | None = options.state
    if state is not None:
        state.mkdir(parents=True, exist_ok=True)
        result = state / f"seed-{plan.seed}.json"
        if result.exists():
            kept = json.loads(result.read_text("utf-8"))
            if kept.pop("plan") != asdict(plan):
                raise SystemExit(f"{result} is of other settings: give another --state, or the same settings")
            return Finished(**kept)
    training = Training(plan, data, device, compiled=device.type == "cuda" and not options.no_compile)
    checkpoint = state / f"seed-{plan.seed}.pt" if state is not None else None
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint)
    last = min(plan.steps, training.progress.step + options.stop_after) if options.stop_after else plan.steps
    training.train(until=last, deadline=deadline, watch_every=options.watch_every)
    progress = training.progress
    if progress.step < plan.steps:
        if checkpoint is not None:
            training.save(checkpoint)
        raise OutOfTime(
            f"seed {plan.seed}: step {progress.step:,} of {plan.steps:,}, {progress.seconds / 60:.1f} minutes of training so far."
        )
    finished = Finished(
        training.judged().tolist(),
        progress.seconds,
        progress.start_seconds,
        plan.steps * plan.batch_size / progress.seconds,
        torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else math.nan,
    )
    if state is not None:
        write(state / f"seed-{plan.seed}.json", json.dumps({"plan": asdict(plan), **asdict(finished)}).encode())
        (state / f"seed-{plan.seed}.pt").unlink(missing_ok=True)
    return finished


class Training:
    """Network, optimiser and data on the device, and how far it all is.

    Order and views of an epoch depend on seed and epoch alone, so a checkpoint need not have them.
    """

    def __init__(self, plan: Plan, data: LabelledPictures, device: torch.device, *, compiled: bool) -> None:
        began = time.perf_counter()
        self.plan, self.data, self.device, self.progress = plan, data, device, Progress()
        torch.manual_seed(plan.seed)
        settings = ResNetEncoder(kind="resnet", depth=18, stem="small", width=plan.width)
        encoder = build_image_encoder(settings, size=plan.size, channels=3)
        self.train_pixels, self.test_pixels = (
            torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().to(device)
            for pictures in (data.train, data.test)
        )
        shares = torch.from_numpy(data.train).double() / 255
        encoder.normalise_by(shares.mean((0, 1, 2)).tolist(), shares.std((0, 1, 2)).tolist())
        self.method: ImageMethod = build_view_method(METHOD, encoder, items=plan.pictures, classes=0).to(device)
        self.optimiser = torch.optim.SGD(
            self.method.parameters(),
            lr=plan.learning_rate,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            fused=device.type == "cuda",
        )
        sizes = {plan.early_size, plan.size} if plan.early_share else {plan.size}
        self.views = {size: Views(VIEWS, size=size, channels=3) for size in sizes}
        if compiled:
            self.method.encoder.compile(dynamic=False)
            self._warm_up()
        self._synchronise()
        self.progress.start_seconds = time.perf_counter() - began

    def train(self, *, until: int, deadline: float, watch_every: int) -> None:
        """Go on to step `until`, or to the deadline (of time.monotonic), whichever comes first."""
        plan, progress = self.plan, self.progress
        self.method.train()
        with ThreadPoolExecutor(1) as beside:
            epoch = progress.step // plan.steps_an_epoch
            coming = beside.submit(self._drawn, epoch)
            while progress.step < until and time.monotonic() < deadline:
                with self._on_the_clock():
                    order, draws = coming.result()
                    order, draws = order.to(self.device), draws.to(self.device)
                    if epoch + 1 < plan.epochs:
                        coming = beside.submit(self._drawn, epoch + 1)
                    end = min(until, (epoch + 1) * plan.steps_an_epoch)
                    while progress.step < end and time.monotonic() < deadline:
                        first = progress.step % plan.steps_an_epoch * plan.batch_size
                        rows = slice(first, first + plan.batch_size)
                        self._step(order[rows], draws.rows(rows))
                        progress.step += 1
                epoch = progress.step // plan.steps_an_epoch
                if progress.step % (plan.steps_an_epoch * watch_every) == 0 and progress.step < plan.steps:
                    self._watch(epoch)

    def judged(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Whether each test picture is voted right; the one look at the test set."""
        bank, queries = self._embedded(self.train_pixels), self._embedded(self.test_pixels)
        data = self.data
        return knn_correct(bank, data.train_labels, queries, data.test_labels, classes=data.classes, k=K)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        partial = path.with_suffix(".partial")
        state = {
            "plan": asdict(self.plan),
            "progress": asdict(self.progress),
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["plan"] != asdict(self.plan):
            raise SystemExit(f"{path} is of other settings: give another --state, or the same settings")
        self.method.load_state_dict(state["method"])
        self.optimiser.load_state_dict(state["optimiser"])
        before = self.progress.start_seconds
        self.progress = Progress(**state["progress"])
        self.progress.start_seconds += before

    def _drawn(self, epoch: int) -> tuple[Tensor, Draws]:
        """Order and views of an epoch, on the CPU; made beside the training of the one before."""
        rng = np.random.default_rng((self.plan.seed, epoch))
        count = self.plan.steps_an_epoch * self.plan.batch_size
        order = torch.from_numpy(rng.permutation(self.plan.pictures)[:count])
        views = self.views[self.plan.size]  # what is drawn does not depend on the size
        return order, views.draw(np.ones(count), rng)

    def _step(self, items: Tensor, draws: Draws) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(self.progress.step)
        self._gradient(items, draws, self.plan.view_size(self.progress.step))
        self.optimiser.step()

    def _gradient(self, items: Tensor, draws: Draws, size: int) -> None:
        views = self.views[size].apply(self.train_pixels[items], draws)
        views = tuple(view.contiguous(memory_format=torch.channels_last) for view in views)
        batch = ViewBatch(views, items, torch.full_like(items, -1))
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self.method.loss(self.method.embed(batch))
        loss.backward()

    def _warm_up(self) -> None:
        """Compile for every size of view, and leave no trace of it."""
        before = {name: value.clone() for name, value in self.method.state_dict().items()}
        order, draws = self._drawn(0)
        rows = slice(0, self.plan.batch_size)
        self.method.train()
        for size in self.views:
            for _ in range(2):
                self._gradient(order[rows].to(self.device), draws.rows(rows).to(self.device), size)
        self.method.load_state_dict(before)
        self.optimiser.zero_grad(set_to_none=True)

    def _watch(self, epoch: int) -> None:
        vectors, labels = self._embedded(self.train_pixels), self.data.train_labels
        held = min(WATCHED, len(labels) // 10)
        right = knn_correct(
            vectors[held:], labels[held:], vectors[:held], labels[:held], classes=self.data.classes, k=K
        ).mean()
        self.progress.watched.append((epoch, float(right)))
        print(f"epoch {epoch}: {right:.3f} of {held} held out, {self.progress.seconds / 60:.2f} minutes", flush=True)

    @torch.no_grad()
    def _embedded(self, pixels: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Embeddings in single precision, at unit length."""
        encoder = self.method.encoder.eval()
        # `forward` itself: batches of other sizes are not worth compiling for.
        parts = [F.normalize(encoder.forward(part.float() / 255), dim=1) for part in pixels.split(1000)]
        self.method.train()
        return torch.cat(parts).cpu().numpy()

    @contextmanager
    def _on_the_clock(self) -> Iterator[None]:
        self._synchronise()
        started = time.perf_counter()
        yield
        self._synchronise()
        self.progress.seconds += time.perf_counter() - started

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def figures_of(finished: list[Finished]) -> Figures:
    """Of one seed with the interval over test pictures, of several with the lowest and the highest."""
    accuracies = [mean(one.correct) for one in finished]
    minutes = [one.seconds / 60 for one in finished]
    if len(finished) == 1:
        knn = mean_interval(np.array(finished[0].correct))
        taken: float | Interval = minutes[0]
    else:
        knn = Interval(mean(accuracies), min(accuracies), max(accuracies))
        taken = Interval(mean(minutes), min(minutes), max(minutes))
    figures: Figures = {
        "knn": figure(knn, "share"),
        "minutes_to_90": figure(taken if min(accuracies) >= GOAL else math.nan, "min"),
        "minutes": figure(taken, "min"),
        "images_per_second": figure(mean(one.images_per_second for one in finished), "1/s"),
        "start_seconds": figure(mean(one.start_seconds for one in finished), "s"),
    }
    if math.isfinite(finished[0].peak_gb):
        figures["peak_gb"] = figure(max(one.peak_gb for one in finished), "GB")
    return figures


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


if __name__ == "__main__":
    raise SystemExit(main())
