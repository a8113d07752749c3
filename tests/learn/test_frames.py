"""Sensor data on disk to a corpus: split in time, what is normal told by what trains, whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_series import START, machine, series_recipe, write_machines

from nearfar.errors import DataError
from nearfar.learn.data.frames import SeriesCorpus, prepare_series
from nearfar.learn.data.split import DROPPED, TEST, TRAIN, VALIDATION
from nearfar.recipe import Recipe
from nearfar.simulate import write_csv
from nearfar.sources.recording import Channel, Recording


def prepared(recipe: Recipe, folder: Path) -> SeriesCorpus:
    return prepare_series(recipe.data, recipe.of_series.frontend, folder)


def test_each_machine_is_split_in_time_with_a_window_between(tmp_path: Path) -> None:
    corpus = prepared(series_recipe(write_machines(tmp_path / "in", 2, seconds=1000)), tmp_path / "out")
    assert [m.name for m in corpus.machines] == ["m0", "m1"]
    for one in corpus.machines:
        assert one.frames.shape == (1000, 4)
        changes = np.flatnonzero(np.diff(one.side)) + 1
        assert [int(one.side[0]), *one.side[changes].tolist()] == [TRAIN, DROPPED, VALIDATION, DROPPED, TEST]
        assert np.abs(changes - [600, 632, 800, 832]).max() <= 1, "a window of 32 is left out after each cut"
    counts = corpus.counts
    assert counts.frames == 2000 == counts.train + counts.validation + counts.test + counts.dropped
    assert (counts.faulty, counts.labelled, counts.skipped) == (0, False, {})


def test_what_is_normal_is_told_by_what_trains(tmp_path: Path) -> None:
    recording = machine("m0", 1000)
    values = recording.values.copy()
    values[600:] += 100
    write_csv([Recording("m0", recording.channels, recording.times, values)], tmp_path / "in")
    corpus = prepared(series_recipe(tmp_path / "in"), tmp_path / "out")
    for number, channel in enumerate(corpus.settings.channels):
        assert channel.centre[0] == pytest.approx(float(np.median(values[:600, number])), abs=0.01)
        assert channel.highest is not None
        assert channel.highest < 50


def test_labelled_faults_are_known_and_tell_nothing_of_normal(tmp_path: Path) -> None:
    recording = machine("m0", 1000, labels=[(100, 150), (900, 950)])
    values = recording.values.copy()
    values[100:150] = 1000
    write_csv([Recording("m0", recording.channels, recording.times, values, recording.labels)], tmp_path / "in")
    recipe = series_recipe(tmp_path / "in", "data.source.columns.label=label")
    corpus = prepared(recipe, tmp_path / "out")
    assert corpus.counts.labelled
    assert corpus.counts.faulty == 100
    assert np.flatnonzero(corpus.machines[0].labels).tolist() == [*range(100, 150), *range(900, 950)]
    assert all(channel.highest is not None and channel.highest < 50 for channel in corpus.settings.channels)


def test_regimes_are_known_by_number(tmp_path: Path) -> None:
    write_csv([machine("m0", 1000, regimes=True)], tmp_path / "in")
    corpus = prepared(series_recipe(tmp_path / "in", "data.source.columns.regime=regime"), tmp_path / "out")
    assert corpus.counts.regimes == ["fast", "slow"]
    assert corpus.machines[0].regimes[[0, 199, 200, 399, 400]].tolist() == [1, 1, 0, 0, 1]
    without = prepared(series_recipe(tmp_path / "in", "data.source.columns.ignore=[regime]"), tmp_path / "plain")
    assert without.counts.regimes == []
    assert set(without.machines[0].regimes.tolist()) == {-1}


def test_channels_of_several_rates_are_joined(tmp_path: Path) -> None:
    slow = machine("m0", 400)
    rng = np.random.default_rng(0)
    fast_times = START + np.arange(400 * 64) / 64
    shaking = rng.standard_normal((len(fast_times), 1)).astype(np.float32)
    fast = Recording("m0", (Channel("vibration", "mm/s"),), fast_times, shaking)
    write_csv([slow, fast], tmp_path / "in")
    corpus = prepared(series_recipe(tmp_path / "in", "data.source.machine=one"), tmp_path / "out")
    (one,) = corpus.machines
    names = corpus.settings.feature_names
    assert {"c0", "vibration rms", "vibration kurtosis"} < set(names)
    assert one.frames.shape == (400, len(names))
    assert np.isfinite(one.frames).all()
    assert one.frames[:, names.index("vibration rms")].mean() == pytest.approx(1.0, abs=0.05)


def test_a_corpus_opens_as_it_was_left_and_its_fingerprint_is_that_of_the_data(tmp_path: Path) -> None:
    source = write_machines(tmp_path / "in", 2, seconds=600)
    made = prepared(series_recipe(source), tmp_path / "out")
    again = SeriesCorpus.open(tmp_path / "out")
    assert again.settings == made.settings
    assert again.counts == made.counts
    for one, other in zip(made.machines, again.machines, strict=True):
        for left, right in zip(one[1:], other[1:], strict=True):
            np.testing.assert_array_equal(left, right)
    same = prepared(series_recipe(source, "frontend.window=16"), tmp_path / "same")
    assert same.counts.fingerprint == made.counts.fingerprint
    (source / "m0.csv").write_text((source / "m0.csv").read_text().replace(",0.", ",1.", 1))
    assert prepared(series_recipe(source), tmp_path / "other").counts.fingerprint != made.counts.fingerprint


def test_without_its_last_file_there_is_no_corpus(tmp_path: Path) -> None:
    recipe = series_recipe(write_machines(tmp_path / "in", 1, seconds=600))
    whole = prepared(recipe, tmp_path / "out")
    (tmp_path / "out" / "series.json").unlink()
    (tmp_path / "out" / "0000.frames.npy").write_bytes(b"half of i")
    assert prepared(recipe, tmp_path / "out").counts == whole.counts


def test_bad_rows_are_counted_or_refused(tmp_path: Path) -> None:
    source = write_machines(tmp_path / "in", 1, seconds=600)
    lines = (source / "m0.csv").read_text().splitlines()
    lines[10] = "not a time" + lines[10][lines[10].index(",") :]
    (source / "m0.csv").write_text("\n".join(lines) + "\n")
    corpus = prepared(series_recipe(source), tmp_path / "out")
    assert sum(corpus.counts.skipped.values()) == 1
    assert "m0.csv:11" in corpus.counts.examples[0]
    with pytest.raises(DataError, match=r"1 rows of the series source could not be read, first: .*m0.csv:11"):
        prepared(series_recipe(source, "data.bad_rows=refuse"), tmp_path / "refused")
    assert not (tmp_path / "refused" / "series.json").exists()


def test_counts_are_plain_json(tmp_path: Path) -> None:
    prepared(series_recipe(write_machines(tmp_path / "in", 1, seconds=600)), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "series.json").read_text())["machines"] == ["m0"]
