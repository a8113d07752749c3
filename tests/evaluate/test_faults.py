from __future__ import annotations

from itertools import pairwise
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from nearfar.errors import DataError
from nearfar.evaluate.faults import FAULT_KINDS, inject_stream, inject_windows
from nearfar.recipe.series import FaultKind, Faults

CHANNELS = (0, 0, 0, 1, 2, 3, 4, 4)


def healthy(seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((200, 32, len(CHANNELS)), np.float32)


def inject(
    windows: npt.NDArray[np.float32], *kinds: FaultKind, seed: int = 1
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    changed, _, mask = inject_windows(windows, Faults(kinds=kinds), np.random.default_rng(seed), CHANNELS)
    return changed, mask


@pytest.mark.parametrize("kind", FAULT_KINDS)
@pytest.mark.parametrize("data", ["noise", "flat", "missing", "equal channels"])
def test_every_window_is_really_changed(kind: FaultKind, data: str) -> None:
    windows = healthy()
    if data == "flat":
        windows[:] = 0.25
    elif data == "missing":
        windows[np.random.default_rng(2).random(windows.shape) < 0.6] = np.nan
        windows[:, :, :3] = np.nan
    elif data == "equal channels":
        windows[:] = windows[:, :, :1]
    changed, mask = inject(windows, kind)
    assert mask.any(axis=(1, 2)).all()
    assert np.nanmax(np.abs(changed - windows), axis=(1, 2)).min() > 0.05
    assert (np.isnan(changed) == np.isnan(windows)).all()
    assert (changed == windows)[~mask & ~np.isnan(windows)].all()


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_only_a_suffix_and_some_channels_change(kind: FaultKind) -> None:
    _, mask = inject(healthy(), kind)
    per_channel = np.stack([mask[:, :, np.array(CHANNELS) == c].any(axis=(1, 2)) for c in range(5)], axis=1)
    assert per_channel.sum(axis=1).max() <= 3
    onset = mask.any(axis=2).argmax(axis=1)
    assert len(np.unique(onset)) > 5
    assert onset.max() <= 32 - 4 or kind in ("spike", "dropout", "flatline")
    if kind == "shift":
        touched = mask.any(axis=1)
        assert (touched[:, 0] == touched[:, 1]).all()
        assert (touched[:, 6] == touched[:, 7]).all()


def test_strengths_lie_in_their_range_and_are_even_on_a_logarithmic_scale() -> None:
    windows = healthy()
    changed, _ = inject(windows, "shift")
    moved = np.abs(changed - windows).max(axis=(1, 2))
    assert 0.49 < moved.min() < 0.7
    assert 3.0 < moved.max() < 4.01
    assert np.median(moved) == pytest.approx(np.sqrt(0.5 * 4.0), rel=0.25)


def test_a_ramp_is_whole_at_the_end_and_a_flatline_does_not_move() -> None:
    windows = healthy()
    ramp, mask = inject(windows, "ramp")
    away = np.abs(ramp - windows)
    assert away[:, -1] == pytest.approx(away.max(axis=1), abs=1e-5)
    assert mask[:, -1].any(axis=1).all()
    flat, mask = inject(windows, "flatline")
    for row, feature in np.argwhere(mask.any(axis=1)):
        assert np.ptp(flat[row, mask[row, :, feature].argmax() :, feature]) == 0


def test_a_swap_takes_the_values_of_another_channel_with_as_many_features() -> None:
    windows = healthy()
    changed, mask = inject(windows, "swap")
    hit = mask.any(axis=1)
    assert not hit[:, [0, 1, 2, 6, 7]].any()
    row = 0
    a, b = np.flatnonzero(hit[row])
    start = mask[row].any(axis=1).argmax()
    assert (changed[row, start:, a] == windows[row, start:, b]).all()
    assert (changed[row, start:, b] == windows[row, start:, a]).all()


def test_kinds_are_named_and_all_are_drawn() -> None:
    assert get_args(FaultKind) == FAULT_KINDS
    _, kinds, _ = inject_windows(healthy(), Faults(), np.random.default_rng(0), CHANNELS)
    assert set(kinds) == set(range(8))
    _, kinds, _ = inject_windows(healthy(), Faults(kinds=("swap", "spike")), np.random.default_rng(0), [0] * 8)
    assert {FAULT_KINDS[number] for number in kinds} == {"spike"}


def test_a_swap_alone_needs_two_alike_channels() -> None:
    with pytest.raises(DataError, match="no two channels"):
        inject_windows(healthy()[:, :, :3], Faults(kinds=("swap",)), np.random.default_rng(0), [0, 0, 1])


def test_the_same_seed_gives_the_same_faults() -> None:
    first, second = (inject(healthy(), *FAULT_KINDS, seed=5)[0] for _ in range(2))
    assert (first == second).all()
    assert (first != inject(healthy(), *FAULT_KINDS, seed=6)[0]).any()


def test_a_stream_has_all_kinds_apart_from_each_other() -> None:
    frames = np.random.default_rng(0).standard_normal((8000, len(CHANNELS)), np.float32)
    changed, labels, events = inject_stream(frames, Faults(), np.random.default_rng(1), CHANNELS)
    assert {event.kind for event in events[:8]} == set(FAULT_KINDS)
    assert all(30 <= event.end - event.start <= 300 for event in events)
    gaps = [after.start - before.end for before, after in pairwise(events)]
    assert min(gaps) >= 100
    assert sum(event.end - event.start for event in events) == labels.sum()
    assert (changed == frames)[labels == 0].all()
    for event in events:
        others = [f for f, channel in enumerate(CHANNELS) if channel not in event.channels]
        inside = slice(event.start, event.end)
        assert labels[inside].all()
        assert (changed[inside] != frames[inside]).any()
        assert (changed[inside, others] == frames[inside, others]).all()


def test_some_faults_of_a_stream_come_slowly() -> None:
    frames = np.zeros((20_000, 2), np.float32)
    changed, _, events = inject_stream(frames, Faults(kinds=("shift",)), np.random.default_rng(1), [0, 1])
    onsets = np.array([np.abs(changed[event.start]).max() / np.abs(changed[event.end - 1]).max() for event in events])
    assert (onsets > 0.99).any()
    assert (onsets < 0.2).any()


@pytest.mark.parametrize("frames", [8, 60, 400])
def test_a_short_stream_has_a_fault_too(frames: int) -> None:
    healthy_frames = np.random.default_rng(0).standard_normal((frames, 8), np.float32)
    _, labels, events = inject_stream(healthy_frames, Faults(), np.random.default_rng(1), CHANNELS)
    assert events
    assert not labels[0]


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        inject_stream(np.zeros((5, 2), np.float32), Faults(), np.random.default_rng(0), [0, 1])
