"""The ladder of compression: every step made into a bundle and measured as it ships; one that costs too much is left out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from nearfar.errors import BundleError
from nearfar.progress import Stages

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.bundle import Bundle, Metric
    from nearfar.bundle.manifest import Agreement, CompressionStep
    from nearfar.embedder import Embedder, Side
    from nearfar.evaluate.bootstrap import Interval
    from nearfar.recipe.compress import Compress, Step

    Figures = npt.NDArray[np.float64]

M = TypeVar("M")
"""A model on its way to a bundle."""

_WARM, _TIMED = 5, 60
_SAME_SIZE = 1_000  # bytes in which names and numbers of the manifest may differ
UNMEASURED = "what it costs is not known: nothing was held out for validation"
NOTHING_TO_LOSE = "there is nothing to lose: the model before it finds nothing"


@dataclass(frozen=True)
class Workbench(Generic[M]):
    """What the ladder needs of a kind of model.

    Attributes:
        misfit: what a model lacks for a step, in words; nothing where it fits.
        apply: a model and a step to the smaller model; the number is that of the step, from 1.
        write: a model to its bundle in a folder that does not exist yet.
        judge: a bundle to its figure for each validation item, (n,) from 0 to 1; None where nothing was held out.
        figure: the name of that figure.
        samples: some items of each side. Each of the queries is embedded alone to see how long it takes, and all are compared
            between the model and its bundle.
        embedder: a model to what embeds with it in float.
    """

    misfit: Callable[[M, Step], str]
    apply: Callable[[M, Step, int], M]
    write: Callable[[M, Path], Bundle]
    judge: Callable[[Bundle], Figures | None]
    figure: str
    samples: Mapping[Side, Sequence[Any]]
    embedder: Callable[[M], Embedder]


@dataclass(frozen=True)
class _Rung:
    """A model with its bundle, if it has one that works, and what was seen of it."""

    step: dict[str, Any]
    bundle: Bundle | None
    figures: Figures | None
    change: Interval | None = None
    kept: bool = True
    reason: str = ""


def climb(
    start: M,
    compress: Compress,
    bench: Workbench[M],
    folder: Path,
    *,
    resamples: int,
    seed: int,
    stages: Stages,
) -> tuple[M, tuple[CompressionStep, ...]]:
    """Do the steps one after the other, each on the model of the last one that was kept.

    A step is left out where it costs more than the limit, makes the bundle larger, or no longer fits what was kept before it. So
    alternatives may follow each other, the smallest first: `codebook`, then `int4`, then `int8`.

    Args:
        start: the trained model in float.
        compress: the steps, and what one may cost.
        bench: how they are done and measured.
        folder: a place for the drafts of bundles.
        resamples: of the bootstrap, at least 1.
        seed: of the bootstrap.
        stages: told what is being done.

    Returns:
        The model after the last step that was kept, and a row for the model in float and for every step.

    Raises:
        RunError: where a step cannot be done with this model.
    """
    from nearfar.bundle.compression import step_name
    from nearfar.edge import Encoder

    def measured(bundle: Bundle, step: dict[str, Any]) -> _Rung:
        Encoder.open(bundle)  # meets what does not run, also where nothing is held out to judge it by
        return _Rung(step, bundle, bench.judge(bundle))

    count = len(compress.steps)
    tick = stages("measuring: float, validation")
    rungs = [measured(bench.write(start, folder / "0"), {})]
    tick(1)
    model, best = start, rungs[0]
    for number, step in enumerate(compress.steps, 1):
        settings = step.model_dump(mode="json", exclude_none=True)
        name = step_name(settings)
        tick = stages(f"step {number} of {count}: {name}")
        problem = bench.misfit(model, step)
        if problem:  # by what was kept before it: a prefix of 24 after one of 16
            rungs.append(_Rung(settings, None, None, kept=False, reason=problem))
            tick(1, f"left out: {problem}")
            continue
        candidate = bench.apply(model, step, number)
        tick = stages(f"measuring: {name}")
        bundle = bench.write(candidate, folder / str(number))
        try:
            rung = _weighed(measured(bundle, settings), best, compress.limit, resamples, seed)
        except BundleError as error:
            # Such as features of a picture that are all 0: they have no direction. Where the draft lies is nobody's business.
            problem = str(error).replace(f"{bundle.path}{os.sep}", "")
            rung = _Rung(settings, None, None, kept=False, reason=f"its bundle does not work: {problem}")
        tick(1, "" if rung.kept else f"left out: {rung.reason}")
        rungs.append(rung)
        if rung.kept:
            model, best = candidate, rung
    bundles = {number: rung.bundle for number, rung in enumerate(rungs) if rung.bundle is not None}
    times = dict(zip(bundles, milliseconds(list(bundles.values()), bench.samples["query"], stages), strict=True))
    return model, tuple(
        _row(rung, bench.figure, times.get(number), resamples, seed) for number, rung in enumerate(rungs)
    )


def agreement(model: Embedder, shipped: Embedder, samples: Mapping[Side, Sequence[Any]]) -> Agreement | None:
    """Cosines of what the model in float and what its bundle make of the same items; None without items.

    Args:
        model: rows of unit length.
        shipped: likewise, as many components.
        samples: items of each side.
    """
    import numpy as np

    from nearfar.bundle.manifest import Agreement

    cosines = np.concatenate(
        [
            np.einsum("nd,nd->n", *(e.embed(items, side).astype(np.float64) for e in (model, shipped)))
            for side, items in samples.items()
        ]
    )
    if not len(cosines):
        return None
    return Agreement(items=len(cosines), mean=float(cosines.mean()), least=float(cosines.min()))


def milliseconds(bundles: Sequence[Bundle], items: Sequence[Any], stages: Stages) -> list[float | None]:
    """Median time in which each bundle embeds one item, on one thread.

    They take turns at every item, so that what else goes on in the machine touches all of them alike.

    Args:
        bundles: what embeds.
        items: what is embedded, as queries; some dozen of them are.
        stages: told how far it is.

    Returns:
        One figure a bundle; None for each where there are no items.
    """
    from nearfar.edge import Encoder

    if not len(items):
        return [None] * len(bundles)
    encoders = [Encoder.open(bundle, threads=1) for bundle in bundles]
    taken: list[list[float]] = [[] for _ in encoders]
    tick = stages("measuring: one item", _TIMED)
    for turn in range(_WARM + _TIMED):
        item = items[turn % len(items)]
        for encoder, times in zip(encoders, taken, strict=True):
            began = time.perf_counter()
            encoder.embed([item], "query")
            times.append(time.perf_counter() - began)
        tick(int(turn >= _WARM))
    return [1e3 * median(times[_WARM:]) for times in taken]


def _weighed(rung: _Rung, best: _Rung, limit: float, resamples: int, seed: int) -> _Rung:
    """What a step costs against the last one that was kept, and whether that is too much."""
    from nearfar.evaluate.bootstrap import Interval, ratio_interval

    if rung.bundle and best.bundle and rung.bundle.size_bytes > best.bundle.size_bytes + _SAME_SIZE:
        rung = replace(rung, kept=False, reason="makes the bundle larger")
    if rung.figures is None or best.figures is None:
        return rung if rung.reason else replace(rung, reason=UNMEASURED)
    if not best.figures.any():
        return rung if rung.reason else replace(rung, reason=NOTHING_TO_LOSE)
    ratio = ratio_interval(rung.figures, best.figures, resamples=resamples, seed=seed)
    change = Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1)
    if -change.value <= limit:  # or it is left out for its size already
        return replace(rung, change=change)
    reason = f"costs {-change.value:.1%}, more than the limit of {limit:.1%}"
    return replace(rung, change=change, kept=False, reason=reason)


def _row(rung: _Rung, figure: str, milliseconds: float | None, resamples: int, seed: int) -> CompressionStep:
    from nearfar.bundle.manifest import CompressionStep
    from nearfar.evaluate.bootstrap import mean_interval

    quality = None
    if rung.figures is not None:
        quality = _metric(mean_interval(rung.figures, resamples=resamples, seed=seed))
    return CompressionStep(
        step=rung.step,
        mb=None if rung.bundle is None else rung.bundle.size_bytes / 1e6,
        milliseconds=milliseconds,
        figure=figure,
        quality=quality,
        change=None if rung.change is None else _metric(rung.change),
        kept=rung.kept,
        reason=rung.reason,
    )


def _metric(interval: Interval) -> Metric:
    """In the form of the manifest, where an end that is infinite is none."""
    from math import isfinite

    from nearfar.bundle import Metric

    ends = [end if isfinite(end) else None for end in (interval.low, interval.high)]
    return Metric(value=interval.value, low=ends[0], high=ends[1])
