"""Views of recordings: each rule changes what it says and nothing else, and the same draws give the same views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar.learn.views.acoustics import band_limited, coloured_noise, echoing, with_noise
from nearfar.learn.views.audio import SoundViews
from nearfar.learn.views.audio_draw import SoundDraws
from nearfar.recipe.audio import AudioViews

RATE = 8_000
PLAIN: dict[str, Any] = {
    "seconds": 0.5,
    "gain": (0.0, 0.0),
    "speed": (1.0, 1.0),
    "noise": None,
    "reverb": None,
    "band": None,
    "time_mask": 0.0,
    "frequency_mask": 0.0,
}


def views_with(**rules: Any) -> SoundViews:
    return SoundViews(AudioViews.model_validate(PLAIN | rules), rate=RATE)


def tone(hertz: float, length: int, level: float = 0.5) -> Tensor:
    return level * torch.sin(2 * torch.pi * hertz * torch.arange(length) / RATE)


def made(views: SoundViews, waves: Tensor, seed: int = 0) -> tuple[tuple[Tensor, ...], SoundDraws]:
    """The views of tones (n, t), t of the reach or more."""
    draws = views.draw(len(waves), np.random.default_rng(seed))
    return views.apply(waves[:, None, : views.reach].expand(-1, views.count, -1), draws), draws


def power(waves: Tensor) -> Tensor:
    return waves.square().mean(dim=1)


def pitch(wave: Tensor) -> float:
    spectrum = torch.fft.rfft(wave * torch.hann_window(len(wave))).abs()
    return float(spectrum.argmax()) * RATE / len(wave)


def test_without_rules_a_view_is_the_part_that_was_drawn() -> None:
    waves = torch.randn(3, 5_000)
    both, _ = made(views_with(), waves)
    assert len(both) == 2
    assert torch.equal(both[0], waves[:, :4_000])


def test_a_part_of_a_long_recording_and_all_of_a_short_one() -> None:
    views = views_with()
    long, short = np.arange(20_000, dtype=np.int16), np.arange(100, dtype=np.int16)
    assert views.part(long, 0.0)[0] == 0
    assert views.part(long, 1.0)[-1] == 19_999
    part = views.part(long, 0.4)
    assert len(part) == views.reach
    assert (np.diff(part) == 1).all()
    wrapped = views.part(short, 0.5)
    assert len(wrapped) == views.reach
    assert wrapped[0] == 50
    assert set(wrapped.tolist()) == set(range(100))


def test_a_view_can_start_where_the_recording_does() -> None:
    views = views_with(start="beginning")
    long, short = np.arange(20_000, dtype=np.int16), np.arange(100, dtype=np.int16)
    assert views.part(long, 0.9).tolist() == list(range(views.reach))
    repeated = views.part(short, 0.5)
    # As the device repeats what is too short.
    assert repeated.tolist() == np.resize(short, views.reach).tolist()
    # The others are drawn as before.
    draws, before = (some.draw(9, np.random.default_rng(2)) for some in (views, views_with()))
    assert torch.equal(draws.start, before.start)
    assert torch.equal(draws.gain, before.gain)


def test_gain_is_in_decibels() -> None:
    both, draws = made(views_with(gain=(-20.0, 20.0)), tone(500, 5_000).expand(50, -1))
    change = 10 * torch.log10(power(both[0]) / power(tone(500, 4_000)[None]))
    torch.testing.assert_close(change, 20 * torch.log10(draws.gain[:, 0]), atol=1e-3, rtol=0)
    assert -20.01 < float(change.min()) < -10
    assert 10 < float(change.max()) < 20.01


def test_speed_moves_pitch() -> None:
    views = views_with(speed=(0.8, 1.25))
    both, draws = made(views, tone(500, views.reach).expand(8, -1))
    for wave, speed in zip(both[0], draws.speed[:, 0], strict=True):
        assert pitch(wave) == pytest.approx(500 * float(speed), abs=3)


def test_noise_has_the_ratio_that_was_drawn() -> None:
    waves = tone(500, 5_000).expand(40, -1)
    both, draws = made(views_with(noise={"probability": 1.0, "snr": (0.0, 30.0)}), waves)
    added = both[0] - waves[:, :4_000]
    torch.testing.assert_close(power(waves[:, :4_000]) / power(added), draws.snr[:, 0], rtol=1e-3, atol=0)


def test_noise_comes_from_recordings_where_there_are_some() -> None:
    recorded = tone(1_500, 30_000).numpy()
    rules = AudioViews.model_validate(PLAIN | {"noise": {"probability": 1.0, "snr": (0.0, 0.0)}})
    views = SoundViews(rules, rate=RATE, noise=recorded)
    both, _ = made(views, tone(300, 5_000).expand(4, -1))
    for wave in both[0]:
        assert pitch(wave - tone(300, 4_000)) == pytest.approx(1_500, abs=3)


def test_how_often_a_rule_applies() -> None:
    waves = torch.randn(400, 5_000) * 0.1
    both, draws = made(views_with(noise={"probability": 0.25}), waves)
    untouched = (both[1] == waves[:, :4_000]).all(dim=1)
    assert torch.equal(untouched, ~draws.snr[:, 1].isfinite())
    assert 0.65 < float(untouched.float().mean()) < 0.85


def test_colour_is_a_slope_of_the_power() -> None:
    white = torch.randn(1, 65_536, generator=torch.Generator().manual_seed(0))
    for colour in (0.0, 1.0, 2.0):
        spectrum = torch.fft.rfft(coloured_noise(white, torch.tensor([colour])))[0].abs().square()
        low, high = spectrum[100:200].mean(), spectrum[10_000:20_000].mean()
        assert float(torch.log(low / high) / np.log(100)) == pytest.approx(colour, abs=0.1)


def test_an_echo_decays_by_sixty_decibels() -> None:
    click = torch.zeros(1, 8_000)
    click[0, 0] = 1.0
    noise = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))
    heard = echoing(click, noise, torch.tensor([0.5]), torch.tensor([4.0]), RATE)
    tail = heard - click
    assert float(tail.square().sum()) == pytest.approx(0.25, rel=0.02)
    early, late = (float(tail[0, at : at + 400].square().mean()) for at in (0, 2_000))
    assert 10 * np.log10(early / late) == pytest.approx(60 * 0.5, abs=3)


def test_bands_are_taken_away() -> None:
    low, middle, high = tone(50, 8_000), tone(800, 8_000), tone(3_500, 8_000)
    limited = band_limited(torch.stack([low, middle, high]), torch.full((3,), 200.0), torch.full((3,), 2_000.0), RATE)
    kept = power(limited) / power(torch.stack([low, middle, high]))
    assert float(kept[1]) > 0.95
    assert float(kept[0]) < 0.01
    assert float(kept[2]) < 0.03


def test_noise_of_silence_is_no_division_by_zero() -> None:
    heard = with_noise(torch.zeros(1, 100), torch.zeros(1, 100), torch.tensor([1.0]))
    assert torch.isfinite(heard).all()


def test_masks_hide_one_piece_of_time_and_one_of_frequency() -> None:
    views = views_with(time_mask=0.4, frequency_mask=0.3)
    draws = views.draw(50, np.random.default_rng(0))
    spectrum = torch.ones(50, 40, 100)
    hidden = views.hide(spectrum, draws.of_view(0)) == 0
    frames, bands = hidden.all(dim=1), hidden.all(dim=2)
    assert torch.equal(hidden, frames[:, None] | bands[:, :, None])
    for rows, largest in ((frames, 40), (bands, 12)):
        counts = rows.sum(dim=1)
        assert int(counts.max()) <= largest + 1
        assert 0.3 * largest < float(counts.float().mean()) < 0.7 * largest
        assert int((rows[:, 1:] & ~rows[:, :-1]).sum(dim=1).max()) <= 1
    assert (spectrum == 1).all()


def test_a_view_says_all_that_is_random_before_anything_is_made() -> None:
    views = SoundViews(AudioViews(seconds=0.5), rate=RATE)
    waves = torch.randn(6, views.reach) * 0.1
    (first, second), draws = made(views, waves, seed=3)
    again, _ = made(views, waves, seed=3)
    assert torch.equal(first, again[0])
    assert not torch.equal(first, second)
    part = views.apply(waves[2:4, None].expand(-1, 2, -1), draws.rows(slice(2, 4)))
    # Rows are filtered together, and by how many changes the last bits.
    torch.testing.assert_close(part[1], second[2:4], atol=1e-5, rtol=1e-4)


def test_no_setting_shifts_what_others_draw() -> None:
    all_rules = SoundViews(AudioViews(seconds=0.5), rate=RATE).draw(20, np.random.default_rng(1))
    few = views_with(speed=(0.95, 1.05), reverb={}).draw(20, np.random.default_rng(1))
    assert torch.equal(all_rules.start, few.start)
    assert torch.equal(all_rules.speed, few.speed)
    assert torch.equal(all_rules.reverb, few.reverb)
    fewer = SoundViews(AudioViews(seconds=0.5), rate=RATE).draw(5, np.random.default_rng(1))
    assert torch.equal(all_rules.rows(slice(5)).low, fewer.low)
