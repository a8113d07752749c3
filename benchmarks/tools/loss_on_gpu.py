"""InfoNCE in both directions on one GPU, bfloat16 unit vectors given and compared by inner product.

Keys end in `_{n}_d{d}`. `gpu_ms` is the median of forward and backward, by CUDA events, in turns; `gpu_gb` the peak of
allocated memory, vectors, gradients and ids included.

- keys without prefix: one positive each; `masked_`: with the masks of a dual encoder; `two_positives_`: with these masks and
  two positives for each anchor.
- `floor_`: the four matrix products of the same size with torch.mm, in the fastest of several tilings; `floor_ratio` is our
  time over that.
- `compiled_`: torch.compile of the plain loss (at d = 512, n doubled until it fails); `speedup` is its time over ours.
- `siglip_kernel_`: the package of that name, which is another loss with three products, and keeps gradients where we recompute.
- `gpu_loss_error`, `gpu_gradient_error` at n = 4096: relative, bfloat16 on the GPU against our float32 tiles on the CPU on the
  same vectors; `gpu_float32_` likewise for float32 on the GPU.

Sizes are taken in order of importance, and what would not fit into the time is passed over, which is said. Every function
runs on the CPU as well, where memory is not measured.
"""

from __future__ import annotations

import gc
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor

from tools.accuracy import errors, loss_and_gradients
from tools.latency import Seconds, ratio_of_medians
from tools.objectives import (
    SIGMOID_BIAS,
    SIGMOID_TEMPERATURE,
    TEMPERATURE,
    Objective,
    masked,
    naive_loss,
    ours,
    sides,
    step,
)
from tools.products import four_products
from tools.results import Figures, figure, prefixed
from tools.turns import in_turns, stopwatch_of

Run = Callable[[], object]
Plan = Sequence[tuple[int, int, tuple[str, ...]]]
"""n, d, and what is measured with them."""

SECONDS = 480.0
HEADLINE_DIM, HEADLINE_SECONDS, OTHER_SECONDS = 512, 130.0, 5.0
FLOOR, COMPILED, SIGLIP_KERNEL = "floor_", "compiled_", "siglip_kernel_"
TILES = ((8192, 8192), (8192, 65536), (65536, 65536))
OURS = ("", "masked_", "two_positives_")
PLAN: Plan = (
    (65_536, 512, (FLOOR, *OURS, SIGLIP_KERNEL, COMPILED)),
    (131_072, 512, ("", COMPILED)),
    (262_144, 512, ("", COMPILED)),
    (65_536, 256, (FLOOR, *OURS)),
    (65_536, 1024, (FLOOR, *OURS)),
    (1_048_576, 512, (FLOOR, *OURS, SIGLIP_KERNEL)),
    (1_048_576, 256, (FLOOR, *OURS)),
    (1_048_576, 1024, (FLOOR, *OURS)),
)
QUICK: Plan = ((2048, 128, (FLOOR, *OURS, SIGLIP_KERNEL, COMPILED)),)


def figures_on_gpu(device: torch.device, *, quick: bool, plan: Plan | None = None) -> Figures:
    """All figures of one GPU.

    Args:
        device: where; on the CPU no memory is measured.
        quick: one small size.
        plan: instead of the sizes that are usual.
    """
    deadline = time.monotonic() + SECONDS
    bench = _Bench(device, deadline, {})
    figures = _accuracy(device, 1024 if quick else 4096)
    for n, d, names in plan or (QUICK if quick else PLAN):
        try:
            figures |= prefixed("gpu_", bench.size(n, d, names))
        # Whatever goes wrong at one size must not take along the figures of the others: a GPU is lent by the minute.
        except Exception as error:
            _tell(f"GPU: n = {n}, d = {d} failed: {type(error).__name__}: {error}")
    return figures


def _accuracy(device: torch.device, n: int, d: int = 512) -> Figures:
    figures: Figures = {}
    half = [side.detach() for side in sides(n, d, dtype=torch.bfloat16, device=device)]
    for prefix, objective in (("", ours), ("masked_", masked)):
        compute = partial(objective, similarity="dot")
        right = loss_and_gradients(compute, *(side.float().cpu().requires_grad_() for side in half))
        for name, dtype in (("", torch.bfloat16), ("float32_", torch.float32)):
            found = loss_and_gradients(compute, *(side.clone().to(dtype).requires_grad_() for side in half))
            figures |= prefixed(f"gpu_{prefix}{name}", errors(found, right))
    return figures


@dataclass
class _Bench:
    """Measures one size after the other.

    Attributes:
        device: where.
        deadline: by `time.monotonic`; what would not end before is passed over.
        pace: seconds for each pair and dimension, of everything measured so far; infinite for what failed.
    """

    device: torch.device
    deadline: float
    pace: dict[tuple[str, int], float]

    def size(self, n: int, d: int, names: tuple[str, ...]) -> Figures:
        """Memory and time of each by a first call, then times in turns."""
        x, y = sides(n, d, dtype=torch.bfloat16, device=self.device)
        makers = self._makers(n, d, names, x, y)
        figures: Figures = {}
        first: dict[str, float] = {}
        for name, make in makers.items():
            # One call now, and one in turns with what has been called before.
            expected = self.pace.get((name, d), 0.0) * n * n * d
            if time.monotonic() + 2 * expected + sum(first.values()) > self.deadline:
                _tell(f"GPU: no {name or 'ours'} at n = {n}, d = {d}: it failed at a smaller size, or time is up")
                continue
            seconds, peak = self._first_call(name, make, n, d, x, y)
            if seconds is not None:
                first[name] = seconds
                if peak is not None and not name.startswith(FLOOR):
                    figures[f"{name}gb_{n}_d{d}"] = figure(peak / 1e9, "GB")
        wanted = HEADLINE_SECONDS if d == HEADLINE_DIM else OTHER_SECONDS
        left = self.deadline - time.monotonic()
        if not first or sum(first.values()) > left:
            return figures
        runs = {name: makers[name]() for name in first}
        taken = in_turns(
            runs,
            seconds=min(wanted, left),
            fewest=1,
            turn_seconds=sum(first.values()),
            stopwatch=stopwatch_of(self.device),
        )
        self.pace |= {(name, d): float(np.median(found)) / (n * n * d) for name, found in taken.items()}
        return figures | _times(taken, f"{n}_d{d}")

    def _makers(self, n: int, d: int, names: tuple[str, ...], x: Tensor, y: Tensor) -> dict[str, Callable[[], Run]]:
        """What makes each ready; the floor once for every tiling, or for the one that was the fastest at a smaller n."""
        makers: dict[str, Callable[[], Run]] = {}
        for name in names:
            if name != FLOOR:
                if name in _objectives():
                    makers[name] = partial(step, _objectives()[name], x, y)
                else:
                    _tell(f"GPU: {name.rstrip('_')} is left out: it is not installed")
                continue
            tilings = {f"{FLOOR}{rows}x{columns}": (rows, columns) for rows, columns in TILES}
            known = [tiling for tiling in tilings if (tiling, d) in self.pace]
            best = min(known, key=lambda tiling: self.pace[tiling, d]) if known else None
            for tiling, shape in tilings.items():
                if best in (None, tiling):
                    makers[tiling] = partial(four_products, x, y, shape)
        return makers

    def _first_call(
        self, name: str, make: Callable[[], Run], n: int, d: int, x: Tensor, y: Tensor
    ) -> tuple[float | None, int | None]:
        """Seconds and peak bytes of one call, where need be after one that compiles; None where it failed."""
        x.grad = y.grad = None
        _free()
        on_gpu = self.device.type == "cuda"
        try:
            run = make()
            if name == COMPILED or (name, d) not in self.pace:
                run()
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(self.device)
            seconds = stopwatch_of(self.device)(run)
            return seconds, torch.cuda.max_memory_allocated(self.device) if on_gpu else None
        except Exception as error:
            _tell(f"GPU: {name or 'ours'} cannot do n = {n}, d = {d}: {type(error).__name__}: {error}")
            self.pace[name, d] = math.inf
            return None, None


def _times(taken: dict[str, Seconds], size: str) -> Figures:
    """Medians, and the ratios to the floor and of the compiled loss to ours."""
    figures: Figures = {}
    floors = {name: found for name, found in taken.items() if name.startswith(FLOOR)}
    others = {name: found for name, found in taken.items() if name not in floors}
    if floors:
        lowest = min(floors.values(), key=lambda found: float(np.median(found)))
        ratios = {name: ratio_of_medians(found, lowest) for name, found in others.items() if name in OURS}
        figures |= {f"{name}floor_ratio_{size}": figure(ratio, "times") for name, ratio in ratios.items()}
        others[FLOOR] = lowest
    figures |= {f"{name}ms_{size}": figure(float(np.median(found)) * 1e3, "ms") for name, found in others.items()}
    if COMPILED in taken and "" in taken:
        figures[f"speedup_{size}"] = figure(ratio_of_medians(taken[COMPILED], taken[""]), "times")
    return figures


def _objectives() -> dict[str, Objective]:
    """By the prefix of their keys; vectors are taken as they are, for these are of unit length."""
    found: dict[str, Objective] = {
        "": partial(ours, similarity="dot"),
        "masked_": partial(masked, similarity="dot"),
        "two_positives_": partial(masked, positives=2, similarity="dot"),
        COMPILED: _compiled,
    }
    if importlib.util.find_spec("siglip_kernel") is not None:
        found[SIGLIP_KERNEL] = _siglip_kernel
    return found


def _compiled(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    own = torch.arange(len(x), device=x.device)
    return lambda: _compiled_naive_loss()(x, y, own, TEMPERATURE, "dot")


@cache
def _compiled_naive_loss() -> Callable[..., Tensor]:
    return torch.compile(naive_loss, dynamic=False)


def _siglip_kernel(x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    from siglip_kernel import fused_siglip_loss

    log_scale = torch.tensor(-math.log(SIGMOID_TEMPERATURE), device=x.device)
    bias = torch.tensor(SIGMOID_BIAS, device=x.device)
    return lambda: fused_siglip_loss(x, y, log_scale, bias)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
