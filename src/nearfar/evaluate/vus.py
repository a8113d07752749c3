"""VUS-PR: area under precision and recall of intervals, averaged over how generous their edges are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearfar.errors import DataError

_Ints = npt.NDArray[np.int64]


def vus_pr(labels: npt.ArrayLike, scores: npt.ArrayLike, *, buffer: int = 100, thresholds: int = 250) -> float:
    """Volume under the surface of range-based precision and recall.

    Labels of when a fault began and ended are rough. So each labelled interval gets edges on both sides that count in part,
    `sqrt(1 - distance / w)` at up to w / 2 frames away, and the area under the curve is averaged over w = 0 ... buffer. Recall
    is multiplied by the share of intervals (joined where their edges touch) in which anything was found.

    Args:
        labels: (k,), not 0 where there is a fault.
        scores: (k,), higher is more alarming; NaN is never alarming.
        buffer: greatest w, in frames.
        thresholds: how many levels are tried, at evenly spaced ranks of the scores.

    Raises:
        DataError: labels are all the same.
        ValueError: shapes differ, or a setting is out of range.

    Source: Paparrizos et al., Volume Under the Surface, PVLDB 15(11), 2022, as TSB-AD computes it (Liu and Paparrizos, 2024).
    """
    faulty = np.asarray(labels).astype(bool)
    known = np.nan_to_num(np.asarray(scores, np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    if faulty.ndim != 1 or faulty.shape != known.shape:
        raise ValueError(f"labels {faulty.shape} and scores {known.shape} must be one-dimensional and as long")
    if buffer < 0 or thresholds < 2:
        raise ValueError(f"buffer {buffer} must be 0 or more, thresholds {thresholds} 2 or more")
    if faulty.all() or not faulty.any():
        raise DataError("VUS-PR needs both healthy and faulty frames, but all labels are the same")
    frames = len(faulty)
    levels = np.sort(known)[::-1][np.linspace(0, frames - 1, thresholds).astype(np.int64)]
    # The first level that each frame reaches; one more stands for "beyond the end".
    reached = np.append(np.searchsorted(-levels, -known, side="left"), thresholds)
    alarmed = np.cumsum(np.bincount(reached[:-1], minlength=thresholds))
    starts, ends = _runs(faulty)
    inside = np.cumsum(np.bincount(reached[:-1][faulty], minlength=thresholds))
    positives = float(faulty.sum())
    areas = np.empty(buffer + 1)
    for width in range(buffer + 1):
        places, weights = _edges(starts, ends, width, faulty)
        at_edges = np.cumsum(np.bincount(reached[places], weights=weights, minlength=thresholds))
        hits = inside + at_edges
        existence = _found(reached, *_joined(starts, ends, width // 2, frames), thresholds)
        recall = np.minimum(hits / (positives + at_edges / 2), 1.0) * existence
        areas[width] = np.diff(recall, prepend=0.0) @ (hits / alarmed)
    return float(areas.mean())


def _runs(flags: npt.NDArray[np.bool_]) -> tuple[_Ints, _Ints]:
    """First and last frames of the runs of True."""
    changes = np.diff(flags.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(changes == 1), np.flatnonzero(changes == -1) - 1


def _edges(
    starts: _Ints, ends: _Ints, width: int, faulty: npt.NDArray[np.bool_]
) -> tuple[_Ints, npt.NDArray[np.float64]]:
    """Frames near labelled intervals that are in none, and how much they count: at most 1, also where edges overlap."""
    distances = np.arange(1, width // 2 + 1)
    weights = np.sqrt(1 - distances / max(width, 1))
    places = np.concatenate([ends[:, None] + distances, starts[:, None] - distances]).ravel()
    # Before anything is laid out over all frames: edges of a long series touch few of them.
    kept = (places >= 0) & (places < len(faulty))
    kept[kept] = ~faulty[places[kept]]
    unique, owner = np.unique(places[kept], return_inverse=True)
    summed = np.bincount(owner, weights=np.tile(weights, 2 * len(starts))[kept], minlength=len(unique))
    return unique, np.minimum(summed, 1.0)


def _joined(starts: _Ints, ends: _Ints, reach: int, frames: int) -> tuple[_Ints, _Ints]:
    """Intervals with their edges, those that touch as one."""
    apart = ends[:-1] + reach < starts[1:] - reach
    first = np.concatenate([[True], apart])
    last = np.concatenate([apart, [True]])
    return np.maximum(starts[first] - reach, 0), np.minimum(ends[last] + reach, frames - 1)


def _found(reached: _Ints, starts: _Ints, ends: _Ints, thresholds: int) -> npt.NDArray[np.float64]:
    """Share of intervals with an alarm, at each level."""
    earliest = np.minimum.reduceat(reached, np.stack([starts, ends + 1], axis=1).ravel())[::2]
    return np.cumsum(np.bincount(earliest, minlength=thresholds)) / len(starts)
