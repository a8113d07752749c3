"""DET curves as a picture or as a page: false non-matches over false matches, both axes by normal deviates."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError, MissingExtraError
from nearfar.evaluate.verification import DetCurve
from nearfar.road.replay_style import DARK, LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Points = npt.NDArray[np.float64]

SUFFIXES = (".png", ".html")

_TICKS = (1e-4, 1e-3, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
_LEAST, _MOST = 5e-5, 0.97
_POINTS = 600
_COLOURS = ("line", "out", "label")
_SIZE, _LEFT, _TOP, _BELOW, _BESIDE = 560, 74, 24, 58, 24
_NAMES = {"bundle": "bundle", "pixels": "raw pixels", "spectrum": "log-mel bands"}


def write_det(curves: Mapping[str, DetCurve], path: Path, name: str, *, threshold: float | None = None) -> None:
    """Draw DET curves.

    Args:
        curves: by row, the one that counts last.
        path: a .png (needs matplotlib) or a .html (needs nothing).
        name: of the bundle.
        threshold: of the last curve, whose place is marked.

    Raises:
        DataError: the file is of another kind, or cannot be written.
        MissingExtraError: matplotlib is not installed.

    Source: Martin et al., The DET Curve in Assessment of Detection Task Performance, Eurospeech 1997.
    """
    check_plot(path)
    *_, last = curves.values()
    point = None
    if threshold is not None:
        at = int(np.count_nonzero(last.thresholds >= threshold)) - 1
        point = (float(last.fmr[at]), float(last.fnmr[at]))
    try:
        if path.suffix.lower() == ".html":
            path.write_text(_page(curves, name, point), "utf-8")
        else:
            _picture(curves, path, name, point)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}): check folder and permissions") from error


def check_plot(path: Path | None) -> None:
    """Refuse a picture that could not be written in the end.

    Raises:
        DataError: it is of another kind, or there is no such folder.
    """
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: curves are drawn as {' or '.join(SUFFIXES)}: give --plot such a name")
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}: make it first")


def _deviate(rate: float) -> float:
    return NormalDist().inv_cdf(min(max(rate, _LEAST), _MOST))


def _drawn(curve: DetCurve) -> tuple[Points, Points]:
    """Normal deviates of the rates where both lie within the axes, few enough to draw."""
    inside = np.flatnonzero(
        (curve.fmr >= _LEAST) & (curve.fnmr >= _LEAST) & (curve.fmr <= _MOST) & (curve.fnmr <= _MOST)
    )
    if len(inside) > _POINTS:
        # Evenly along the curve, not along the scores.
        x = np.array([_deviate(rate) for rate in curve.fmr[inside]])
        y = np.array([_deviate(rate) for rate in curve.fnmr[inside]])
        walked = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        inside = inside[np.unique(np.searchsorted(walked, np.linspace(0, walked[-1], _POINTS)))]
    rates = ((float(curve.fmr[at]), float(curve.fnmr[at])) for at in inside)
    points = np.array([(_deviate(fmr), _deviate(fnmr)) for fmr, fnmr in rates]).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def _percent(rate: float) -> str:
    return f"{100 * rate:g} %"


def _page(curves: Mapping[str, DetCurve], name: str, point: tuple[float, float] | None) -> str:
    low, high = _deviate(_LEAST), _deviate(_MOST)

    def x(deviate: float) -> float:
        return _LEFT + _SIZE * (deviate - low) / (high - low)

    def y(deviate: float) -> float:
        return _TOP + _SIZE * (high - deviate) / (high - low)

    parts = []
    for tick in _TICKS:
        at = _deviate(tick)
        parts.append(
            f'<path class="rule" d="M{x(at):.1f} {_TOP}V{_TOP + _SIZE}M{_LEFT} {y(at):.1f}H{_LEFT + _SIZE}"/>'
            f'<text class="x" x="{x(at):.1f}" y="{_TOP + _SIZE + 18}">{_percent(tick)}</text>'
            f'<text class="y" x="{_LEFT - 8}" y="{y(at) + 4:.1f}">{_percent(tick)}</text>'
        )
    parts.append(f'<path class="equal" d="M{x(low):.1f} {y(low):.1f}L{x(high):.1f} {y(high):.1f}"/>')
    legend = []
    for (row, curve), colour in zip(reversed(list(curves.items())), _COLOURS, strict=False):
        along, up = _drawn(curve)
        if len(along):
            line = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in zip(along.tolist(), up.tolist(), strict=True))
            parts.append(f'<path class="curve" style="stroke:var(--{colour})" d="M{line}"/>')
        shown = "" if len(along) else " (no errors to draw)"
        legend.append(f'<span><i style="background:var(--{colour})"></i>{escape(_NAMES.get(row, row))}{shown}</span>')
    if point is not None:
        fmr, fnmr = point
        parts.append(
            f'<circle class="at" cx="{x(_deviate(fmr)):.1f}" cy="{y(_deviate(fnmr)):.1f}" r="5"><title>threshold: FMR {_percent(fmr)}, '
            f"FNMR {_percent(fnmr)}</title></circle>"
        )
        legend.append('<span><i class="dot"></i>the threshold</span>')
    middle = _LEFT + _SIZE / 2
    parts.append(f'<text class="x" x="{middle}" y="{_TOP + _SIZE + 44}">false match rate</text>')
    parts.append(
        f'<text class="x" transform="translate(16 {_TOP + _SIZE / 2}) rotate(-90)">false non-match rate</text>'
    )
    width, height = _LEFT + _SIZE + _BESIDE, _TOP + _SIZE + _BELOW
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(name)}: DET</title>'
    )
    return (
        f'<!doctype html><html lang="en"><head>{head}<style>{_css()}</style></head><body><h1>{escape(name)}</h1>'
        f'<p>{"".join(legend)}</p><svg viewBox="0 0 {width} {height}" role="img" aria-label="DET curves">{"".join(parts)}</svg>'
        "</body></html>\n"
    )


def _css() -> str:
    light, dark = (";".join(f"--{key}:{value}" for key, value in side.items()) for side in (LIGHT, DARK))
    return (
        f":root{{{light};color-scheme:light dark}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        "body{margin:0 auto;padding:28px 24px;max-width:760px;background:var(--paper);color:var(--ink);font:14px system-ui,sans-serif}"
        "h1{font-size:20px}p{color:var(--faint)}p span{margin-right:18px}i{display:inline-block;width:18px;height:3px;margin-right:6px;"
        "vertical-align:middle}i.dot{width:9px;height:9px;border-radius:50%;background:var(--alarm)}svg{width:100%}"
        "text{font-size:12px;fill:var(--faint)}text.x{text-anchor:middle}text.y{text-anchor:end}.rule{stroke:var(--rule)}"
        ".equal{stroke:var(--out);stroke-dasharray:3 4}.curve{fill:none;stroke-width:2.2;stroke-linejoin:round}"
        ".at{fill:var(--alarm);stroke:var(--paper);stroke-width:1.5}"
    )


def _picture(curves: Mapping[str, DetCurve], path: Path, name: str, point: tuple[float, float] | None) -> None:
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("plot", "a DET curve as .png (as .html it needs nothing)") from error
    looks: Any = {"font.family": "sans-serif", "font.size": 9, "text.color": LIGHT["ink"]}
    with rc_context(looks):
        figure = Figure(figsize=(6.6, 6.6), dpi=130, facecolor=LIGHT["paper"], layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        _axes(axes)
        for (row, curve), colour in zip(reversed(list(curves.items())), _COLOURS, strict=False):
            along, up = _drawn(curve)
            label = _NAMES.get(row, row) + ("" if len(along) else " (no errors to draw)")
            axes.plot(along, up, color=LIGHT[colour], linewidth=1.8, label=label)
        if point is not None:
            at = [_deviate(rate) for rate in point]
            label = f"threshold: FMR {100 * point[0]:.2g} %, FNMR {100 * point[1]:.2g} %"
            axes.plot(at[:1], at[1:], "o", color=LIGHT["alarm"], markersize=6, label=label, clip_on=False)
        axes.set_title(name, loc="left", fontsize=11)
        axes.legend(frameon=False, loc="upper right")
        figure.savefig(path)


def _axes(axes: Axes) -> None:
    places = [_deviate(tick) for tick in _TICKS]
    ends = (_deviate(_LEAST), _deviate(_MOST))
    axes.plot(ends, ends, color=LIGHT["out"], linewidth=0.8, linestyle=(0, (3, 4)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(places, [_percent(tick).replace(" ", "") for tick in _TICKS])
    axes.tick_params(colors=LIGHT["faint"], length=0)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_aspect("equal")
    axes.grid(color=LIGHT["rule"])
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel("false match rate")
    axes.set_ylabel("false non-match rate")
