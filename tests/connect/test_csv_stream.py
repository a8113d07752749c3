from __future__ import annotations

import numpy as np
import pytest

from nearfar.connect.arrivals import Arrival, ThreadFeed, paced
from nearfar.connect.csv_stream import CsvStream, StreamColumns
from nearfar.connect.payload import PayloadReader
from nearfar.errors import DataError

CHANNELS = ("temperature", "pressure")


def read(*lines: str, columns: StreamColumns | None = None) -> tuple[CsvStream, Arrival | None]:
    stream = CsvStream(CHANNELS, columns)
    return stream, stream.feed(lines)


def test_columns_are_found_by_name_without_unit_and_case() -> None:
    stream, found = read("Pressure (bar);Zeit;TEMPERATURE [°C];state", "1,5;2024-05-01 12:00:00;20,25;run")
    assert found is not None
    assert found.channels == ("pressure", "temperature")
    np.testing.assert_array_equal(found.values, np.float32([[1.5, 20.25]]))
    assert found.times.tolist() == [1714564800.0]
    assert stream.notes == ["not a channel of the bundle, and not read: state"]


def test_a_semicolon_with_points_before_fractions() -> None:
    _, found = read("time;temperature;pressure", "1;2.5;3.5")
    assert found is not None
    assert found.values.tolist() == [[2.5, 3.5]]


def test_missing_and_unreadable_cells_are_missing_and_only_those_are_counted() -> None:
    stream, found = read("time,temperature,pressure", "1,,2", "2,NaN,null", "3,x,4")
    assert found is not None
    np.testing.assert_array_equal(found.values[:, 0], np.float32([np.nan] * 3))
    assert stream.report.skipped == {"cells that are no numbers, taken for missing": 1}
    assert stream.report.examples[0].startswith("the stream:4:")


def test_milliseconds_and_zones() -> None:
    assert read("time,temperature", "1714564800000,1")[1].times.tolist() == [1714564800.0]
    assert read("time_ms,temperature", "1500,1")[1].times.tolist() == [1.5]
    berlin = StreamColumns(timezone="Europe/Berlin")
    assert read("time,temperature", "2024-05-01 14:00:00,1", columns=berlin)[1].times.tolist() == [1714564800.0]
    assert read("time,temperature", "2024-05-01T14:00:00+02:00,1")[1].times.tolist() == [1714564800.0]


def test_a_long_table_puts_what_was_taken_together_beside_each_other() -> None:
    _, found = read("time,sensor,value", "2,pressure,5", "1,temperature,20", "2,temperature,21", "2,level,3")
    assert found is not None
    assert found.channels == ("pressure", "temperature")
    assert found.times.tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(found.values, np.float32([[np.nan, 20], [5, 21]]))


def test_one_machine_of_many() -> None:
    columns = StreamColumns(machine="pump", only="b")
    _, found = read("time,pump,temperature,pressure", "1,a,1,1", "1,b,2,2", columns=columns)
    assert found is not None
    assert found.values.tolist() == [[2, 2]]


def test_a_header_that_comes_again_is_no_row() -> None:
    stream, _ = read("time,temperature,pressure", "1,2,3")
    again = stream.feed(["time,temperature,pressure", "2,3,4"])
    assert again is not None
    assert again.values.tolist() == [[3, 4]]
    assert not stream.report.skipped


def test_errors_of_a_thread_reach_the_one_who_asks() -> None:
    def arrivals():
        yield Arrival(None, np.zeros((1, 1), np.float32), ("a",))
        raise DataError("broken")

    feed = ThreadFeed(arrivals())
    assert feed.next(10) is not None
    with pytest.raises(DataError, match="broken"):
        feed.next(10)
    assert feed.ended


def test_pacing_cuts_but_changes_nothing() -> None:
    whole = Arrival(np.arange(100.0), np.arange(100, dtype=np.float32)[:, None], ("a",))
    parts = list(paced([whole], speed=1000.0, step=0.01))
    assert len(parts) == 10
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), whole.values)


@pytest.fixture
def reader() -> PayloadReader:
    return PayloadReader({"temperature": None, "pressure": None, "vibration": 100.0})


def test_a_number_is_a_value_of_the_channel_that_its_topic_ends_with(reader: PayloadReader) -> None:
    (found,) = reader.read("plant/pump/temperature", b"23.5", 100.0)
    assert (found.channels, found.times.tolist(), found.values.tolist()) == (("temperature",), [100.0], [[23.5]])


def test_an_object_is_a_row_and_may_say_its_time(reader: PayloadReader) -> None:
    payload = b'{"time": "2024-05-01T12:00:00Z", "temperature": 1, "pressure": null, "state": "on"}'
    (found,) = reader.read("plant/pump", payload, 100.0)
    assert found.channels == ("temperature", "pressure")
    assert found.times.tolist() == [1714564800.0]
    np.testing.assert_array_equal(found.values, np.float32([[1, np.nan]]))
    assert reader.read("x", b'{"ts": 1714564800000, "pressure": 2}', 0.0)[0].times.tolist() == [1714564800.0]


def test_a_list_is_a_block_of_a_fast_channel(reader: PayloadReader) -> None:
    (found,) = reader.read("x", b'{"vibration": [1, 2, 3], "time": 50}', 100.0)
    np.testing.assert_allclose(found.times, [50.0, 50.01, 50.02])
    (found,) = reader.read("plant/vibration", b"[1, 2, 3]", 100.0)
    np.testing.assert_allclose(found.times, [99.98, 99.99, 100.0])
    with pytest.raises(DataError, match="slow channel"):
        reader.read("plant/pressure", b"[1, 2, 3]", 100.0)


def test_what_a_broker_has_kept_counts_only_with_a_time(reader: PayloadReader) -> None:
    assert reader.read("plant/pressure", b"5", 100.0, retained=True) == []
    assert len(reader.read("plant", b'{"pressure": 5, "time": 60}', 100.0, retained=True)) == 1


@pytest.mark.parametrize(
    "payload",
    [b"off", b'{"pressure": "high"}', b'{"pressure": {"value": 1}}', b'{"pressure": 1, "time": "now"}', b"\xff\xfe"],
)
def test_other_payloads_are_refused(reader: PayloadReader, payload: bytes) -> None:
    with pytest.raises(DataError):
        reader.read("plant/pressure", payload, 0.0)


def test_a_line_that_is_no_csv_is_passed_over_and_the_others_are_read() -> None:
    stream, found = read("time,temperature,pressure", "1,2,3", "2,2\r7,3", "3,4,5")
    assert found is not None
    assert found.times.tolist() == [1.0, 3.0]
    assert stream.report.skipped == {"lines that are no CSV": 1}
    assert stream.report.examples == ["the stream:3: lines that are no CSV"]


def test_a_first_line_that_is_no_csv_is_refused() -> None:
    with pytest.raises(DataError, match="the stream, line 1: this is no line of CSV"):
        read("time\rtemperature", "1,2")


def test_a_quote_that_nothing_ends_does_not_swallow_the_lines_behind_it() -> None:
    stream, found = read("time,temperature,pressure", "1,2,3", '2,"2,3', "3,4,5", "4,5,6")
    assert found is not None
    assert found.times.tolist() == [1.0, 3.0, 4.0]
    assert stream.report.skipped == {"rows with another number of cells than the header": 1}
    assert stream.report.examples[0].startswith("the stream:3:")


def test_names_may_reach_over_two_lines() -> None:
    _, found = read('time,"temperature', '[°C]",pressure', "1,2,3")
    assert found is not None
    assert found.values.tolist() == [[2.0, 3.0]]
