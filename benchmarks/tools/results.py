"""Figures of a benchmark: on the screen as a table, and in a JSON file together with the machine they come from."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from nearfar.evaluate import Interval

Figures = dict[str, dict[str, float | str | None]]
"""Key in snake_case -> value, low, high, unit; low and high are None where there is no interval."""

_VERSIONS = (
    "nearfar",
    "onnxruntime",
    "faiss-cpu",
    "torch",
    "triton",
    "sentence-transformers",
    "model2vec",
    "scikit-learn",
    "bm25s",
    "implicit",
    "lightly",
    "pytorch-metric-learning",
    "siglip-kernel",
)


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the public data sets, one folder each")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--quick", action="store_true", help="under a minute; shows that everything runs, not how well")
    parser.add_argument("--work", type=Path, help="keep runs, bundles and indexes there; by default they are removed")
    return parser


def figure(value: float | Interval, unit: str = "") -> dict[str, float | str | None]:
    """One figure; an end that is not finite is None, because JSON has no infinity."""
    ends: dict[str, float | None]
    if isinstance(value, Interval):
        ends = {"value": value.value, "low": value.low, "high": value.high}
    else:
        ends = {"value": float(value), "low": None, "high": None}
    return {
        **{name: end if end is not None and math.isfinite(end) else None for name, end in ends.items()},
        "unit": unit,
    }


def machine(*, quick: bool) -> dict[str, str | int]:
    """What the figures were measured on and with."""
    found: dict[str, str | int] = {"processor": _processor(), "cores": os.cpu_count() or 1}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB"
    found["system"] = f"{platform.system()} {platform.machine()}"
    found["python"] = platform.python_version()
    for package in _VERSIONS:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if quick:
        found["scope"] = "quick, not for comparison"
    return found


def report(figures: Figures, target: Path | None, *, quick: bool) -> None:
    """Print the figures, and write them to `target` if there is one."""
    width = max(map(len, figures))
    print()
    for key, measured in figures.items():
        print(f"{key:<{width}}  {_as_text(measured)}")
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": machine(quick=quick), "figures": figures}
        target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def prefixed(prefix: str, figures: Mapping[str, dict[str, float | str | None]]) -> Figures:
    """The same figures, every key with `prefix` before it."""
    return {f"{prefix}{key}": measured for key, measured in figures.items()}


def _as_text(measured: dict[str, float | str | None]) -> str:
    def number(value: float | str | None) -> str:
        return f"{value:,.4g}" if isinstance(value, float) else "-"

    interval = f"  [{number(measured['low'])}, {number(measured['high'])}]" if measured["low"] is not None else ""
    return f"{number(measured['value']):>9} {measured['unit'] or '':<6}{interval}".rstrip()


def _processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
