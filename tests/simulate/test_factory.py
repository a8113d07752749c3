"""The made factory: photo, vibration, readings and log agree, and nothing depends on how many records there are."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nearfar.errors import DataError
from nearfar.simulate import simulate_factory, write_factory
from nearfar.simulate.factory import CASES, RATE, SECONDS, FactoryRecord


def same(one: FactoryRecord, other: FactoryRecord) -> bool:
    told = (one.machine, one.label, one.colour, one.log, one.speed, one.load, one.current, one.temperature)
    if told != (
        other.machine,
        other.label,
        other.colour,
        other.log,
        other.speed,
        other.load,
        other.current,
        other.temperature,
    ):
        return False
    photos = one.photo is None or (other.photo is not None and bool((one.photo == other.photo).all()))
    if one.vibration is None or other.vibration is None:
        return photos and one.vibration is other.vibration
    return photos and bool((one.vibration.values == other.vibration.values).all())


def test_a_record_does_not_depend_on_the_number_of_others() -> None:
    few, many = list(simulate_factory(9, seed=3)), list(simulate_factory(30, seed=3))
    assert all(same(one, other) for one, other in zip(few, many, strict=False))
    assert not same(few[0], next(simulate_factory(1, seed=4)))


def test_all_inspections_of_a_machine_are_of_one_part_and_paint() -> None:
    records = list(simulate_factory(40, seed=0, missing=0.0))
    for first in range(0, 40, 4):
        of = records[first : first + 4]
        assert len({(record.machine, record.label, record.colour) for record in of}) == 1
        assert all(record.log is not None and record.colour in record.log[0] for record in of)


def test_every_case_comes_up_and_at_least_two_sides_are_there() -> None:
    records = list(simulate_factory(400, seed=0, missing=0.6))
    assert {record.label for record in records} == {f"{part}, {condition}" for part, condition in CASES}
    for record in records:
        assert sum(side is not None for side in (record.photo, record.vibration, record.log)) >= 2
    assert any(record.photo is None for record in records)
    assert any(record.log is None for record in records)


def test_a_lost_vane_shakes_at_the_speed_of_the_shaft() -> None:
    records = simulate_factory(400, seed=1, missing=0.0)
    once: dict[str, list[float]] = {}
    for record in records:
        if record.part == "impeller" and record.vibration is not None:
            spectrum = np.abs(np.fft.rfft(record.vibration.values[:, 0])) / len(record.vibration.values)
            place = round(record.speed / 60 * SECONDS)
            once.setdefault(record.condition, []).append(float(spectrum[place - 2 : place + 3].max()))
    assert min(once["lost vane"]) > 2 * max(once["sound"])


def test_files_hold_what_was_made(tmp_path: Path) -> None:
    records = list(islice(simulate_factory(12, seed=5, missing=0.3), 12))
    table = write_factory(iter(records), tmp_path)
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [record.label for record in records]
    for row, record in zip(rows, records, strict=True):
        assert (row["photo"] == "") == (record.photo is None)
        if record.photo is not None:
            assert bool((np.asarray(Image.open(tmp_path / row["photo"])) == record.photo).all())
        if record.vibration is not None:
            samples = np.loadtxt(tmp_path / row["vibration"], delimiter=",", skiprows=1)
            assert samples.shape == (round(RATE * SECONDS), 3)
            assert np.allclose(samples[:, 1:], record.vibration.values, rtol=1e-3, atol=1e-6)
        assert (row["log"], row["log_de"]) == (record.log or ("", ""))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match=r"taken.*choose another folder"):
        write_factory(simulate_factory(1, seed=0), tmp_path / "taken")
