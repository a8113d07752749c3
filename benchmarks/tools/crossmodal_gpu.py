"""The part `gpu` of benchmarks/crossmodal.py: samples a second and the largest batch in equal memory, beside open_clip.

On a machine with CUDA keys start with `gpu_`, and towers compute in bfloat16; elsewhere with `cpu_`, towers are small and compute in
float32 on one thread, and in place of the largest batch there is the peak of memory at an equal one. open_clip knows no gradient caching
for its plain step (its `--accum-freq` embeds everything twice as well, but keeps the matrix of the whole batch).
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch

from tools.crossmodal_clip import ON_CPU, ON_GPU, Size, Step, batch, open_clip_loss, our_step, their_step
from tools.latency import Seconds, ratio_of_medians
from tools.results import Figures, figure
from tools.trainings import peak_bytes
from tools.turns import in_turns, stopwatch_of, threads

SECONDS = 480.0
"""After so many a step is not tried that would take long, because a GPU is lent by the minute."""
MEMORY = 16 * 10**9
CHUNK = 1024
SLOWEST = 40.0
SIZES = (512, 2048, 8192)

_GET = "pip download --no-deps open_clip_torch, then unpack the wheel into a folder of PYTHONPATH"


def figures_of_clip(*, quick: bool) -> Figures:
    """All figures of this machine.

    Args:
        quick: one small batch.

    Raises:
        RuntimeError: the two do not compute the same loss.
    """
    objective = open_clip_loss()
    if objective is None:
        _tell(f"open_clip is left out: it is not installed ({_GET})")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        return _on_gpu(objective, device, quick=quick)
    with threads(1):
        return _on_cpu(objective, device, quick=quick)


def _on_cpu(objective: object | None, device: torch.device, *, quick: bool) -> Figures:
    _check_equal(objective, device)
    count, large, chunk = (64, 256, 32) if quick else (512, 4096, 128)
    figures = _speeds("cpu", ON_CPU, objective, device, (count,), half=False, seconds=2.0 if quick else 30.0)
    peaks: dict[str, int | None] = {"clip_chunked": chunk}
    if not quick:
        peaks |= {"clip": None} | ({"open_clip": None} if objective is not None else {})
    extra: dict[str, float] = {}
    for name, part in peaks.items():
        if quick:
            extra[name] = extra_bytes(name, large, part)
        else:  # a process of its own, because the peak of one never falls
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                extra[name] = pool.submit(extra_bytes, name, large, part).result()
        figures[f"cpu_{name}_extra_mb_{large}"] = figure(extra[name] / 1e6, "MB")
    if "open_clip" in extra:
        figures["cpu_clip_memory_vs_open_clip"] = figure(extra["open_clip"] / extra["clip_chunked"], "times")
    return figures


def extra_bytes(name: str, count: int, chunk: int | None) -> int:
    """How much the peak of this process grows by a step over `count` pairs, when it has done a small one."""
    device = torch.device("cpu")
    torch.set_num_threads(1)
    run = _step(name, ON_CPU, open_clip_loss(), device, half=False, chunk=chunk)
    run(batch(ON_CPU, 16, device))
    given = batch(ON_CPU, count, device)
    before = peak_bytes()
    run(given)
    return peak_bytes() - before


def _on_gpu(objective: object | None, device: torch.device, *, quick: bool) -> Figures:
    deadline = time.monotonic() + SECONDS
    _check_equal(objective, torch.device("cpu"))
    figures = _speeds("gpu", ON_GPU, objective, device, SIZES[:1] if quick else SIZES, half=True, seconds=20.0)
    whole = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, MEMORY / whole), device)
    figures["gpu_memory_gb"] = figure(min(whole, MEMORY) / 1e9, "GB")
    largest: dict[str, int] = {}
    try:
        for name in ("open_clip", "clip_chunked") if objective is not None else ("clip_chunked",):
            chunk = CHUNK if name == "clip_chunked" else None
            largest[name], full = _largest(
                partial(_step, name, ON_GPU, objective, device, half=True, chunk=chunk), device, deadline
            )
            figures[f"gpu_{name}_largest_batch"] = figure(largest[name], "pairs" if full else "pairs or more")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    if len(largest) == 2:
        figures["gpu_largest_batch_vs_open_clip"] = figure(largest["clip_chunked"] / largest["open_clip"], "times")
    return figures


def _speeds(
    prefix: str,
    size: Size,
    objective: object | None,
    device: torch.device,
    counts: tuple[int, ...],
    *,
    half: bool,
    seconds: float,
) -> Figures:
    """Samples a second of both at some batch sizes, in turns, and their ratio; without a number in the key, of the largest."""
    figures: Figures = {}
    for count in counts:
        names = ("clip", "clip_chunked", *(("open_clip",) if objective is not None else ()))
        try:
            given = batch(size, count, device)
            steps = {
                name: _step(name, size, objective, device, half=half, chunk=count // 4 if "chunked" in name else None)
                for name in names
            }
            runs = {name: partial(run, given) for name, run in steps.items()}
            for run in runs.values():
                run()
            taken = in_turns(runs, seconds=seconds, stopwatch=stopwatch_of(device))
        except torch.OutOfMemoryError as error:
            _tell(f"batch {count} is left out: {error}")
            continue
        finally:
            given = steps = runs = None  # type: ignore[assignment]
            _free()
        figures |= _of_times(prefix, taken, count)
    return figures


def _of_times(prefix: str, taken: dict[str, Seconds], count: int) -> Figures:
    figures: Figures = {}
    for name, found in taken.items():
        figures[f"{prefix}_{name}_samples_per_s_{count}"] = figure(count / float(np.median(found)), "1/s")
        if "open_clip" in taken and name != "open_clip":
            ratio = figure(ratio_of_medians(taken["open_clip"], found), "times")
            figures[f"{prefix}_{name}_throughput_vs_open_clip_{count}"] = ratio
            figures[f"{prefix}_{name}_throughput_vs_open_clip"] = ratio
    return figures


def _largest(make: partial[Step], device: torch.device, deadline: float) -> tuple[int, bool]:
    """The largest batch of 2^k or 3 * 2^k pairs that a step can do, and whether it was memory that set the end."""
    run, done, last = make(), 0, 0.0
    for count in (factor << power for power in range(6, 20) for factor in (4, 6)):
        if last > SLOWEST or time.monotonic() + 2 * last > deadline:
            return done, False
        try:
            given = batch(ON_GPU, count, device)
            started = time.monotonic()
            run(given)
            torch.cuda.synchronize(device)
            last = time.monotonic() - started
            done = count
        except torch.OutOfMemoryError:
            return done, True
        finally:
            given = None  # type: ignore[assignment]
            _free()
    return done, False


def _step(
    name: str, size: Size, objective: object | None, device: torch.device, *, half: bool, chunk: int | None
) -> Step:
    if name == "open_clip":
        return their_step(size, device, objective, half=half)
    return our_step(size, device, chunk=chunk, half=half)


def _check_equal(objective: object | None, device: torch.device) -> None:
    """Refuse to compare what is not the same."""
    if objective is None:
        return
    given = batch(ON_CPU, 48, device)
    ours, chunked = (our_step(ON_CPU, device, chunk=chunk, half=False) for chunk in (None, 20))
    theirs = their_step(ON_CPU, device, objective, half=False)
    for _ in range(3):  # after a step weights agree only where gradients did
        losses = [float(run(given)) for run in (ours, chunked, theirs)]
        if max(losses) - min(losses) > 1e-4:
            raise RuntimeError(f"the losses of nearfar, nearfar in chunks and open_clip differ: {losses}")


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
