"""Which windows there are, which belong together, and that a batch is a function of seed and step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_series import machine, series_recipe, write_machines

from nearfar.errors import DataError
from nearfar.learn.data.batches import Share
from nearfar.learn.data.frames import SeriesCorpus, prepare_series
from nearfar.learn.data.split import TEST, TRAIN, VALIDATION
from nearfar.learn.data.windows import WindowRows, Windows
from nearfar.learn.views.series import WindowViews
from nearfar.recipe import Recipe
from nearfar.recipe.series import HealthyPairing
from nearfar.simulate import write_csv
from nearfar.sources.recording import Recording

PLAIN = "views={jitter: 0.0, scale: 0.0, mask: 0.0, channel_dropout: 0.0}"


def prepared(recipe: Recipe, folder: Path) -> SeriesCorpus:
    return prepare_series(recipe.data, recipe.of_series.frontend, folder)


def rows_of(recipe: Recipe, corpus: SeriesCorpus) -> WindowRows:
    parts = recipe.of_series
    pairing = recipe.data.pairings[0]
    assert isinstance(pairing, HealthyPairing)
    views = WindowViews(parts.views, corpus.settings.channel_of_feature)
    return WindowRows.of(corpus, views, pairing=pairing, method=parts.method, seed=recipe.seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three machines, one of them short; faults, operating points, and an hour in which a sensor says nothing."""
    folder = tmp_path_factory.mktemp("machines")
    broken = machine("m1", 1500, seed=1, labels=[(300, 340)], regimes=True)
    values = broken.values.copy()
    values[500:560] = np.nan
    other = [machine("m0", 1500, labels=[], regimes=True), machine("m2", 400, seed=2, labels=[], regimes=True)]
    whole = Recording("m1", broken.channels, broken.times, values, broken.labels, broken.regime)
    write_csv([*other, whole], folder / "in")
    return folder


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return series_recipe(folder / "in", "data.source.columns={label: label, regime: regime}", PLAIN)


@pytest.fixture(scope="module")
def corpus(folder: Path, recipe: Recipe) -> SeriesCorpus:
    return prepared(recipe, folder / "out")


def test_windows_lie_within_a_side_and_hold_no_fault(corpus: SeriesCorpus) -> None:
    for side in (TRAIN, VALIDATION, TEST):
        windows = Windows.of(corpus, side)
        for number in range(0, len(windows), 7):
            one, end = corpus.machines[windows.machines[number]], windows.ends[number]
            assert set(one.side[end - 32 : end].tolist()) == {side}
            assert not one.labels[end - 32 : end].any()
    train = Windows.of(corpus, TRAIN)
    assert train.left_out["labelled as faults"] == 40 + 31
    assert train.left_out["too much missing"] > 0
    present = np.isfinite(train.frames(np.arange(len(train)))).mean(axis=(1, 2))
    assert present.min() == pytest.approx(0.5, abs=0.05)


def test_a_recovered_window_is_healthy_at_its_end_only(recipe: Recipe, corpus: SeriesCorpus) -> None:
    rows = replace(rows_of(recipe, corpus), recovered=1.0)
    numbers = np.arange(0, len(rows.windows), 9)
    plain, _ = rows.windows.scaled(numbers)
    recovered, _ = rows._healthy(numbers, np.random.default_rng(0))
    changed = (recovered != plain).any(axis=2)
    assert not changed[:, -4:].any()
    assert changed[:, :-4].any(axis=1).mean() > 0.5  # a fault that begins late is over before it began


def test_each_machine_has_scales_of_its_own(corpus: SeriesCorpus) -> None:
    train = Windows.of(corpus, TRAIN)
    for number in range(len(corpus.machines)):
        values, present = train.scaled(np.flatnonzero(train.machines == number))
        centre = np.median(values[present > 0])
        assert abs(centre) < 0.3


def test_a_short_machine_has_as_many_rows_as_a_long_one(recipe: Recipe, corpus: SeriesCorpus) -> None:
    rows = rows_of(recipe, corpus)
    batch = rows[Share(0, np.arange(len(rows)))].batch
    assert np.bincount(batch.machines.numpy()).tolist() == [len(rows) // 3] * 3


def test_a_pair_is_of_one_machine_and_operating_point(recipe: Recipe, corpus: SeriesCorpus) -> None:
    rows = rows_of(recipe, corpus)
    first = rows._first(np.arange(300) % len(rows), np.random.default_rng(0).random(300))
    draws = np.random.default_rng(1).random(300)
    for near in (True, False):
        second = rows._second(first, np.full(300, 0.0 if near else 0.9), draws)
        np.testing.assert_array_equal(rows.windows.groups[first], rows.windows.groups[second])
        away = np.abs(rows.windows.ends[first] - rows.windows.ends[second])
        assert (away.max() <= 4 * 32) == near, "neighbours lie within four windows"
    one = corpus.machines
    windows = rows.windows
    regimes = [int(one[m].regimes[e - 1]) for m, e in zip(windows.machines, windows.ends, strict=True)]
    groups = set(zip(windows.machines.tolist(), regimes, strict=True))
    assert len(groups) == len(np.unique(windows.groups)) == 6


def test_every_window_comes_up_sooner_or_later(recipe: Recipe, corpus: SeriesCorpus) -> None:
    rows = rows_of(recipe, corpus)
    numbers, seen = np.arange(len(rows)), set()
    for step in range(60):
        seen |= set(rows._first(numbers, np.random.default_rng(step).random(len(rows))).tolist())
    assert len(seen) > 0.95 * len(rows.windows)


def test_a_batch_holds_pairs_and_faults_of_them(recipe: Recipe, corpus: SeriesCorpus) -> None:
    more = series_recipe(
        Path("unused"),
        "data.source.columns={label: label, regime: regime}",
        PLAIN,
        method="{kind: fault_contrast, per_window: 2}",
    )
    rows = rows_of(more, corpus)
    batch = rows[Share(3, np.arange(40))].batch
    assert batch.windows.shape == (40, 4, 32, 4)
    for fault, healthy in ((2, 0), (3, 1)):
        changed = batch.windows[:, fault] != batch.windows[:, healthy]
        assert bool(changed.any(dim=(1, 2)).all()), "every window has its fault"
        assert torch.equal(batch.present[:, fault], batch.present[:, healthy])
    assert bool((batch.windows[batch.present == 0] == 0).all())
    assert batch.windows.abs().max() <= corpus.settings.clip


def test_shares_of_ranks_are_the_batch_of_one(recipe: Recipe, corpus: SeriesCorpus) -> None:
    noisy = series_recipe(
        Path("unused"), "data.source.columns={label: label, regime: regime}", "views={crop: [0.5, 1.0]}"
    )
    rows = rows_of(noisy, corpus)
    numbers = np.array([5, 3, 9, 1, 0])
    whole, again = rows[Share(7, numbers)], rows[Share(7, numbers)]
    assert torch.equal(whole.batch.windows, again.batch.windows)
    assert not torch.equal(whole.batch.windows, rows[Share(8, numbers)].batch.windows)
    for rank in (0, 1):
        part = rows[Share(7, numbers, rank, 2)]
        for one, other in zip(part.batch, whole.batch, strict=True):
            assert torch.equal(one, other[rank::2])
        for drawn, of_all in zip(part.draws, whole.draws, strict=True):
            assert drawn is None or (of_all is not None and torch.equal(drawn, of_all[rank::2]))


def test_too_little_data_is_said_with_its_numbers(tmp_path: Path) -> None:
    recipe = series_recipe(write_machines(tmp_path / "in", 1, seconds=40))
    with pytest.raises(
        DataError, match=r"only 0 healthy windows of 32 frames to train on \(40 frames of 1 machines, 2\d of them"
    ):
        rows_of(recipe, prepared(recipe, tmp_path / "out"))
