"""From healthy recordings to settings, frames and the inputs of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from nearfar.errors import DataError
from nearfar.frontend.fit_series import fit_series
from nearfar.frontend.frontend import open_frontend
from nearfar.frontend.grid import Grid
from nearfar.frontend.join import frame_labels, frame_regimes, in_order, join
from nearfar.frontend.series import SeriesFrontend
from nearfar.frontend.settings import ChannelSettings, SeriesSettings
from nearfar.recipe.series import SeriesFrontendSettings
from nearfar.sources.recording import Channel, Recording
from nearfar.sources.series import open_series

START = 1_700_000_000.0
RNG = np.random.default_rng(0)


def recording(*columns: npt.ArrayLike, names: str = "abcdef", step: float = 1.0, **options: Any) -> Recording:
    values = np.stack([np.asarray(column, np.float32) for column in columns], axis=1)
    times = START + np.arange(len(values)) * step
    channels = tuple(Channel(name) for name, _ in zip(names, columns, strict=False))
    return Recording(**{"machine": "", "channels": channels, "times": times, "values": values, **options})


def options(**chosen: Any) -> SeriesFrontendSettings:
    return SeriesFrontendSettings(kind="series", **chosen)


def simple(*names: str, **changed: Any) -> SeriesSettings:
    channels = tuple(ChannelSettings(name=name, centre=(10.0,), scale=(2.0,)) for name in names)
    return SeriesSettings(**{"channels": channels, "period": 1.0, "window": 4, "max_gap": 0.0, **changed})


class TestFit:
    def test_centre_and_scale_are_robust(self) -> None:
        values = RNG.normal(20, 3, size=5000)
        values[::20] = 1e6
        (channel,) = fit_series([recording(values)], options()).channels
        assert channel.centre[0] == pytest.approx(20, abs=0.3)
        assert channel.scale[0] == pytest.approx(3, rel=0.1)
        assert channel.highest == 1e6

    def test_a_channel_that_never_changes_sees_changes_but_not_rounding(self) -> None:
        still = (np.full(500, 293.15), np.zeros(500), np.full(500, 1e-40))
        settings = fit_series([recording(*still, RNG.normal(size=500))], options())
        frontend = SeriesFrontend(settings)
        rounding, _ = frontend.scaled([[np.nextafter(np.float32(293.15), np.float32(400)), 1e-7, 0.0, 0.0]])
        assert np.abs(rounding[0, :3]).max() < 0.01
        change, _ = frontend.scaled([[303.15, 1.0, 1.0, 0.0]])
        assert (change[0, :3] > 20).all()
        assert all(np.float32(channel.scale[0]) > 0 for channel in settings.channels)

    def test_data_in_which_nothing_ever_changes_is_refused(self) -> None:
        still = recording(np.full(500, 293.15), np.zeros(500))
        with pytest.raises(DataError, match=r'no channel .* ever changes \("a" is always 293.15, "b" is always 0\)'):
            fit_series([still], options())

    def test_a_steady_channel_with_small_noise_keeps_its_own_scale(self) -> None:
        (channel,) = fit_series([recording(230 + RNG.normal(0, 0.01, 5000))], options()).channels
        assert channel.scale[0] == pytest.approx(0.01, rel=0.1)

    def test_a_channel_that_seldom_moves_is_scaled_by_its_standard_deviation(self) -> None:
        values = np.zeros(1000)
        values[::10] = 1.0
        (channel,) = fit_series([recording(values)], options()).channels
        assert channel.scale[0] == pytest.approx(0.3)

    def test_period_rates_and_fast_channels_are_found_out(self) -> None:
        vibration = recording(RNG.normal(size=40_000), names="v", step=1 / 20_000)
        slow = recording(RNG.normal(size=60), RNG.normal(size=60), step=2.0)
        settings = fit_series([vibration, slow], options())
        assert settings.period == 2.0
        assert settings.max_gap == 10.0
        assert [(channel.name, channel.rate) for channel in settings.channels] == [
            ("v", 20_000.0),
            ("a", None),
            ("b", None),
        ]
        assert settings.features == 3 + 16 + 2
        assert settings.feature_names[:2] == ("v rms", "v crest")
        assert settings.channels[0].centre[2] == pytest.approx(3, abs=0.1)

    def test_vibration_alone_gets_frames_of_a_second(self) -> None:
        settings = fit_series([recording(RNG.normal(size=50_000), step=1 / 10_000)], options())
        assert (settings.period, settings.channels[0].rate) == (1.0, 10_000.0)

    def test_a_gap_does_not_change_the_rate(self) -> None:
        fast = recording(RNG.normal(size=3000), step=0.01)
        fast.times[1500:] += 10_000
        assert fit_series([fast], options(period=1.0)).channels[0].rate == 100.0

    def test_the_longest_flat_run_is_that_of_samples_without_a_gap(self) -> None:
        values = RNG.normal(size=1000)
        values[10:31] = 7.0
        values[50:90] = 8.0
        settings = recording(values)
        settings.times[70:] += 1000
        (channel,) = fit_series([settings], options()).channels
        assert channel.longest_flat == 20.0

    def test_as_many_repeats_as_chance_makes_are_allowed_though_the_data_has_none(self) -> None:
        values = RNG.normal(size=2000)
        assert (np.diff(values.astype(np.float32)) != 0).all()
        few, many = (
            fit_series([recording(column, step=0.5)], options()).channels[0].longest_flat
            for column in (values, np.round(values, 1))
        )
        assert few == 3.5 * 0.5  # (1 / 2001) ** 3 is below 1e-8
        assert few < many < 10

    def test_the_longest_run_of_a_coarse_channel_is_taken_as_it_is(self) -> None:
        values = np.repeat(np.arange(100.0), 30)
        (channel,) = fit_series([recording(values)], options()).channels
        assert channel.longest_flat == 29.0

    def test_rows_of_known_faults_are_left_out(self) -> None:
        values = RNG.normal(size=1000)
        labels = np.zeros(1000, np.int8)
        values[300:800], labels[300:800] = 50.0, 1
        (channel,) = fit_series([recording(values, labels=labels)], options()).channels
        assert channel.centre[0] == pytest.approx(0, abs=0.2)
        assert channel.highest is not None
        assert channel.highest < 10
        assert channel.longest_flat < 5  # and not 499

    def test_a_channel_without_any_value_is_refused_by_name(self) -> None:
        with pytest.raises(
            DataError, match=r'channel "b" has no value in any of the 1 recordings \(the first is log.csv\)'
        ):
            fit_series([recording(np.ones(9), np.full(9, np.nan), location="log.csv")], options())

    def test_two_units_no_recording_and_a_single_sample_are_refused(self) -> None:
        bar, kpa = (recording(np.arange(9.0), channels=(Channel("p", unit),)) for unit in ("bar", "kPa"))
        with pytest.raises(DataError, match='channel "p" is in kPa'):
            fit_series([bar, kpa], options())
        with pytest.raises(DataError, match="no recording"):
            fit_series([], options())
        with pytest.raises(DataError, match="its rate cannot be told"):
            fit_series([recording([1.0])], options())

    def test_the_settings_survive_the_manifest(self) -> None:
        settings = fit_series([recording(RNG.normal(size=2000), step=0.01)], options(period=1.0))
        assert SeriesSettings.model_validate_json(settings.model_dump_json()) == settings


class TestJoin:
    def test_recordings_of_other_rates_meet_on_the_grid(self) -> None:
        vibration = recording(RNG.normal(size=200_000), names="v", step=1 / 20_000)
        temperature = recording(20 + np.arange(10.0), names="t")
        settings = fit_series([temperature, vibration], options())
        frames = join([vibration, temperature], settings)
        assert frames.times.tolist() == [START + second for second in range(10)]
        assert frames.values[:, 0].tolist() == [20 + second for second in range(10)]
        assert np.isfinite(frames.values).all()

    def test_files_of_other_rates_meet_on_the_grid(self, tmp_path: Path) -> None:
        (tmp_path / "oil.csv").write_text(
            "time;oil [°C]\n" + "".join(f"2023-11-14 22:13:{20 + s};{40 + s},5\n" for s in range(5)), encoding="utf-8"
        )
        shaking = (f"{START + n / 2000:.4f},{RNG.normal():.3f}\n" for n in range(10_000))
        (tmp_path / "shaking.csv").write_text("t,shaking (g)\n" + "".join(shaking), encoding="utf-8")
        recordings = list(open_series(tmp_path).recordings())
        settings = fit_series(recordings, options())
        assert [(c.name, c.unit, c.rate) for c in settings.channels] == [("oil", "°C", None), ("shaking", "g", 2000.0)]
        frames = join(recordings, settings)
        assert frames.values[:, 0].tolist() == [40.5, 41.5, 42.5, 43.5, 44.5]
        np.testing.assert_allclose(frames.values[:, 1], 1.0, atol=0.1)

    def test_it_is_what_a_grid_makes_of_the_same_samples_in_order(self) -> None:
        long = recording(RNG.normal(size=120_000), names="a", step=0.1)
        other = recording(RNG.normal(size=30_000), names="b", step=0.37)
        settings = simple("a", "b")
        found = join([long, other], settings)
        times = np.concatenate([long.times, other.times])
        values = np.full((len(times), 2), np.nan, np.float32)
        values[:120_000, 0], values[120_000:, 1] = long.values[:, 0], other.values[:, 0]
        order = np.argsort(times, kind="stable")
        grid = Grid(settings)
        parts = [grid.push(times[order], values[order]), grid.flush()]
        np.testing.assert_array_equal(found.times, np.concatenate([p.times for p in parts]))
        np.testing.assert_array_equal(found.values, np.concatenate([p.values for p in parts]))

    def test_samples_of_other_rates_come_in_the_order_of_time(self) -> None:
        slow = recording(np.arange(10.0), names="a")
        fast = recording(np.ones(100), names="b", times=START + np.arange(100) / 10 + 0.01)
        rows = [
            (time, channel, value)
            for part in in_order([slow, fast], simple("b", "a"))
            for time, row in zip(part.times, part.values, strict=True)
            for channel, value in zip(part.channels, row, strict=True)
            if np.isfinite(value)
        ]
        assert [time for time, _, _ in rows] == sorted(time for time, _, _ in rows)
        assert [value for _, channel, value in rows if channel == 1] == list(range(10))
        assert [value for _, channel, value in rows if channel == 0] == [1.0] * 100

    def test_files_of_several_days_follow_each_other_in_any_order(self) -> None:
        days = [recording(np.full(10, day), times=START + 86_400 * day + np.arange(10.0)) for day in range(3)]
        frames = join([days[2], days[0], days[1]], simple("a"))
        assert frames.values[np.isfinite(frames.values[:, 0]), 0].tolist() == [0] * 10 + [1] * 10 + [2] * 10
        assert (np.diff(frames.times) > 0).all()

    def test_other_channels_are_passed_over_and_other_units_refused(self) -> None:
        both = recording(np.arange(3.0), np.arange(3.0))
        assert join([both], simple("b")).values[:, 0].tolist() == [0, 1, 2]
        assert not len(join([both], simple("z")).times)
        in_kelvin = recording(np.arange(3.0), channels=(Channel("t", "K"),), location="x.csv")
        celsius = SeriesSettings(
            channels=(ChannelSettings(name="t", unit="°C", centre=(0.0,), scale=(1.0,)),), period=1, window=4, max_gap=0
        )
        with pytest.raises(DataError, match=r'x.csv: channel "t" is in K, but °C is expected'):
            join([in_kelvin], celsius)

    def test_labels_and_regimes_of_frames(self) -> None:
        labels = np.array([0, 0, 1, 0, 0, 0, 0, 0], np.int8)
        regime = np.array(["low", "low", "low", "high", "", "", "high", ""])
        times = START + np.array([0, 0.5, 1, 1.5, 2, 50, 51, 52])
        logged = recording(np.ones(8), times=times, labels=labels, regime=regime)
        frames = join([logged], simple("a"))
        found = dict(
            zip(
                (frames.times - START).tolist(), frame_labels(frames.times, [logged], simple("a")).tolist(), strict=True
            )
        )
        assert {time for time, label in found.items() if label} == {1.0}
        names = frame_regimes(frames.times, [logged], 1.0).tolist()
        assert names[:3] == ["low", "high", ""]
        assert names[-3:] == ["", "high", ""]
        assert frame_regimes(frames.times, [recording(np.ones(3))], 1.0).tolist() == [""] * len(frames.times)

    def test_what_a_logger_has_missed_does_not_cut_a_labelled_fault(self) -> None:
        labels = (np.arange(100) >= 20) & (np.arange(100) < 60)
        keep = ~np.isin(np.arange(100), [10, 30, 31, *range(40, 55), 60, 80])
        times = START + np.arange(100.0)
        files = [
            recording(np.ones(len(rows)), times=times[rows], labels=labels[rows].astype(np.int8))
            for rows in np.array_split(np.flatnonzero(keep), [25, 30])
        ]
        settings = simple("a").model_copy(update={"max_gap": 3.0})
        frames = join(files, settings)
        faulty = frames.times[frame_labels(frames.times, files, settings) == 1] - START
        # The one after the fault holds the last faulty value, as the one after it would.
        np.testing.assert_array_equal(faulty, np.arange(20.0, 61.0))

    def test_faulty_values_are_held_no_longer_than_max_gap(self) -> None:
        times = START + np.array([0, 1, 2, 20, 21.0])
        logged = recording(np.ones(5), times=times, labels=np.array([0, 1, 1, 0, 0], np.int8))
        settings = simple("a").model_copy(update={"max_gap": 3.0})
        frames = join([logged], settings)
        faulty = frames.times[frame_labels(frames.times, [logged], settings) == 1] - START
        assert faulty.tolist() == [1, 2, 3, 4, 5]
        held = frames.times[np.isfinite(frames.values[:, 0])] - START
        assert held.tolist() == [0, 1, 2, 3, 4, 5, 20, 21]

    def test_a_slow_channel_is_faulty_between_its_samples_too(self) -> None:
        slow = recording(np.ones(6), names="a", step=10.0, labels=np.array([0, 1, 1, 1, 0, 0], np.int8))
        fast = recording(np.ones(60), names="b", labels=np.zeros(60, np.int8))
        settings = simple("a", "b").model_copy(update={"max_gap": 0.0})
        times = START + np.arange(60.0)
        assert np.flatnonzero(frame_labels(times, [slow, fast], settings)).tolist() == list(range(10, 31))
        assert not frame_labels(times, [fast, recording(np.ones(60), names="a")], settings).any()


class TestFrontend:
    settings = simple("a", "b", clip=5.0)

    def test_values_are_scaled_clipped_and_told_from_missing_ones(self) -> None:
        values, present = SeriesFrontend(self.settings).scaled([[12.0, np.nan], [1e30, -np.inf], [-3e38, 10.0]])
        assert values.tolist() == [[1, 0], [5, 0], [-5, 0]]
        assert present.tolist() == [[1, 0], [1, 0], [1, 1]]
        assert values.dtype == present.dtype == np.float32

    def test_without_the_clip_values_are_still_finite_and_can_be_taken_back(self) -> None:
        frontend = SeriesFrontend(self.settings)
        frames = np.array([[1000.0, 10.0], [3e38, -3e38]], np.float32)
        values, _ = frontend.scaled(frames, clip=False)
        assert values[0].tolist() == [495, 0]
        assert np.isfinite(values * values).all()
        np.testing.assert_allclose(frontend.unscaled(values[:1]), frames[:1])

    def test_windows_come_batch_by_batch_as_the_graph_takes_them(self) -> None:
        frontend = open_frontend(self.settings, lambda _: b"", Path())
        windows = RNG.normal(10, 2, size=(5, 4, 2)).astype(np.float32)
        batches = list(frontend.feeds(windows, "document", 2))
        assert [positions for positions, _ in batches] == [[0, 1], [2, 3], [4]]
        together = np.concatenate([feed["window"] for _, feed in batches])
        np.testing.assert_allclose(together, (windows - 10) / 2, rtol=1e-5)
        trial = frontend.trials("document")
        assert set(trial) == set(frontend.inputs)
        for name, array in trial.items():
            assert array.dtype == np.float32
            assert array.ndim == frontend.inputs[name].rank
            assert array.shape[1:] == (4, 2)

    def test_one_window_and_windows_of_another_shape_are_refused(self) -> None:
        frontend = SeriesFrontend(self.settings)
        with pytest.raises(DataError, match=r"wrap it as \[window\]"):
            frontend.check(np.zeros((4, 2)))
        frontend.check(np.zeros((1, 4, 2)))
        frontend.check([np.zeros((4, 2))])
        with pytest.raises(
            DataError, match=r"window 1 has the shape \(4, 3\), but \(4, 2\) is needed: 4 frames of a, b"
        ):
            list(frontend.feeds([np.zeros((4, 2)), np.zeros((4, 3))], "document", 8))
        with pytest.raises(DataError, match="window 0 is str"):
            list(frontend.feeds(["pump.csv"], "document", 8))


def test_a_window_that_fills_the_memory_is_refused():
    with pytest.raises(ValidationError, match="a window of 1000000000 frames"):
        simple("a", window=10**9)
