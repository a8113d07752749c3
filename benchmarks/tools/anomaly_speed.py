"""What a monitor costs on one core: time of a sample, samples a second, memory. Each in a process that does nothing else.

python -m tools.anomaly_speed WHAT BUNDLE SAMPLES
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.edge.monitor.monitor import Monitor
    from tools.results import Figures

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_BLOCK: Final = 1_000
_WARM_UP: Final = 2_000
_CYCLE: Final = 100_000  # samples that are fed over and over, so that making them costs nothing


def measure_speed(bundles: dict[str, Path], *, quick: bool) -> Figures:
    """Figures of the bundles `raw` and `embedding` (8 channels, each sample a frame) and `fast` (8 channels at 10 kHz, 1 s frames)."""
    from tools.results import figure

    singles, many, endless = (500, 20_000, 200_000) if quick else (10_000, 1_000_000, 10_000_000)
    found: Figures = {}
    for name, suffix in (("embedding", ""), ("raw", "_raw")):
        one = _alone("single", bundles[name], singles)
        found[f"window_p50_ms{suffix}"] = figure(one["p50_ms"], "ms")
        found[f"window_p99_ms{suffix}"] = figure(one["p99_ms"], "ms")
    for name, suffix, samples in (("raw", "", many), ("embedding", "_embedding", many // 10), ("fast", "_fast", many)):
        block = _alone("blocks", bundles[name], samples)
        found[f"samples_per_second{suffix}"] = figure(block["samples_per_second"], "1/s")
        found[f"rss_mb{suffix}"] = figure(block["peak_mb"], "MB")
    found["replay_24h_s"] = figure(_replay(bundles["embedding"], 7_200 if quick else 86_400), "s")
    grown = _alone("growth", bundles["raw"], endless)
    found["memory_growth_mb"] = figure(grown["grown_mb"], "MB")
    found["memory_growth_samples"] = figure(endless)
    return found


def _alone(what: str, bundle: Path, samples: int) -> dict[str, float]:
    output = _run(["-m", "tools.anomaly_speed", what, str(bundle), str(samples)])
    told: dict[str, float] = json.loads(output.splitlines()[-1])
    return told


def _replay(bundle: Path, seconds: int) -> float:
    """The whole command, from a CSV file at 1 Hz to the page that shows it."""
    from nearfar.simulate import Plant, simulate_plant, write_csv

    with tempfile.TemporaryDirectory(prefix="nearfar-") as folder:
        (file,) = write_csv(simulate_plant(Plant(), seconds, seed=1), Path(folder))
        started = time.perf_counter()
        _run(["-m", "nearfar", "replay", str(bundle), str(file), "-o", str(Path(folder) / "day.html")])
        return time.perf_counter() - started


def _run(arguments: list[str]) -> str:
    """What Python says, in a process of its own with one thread."""
    folder = str(Path(__file__).resolve().parents[1])
    environment = os.environ | dict.fromkeys(_THREADS, "1")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    ended = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {ended.returncode}:\n{ended.stderr}")
    return ended.stdout


def _single(monitor: Monitor, values: npt.NDArray[np.float32], rate: float, samples: int) -> dict[str, float]:
    """Time of one sample of all channels that makes one frame, from the numbers to the decision."""
    import numpy as np

    monitor.update(values[:_WARM_UP], np.arange(_WARM_UP) / rate)
    taken = np.empty(samples)
    for i in range(samples):
        row, at = values[(_WARM_UP + i) % len(values)], (_WARM_UP + i) / rate
        started = time.perf_counter()
        monitor.update(row, at)
        taken[i] = time.perf_counter() - started
    p50, p99 = np.percentile(taken, [50, 99]) * 1e3
    return {"p50_ms": float(p50), "p99_ms": float(p99)}


def _blocks(monitor: Monitor, values: npt.NDArray[np.float32], rate: float, samples: int) -> dict[str, float]:
    """Samples a second in blocks of 1,000, and the peak of the memory of the whole process, interpreter and all."""
    started = time.perf_counter()
    _feed(monitor, values, rate, 0, samples)
    seconds = time.perf_counter() - started
    return {"samples_per_second": samples / seconds, "peak_mb": _memory("VmHWM")}


def _growth(monitor: Monitor, values: npt.NDArray[np.float32], rate: float, samples: int) -> dict[str, float]:
    """By how much memory grows from a tenth of a long stream to its end."""
    _feed(monitor, values, rate, 0, samples // 10)
    before = _memory("VmRSS")
    _feed(monitor, values, rate, samples // 10, samples)
    return {"grown_mb": _memory("VmRSS") - before}


def _feed(monitor: Monitor, values: npt.NDArray[np.float32], rate: float, first: int, last: int) -> None:
    import numpy as np

    for start in range(first, last, _BLOCK):
        at = start % len(values)
        monitor.update(values[at : at + _BLOCK], np.arange(start, start + _BLOCK) / rate)
        monitor.drain()


def _memory(key: str) -> float:
    """Megabytes (10^6 bytes) as Linux tells them."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"this system does not tell {key}")


_PARTS: Final[dict[str, Callable[..., dict[str, float]]]] = {
    "single": _single,
    "blocks": _blocks,
    "growth": _growth,
}


def main() -> int:
    """Measure one part and print it as JSON."""
    import numpy as np

    from nearfar.edge.monitor.monitor import Monitor

    what, bundle, samples = sys.argv[1], sys.argv[2], int(sys.argv[3])
    monitor = Monitor.open(bundle)
    channels = monitor.detector.settings.channels
    rate = channels[0].rate or 1 / monitor.detector.settings.period
    rng = np.random.default_rng(0)
    if channels[0].rate is None:
        centre, scale = (np.array([getattr(c, of)[0] for c in channels]) for of in ("centre", "scale"))
    else:
        centre, scale = np.zeros(len(channels)), np.ones(len(channels))
    # Drawn in float32 at once: arrays that are only there to make these would count as memory of the monitor.
    values = rng.standard_normal((_CYCLE, len(channels)), np.float32)
    values *= scale.astype(np.float32)
    values += centre.astype(np.float32)
    print(json.dumps(_PARTS[what](monitor, values, rate, samples)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
