"""InfoNCE over all pairs of a batch without the matrix of them: time, memory and accuracy, and against whom.

One call is forward and backward with gradients of both sides, float32, temperature 0.07, on n pairs of unit vectors. They
are normalised once more by everyone, because the libraries do. Keys end in `_{n}_d{d}`, for n pairs of d dimensions.

- `info_nce` in both directions (CLIP; keys without prefix, `masked_` with the masks of a dual encoder, see
  tools/objectives.py), against plain PyTorch (`naive_`): the matrix of cosines and cross-entropy along rows and columns.
- `nt_xent` against the NTXentLoss of lightly (`lightly_`), and that of pytorch-metric-learning in its SelfSupervisedLoss
  (`pml_`), which compares pairs with pairs and so needs memory as n cubed: 512 pairs are too many for 16 GB.
- `sup_con` against the SupConLoss of pytorch-metric-learning (`pml_sup_con_`), n vectors, four of each label.
- `siglip` against plain PyTorch (`naive_siglip_`).
- `frozen_`: 1,024 pairs against n further negatives without gradient, as from a queue, a bank or a file.

That each computes the same loss as its peer is checked first.

Time: one thread, contestants in turns in one process; `speedup` is the peer's median over ours with the 95 % interval of a
bootstrap over turns. Keys that end in `_threads` are with all cores. What takes over 12 seconds is timed once, by the process
that measures memory, and has no interval.

Memory: `extra_mb` is the peak of resident memory during a first call less that before it, in a fresh process: gradients of
both sides are in it, the vectors are not. Only on Linux; elsewhere these figures are missing, and so are the large sizes.
A contestant that needs more than 16 GB (or 60 % of this machine) or five minutes is passed over from there on, which is said.

`floor_ratio`: our time over that of the four matrix products that any loss without the matrix needs, at n = 8192, in the
fastest of several tilings on this machine. `mask_overhead_pct`: what the masks add at n = 8192, d = 128.

`loss_error` and `gradient_error`: relative, against the formula in float64, on pairs that are not alike; those with `_cold`
at temperature 0.001.

Peers: lightly wants torchvision, which its NTXentLoss does not use; it is loaded without. What is not installed is left out.

On a machine with CUDA, also what tools/loss_on_gpu.py says; with --gpu only that, in under ten minutes. The rest takes about
twenty minutes. --data is not needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from nearfar.evaluate import Interval
from tools.accuracy import errors, loss_and_gradients
from tools.alone import Alone, TooMuchError, alone, has_peaks
from tools.latency import Seconds, ratio_of_medians
from tools.loss_on_gpu import figures_on_gpu
from tools.objectives import OBJECTIVES, TEMPERATURE, is_installed, naive, ours, sides, step
from tools.products import four_products
from tools.results import Figures, arguments, figure, prefixed, report
from tools.turns import in_turns, threads

SECONDS = 8.0
LONGEST_IN_TURNS, LONGEST_ALONE = 12.0, 300.0
LARGEST_WITHOUT_LIMIT = {"pml": 256}
TILES = ((512, 1024), (1024, 4096), (1 << 20, 1 << 20))
COLD = 0.001
GROWTH = {"pml": 3}


@dataclass(frozen=True)
class Comparison:
    """One objective.

    Attributes:
        ours: our name for it.
        sizes: d -> every n.
        peers: who computes the same.
        beside: measured as well, but no peers.
    """

    ours: str
    sizes: dict[int, tuple[int, ...]]
    peers: tuple[str, ...]
    beside: tuple[str, ...] = ()


SIZES = (1024, 4096, 8192, 16384, 65536)
COMPARISONS = (
    Comparison("ours", {128: SIZES, 512: SIZES[:4]}, ("naive",), ("masked",)),
    Comparison("nt_xent", {128: (128, 256, 512, *SIZES[:4])}, ("lightly", "pml")),
    Comparison("sup_con", {128: SIZES[:4]}, ("pml_sup_con",)),
    Comparison("siglip", {128: SIZES[:4]}, ("naive_siglip",)),
    Comparison("frozen", {128: (65536, 262144)}, ()),
)
QUICK = (
    Comparison("ours", {128: (1024,)}, ("naive",), ("masked",)),
    Comparison("nt_xent", {128: (128,)}, ("lightly", "pml")),
    Comparison("sup_con", {128: (1024,)}, ("pml_sup_con",)),
    Comparison("siglip", {128: (1024,)}, ("naive_siglip",)),
)


def main() -> int:
    """Measure, print, write down."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--gpu", action="store_true", help="only what needs a GPU")
    options = parser.parse_args()
    figures: Figures = {}
    if not options.gpu:
        with threads(1):
            figures |= figures_on_cpu(quick=options.quick)
    if torch.cuda.is_available():
        figures |= figures_on_gpu(torch.device("cuda"), quick=options.quick)
    elif options.gpu:
        print("nothing to measure: torch finds no GPU", file=sys.stderr)
    if figures:
        report(figures, options.json, quick=options.quick)
    return 0


def figures_on_cpu(*, quick: bool) -> Figures:
    """Everything on one thread, but for the keys that end in `_threads`."""
    comparisons, seconds = (QUICK, 0.0) if quick else (COMPARISONS, SECONDS)
    check_agreement(comparisons)
    figures = headline(1024 if quick else 8192, seconds)
    for n, d in ((1024, 128),) if quick else ((4096, 128), (8192, 512)):
        with threads(os.cpu_count() or 1):
            taken = timed(("ours", "naive"), n, d, seconds)
        figures[f"speedup_{n}_d{d}_threads"] = figure(ratio_of_medians(taken["naive"], taken["ours"]), "times")
    for name, objective in (("", ours), ("naive_", naive)):
        figures |= prefixed(name, accuracy(objective, 512 if quick else 4096))
    for comparison in comparisons:
        figures |= compared(comparison, seconds)
    if "extra_mb_65536_d128" in figures:
        figures["extra_mb_65536"] = figures["extra_mb_65536_d128"]
    return figures


def timed(names: Iterable[str], n: int, d: int, seconds: float) -> dict[str, Seconds]:
    """Times of several objectives on the same vectors; each has gradients of its own."""
    return in_turns({name: step(OBJECTIVES[name], *sides(n, d)) for name in names}, seconds=seconds)


def headline(n: int, seconds: float) -> Figures:
    """How far from the floor, and what masks cost."""
    figures: Figures = {}
    for d in (128, 512):
        tell(f"floor, n = {n}, d = {d}")
        runs = {name: step(OBJECTIVES[name], *sides(n, d)) for name in ("ours", "masked")}
        floors = {f"{rows} x {columns}": four_products(*sides(n, d), (rows, columns)) for rows, columns in TILES}
        taken = in_turns({**runs, **floors}, seconds=seconds)
        lowest = min((taken[name] for name in floors), key=lambda found: float(np.median(found)))
        figures[f"floor_ratio_d{d}"] = figure(ratio_of_medians(taken["ours"], lowest), "times")
        if d == 128:
            ratio = ratio_of_medians(taken["masked"], taken["ours"])
            percent = (100 * (end - 1) for end in (ratio.value, ratio.low, ratio.high))
            figures["mask_overhead_pct"] = figure(Interval(*percent), "%")
    return figures


def accuracy(objective: Callable[..., Callable[[], Tensor]], n: int, d: int = 128) -> Figures:
    """Errors against the formula in float64, on pairs that are not alike: so that a cold loss is not nearly 0."""
    figures: Figures = {}
    x, y = sides(n, d, alike=0.0)
    for suffix, temperature in (("", TEMPERATURE), ("_cold", COLD)):
        exact = (side.detach().double().requires_grad_() for side in (x, y))
        right = loss_and_gradients(partial(naive, temperature=temperature), *exact)
        found = errors(loss_and_gradients(partial(objective, temperature=temperature), x, y), right)
        figures |= {f"{key}{suffix}": error for key, error in found.items()}
    return figures


def compared(comparison: Comparison, seconds: float) -> Figures:
    """One objective at all its sizes: memory, times, and how many times as long the peers take."""
    figures: Figures = {}
    for d, sizes in comparison.sizes.items():
        names = [name for name in (comparison.ours, *comparison.peers, *comparison.beside) if is_installed(name)]
        before: dict[str, Alone] = {}
        for n, n_before in zip(sizes, (sizes[0], *sizes), strict=False):
            tell(f"{', '.join(names)}: n = {n}, d = {d}")
            by_itself: dict[str, Alone] = {}
            for name in names:
                try:
                    by_itself[name] = once(name, n, d, before.get(name), n / n_before)
                except TooMuchError as reason:
                    tell(f"{name} cannot do n = {n}, d = {d}, nor more: {reason}")
            names, before = list(by_itself), by_itself
            if not names:
                break
            short = [name for name in names if by_itself[name].seconds < LONGEST_IN_TURNS]
            taken = timed(short, n, d, seconds) if short else {}
            figures |= figures_at(f"{n}_d{d}", by_itself, taken, comparison)
    return figures


def once(name: str, n: int, d: int, before: Alone | None, growth: float) -> Alone:
    """One call in a process of its own, unless it can be foreseen that it takes too long."""
    if before is not None and before.seconds * growth ** GROWTH.get(name, 2) > LONGEST_ALONE:
        raise TooMuchError(f"it would take more than {LONGEST_ALONE:.0f} s")
    if not has_peaks() and n > LARGEST_WITHOUT_LIMIT.get(name, 8192):
        raise TooMuchError("this system cannot say how much memory it takes, nor limit it")
    return alone(name, n, d, seconds=LONGEST_ALONE)


def figures_at(size: str, by_itself: dict[str, Alone], taken: dict[str, Seconds], comparison: Comparison) -> Figures:
    """What was measured at one size."""
    figures: Figures = {}
    for name, found in by_itself.items():
        prefix = "" if name == "ours" else f"{name}_"
        seconds = float(np.median(taken[name])) if name in taken else found.seconds
        figures[f"{prefix}seconds_{size}"] = figure(seconds, "s")
        if found.extra_bytes is not None:
            figures[f"{prefix}extra_mb_{size}"] = figure(found.extra_bytes / 1e6, "MB")
    for peer in comparison.peers:
        if peer in taken and comparison.ours in taken:
            prefix = "" if peer == "naive" else f"{peer}_"
            ratio = ratio_of_medians(taken[peer], taken[comparison.ours])
            figures[f"{prefix}speedup_{size}"] = figure(ratio, "times")
    return figures


def check_agreement(comparisons: Sequence[Comparison]) -> None:
    """That peers compute what we compute; says which are not installed.

    Raises:
        AssertionError: a peer computes something else.
    """
    for comparison in comparisons:
        right = step(OBJECTIVES[comparison.ours], *sides(64, 128))()
        for peer in comparison.peers:
            if is_installed(peer):
                torch.testing.assert_close(step(OBJECTIVES[peer], *sides(64, 128))(), right, rtol=1e-4, atol=0.0)
            else:
                tell(f"{peer} is left out: it is not installed, see the extra `bench` and the Makefile")


def tell(what: str) -> None:
    """One line to whoever waits."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
