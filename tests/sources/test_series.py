"""Logs of sensors as files really are: whatever separator, clock and unit, with damage counted and named."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nearfar.errors import DataError
from nearfar.sources.recording import Channel, Recording
from nearfar.sources.series import SeriesReader, open_series
from nearfar.sources.series_columns import SeriesColumns

START = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def written(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path: Path, **options: Any) -> tuple[list[Recording], SeriesReader]:
    """Read both ways, which must agree."""
    slow, fast = open_series(path, arrow=False, **options), open_series(path, **options)
    expected, found = list(slow.recordings()), list(fast.recordings())
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        assert (a.machine, a.channels, a.location) == (b.machine, b.channels, b.location)
        np.testing.assert_array_equal(a.times, b.times)
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.regime, b.regime)
    assert slow.report == fast.report
    return found, fast


def one(path: Path, **options: Any) -> Recording:
    (recording,) = read(path, **options)[0]
    return recording


ROWS = "time,temperature [°C],pressure (bar)\n2023-11-14 22:13:20,20.5,1\n2023-11-14 22:13:21,,2.25\n"


def test_a_wide_file_is_a_recording_with_units_of_the_header(tmp_path: Path) -> None:
    recording = one(written(tmp_path / "a.csv", ROWS))
    assert recording.channels == (Channel("temperature", "°C"), Channel("pressure", "bar"))
    assert recording.times.tolist() == [START, START + 1]
    assert recording.times.dtype == np.float64
    assert recording.values.dtype == np.float32
    np.testing.assert_array_equal(recording.values, np.array([[20.5, 1], [np.nan, 2.25]], np.float32))
    assert (recording.machine, recording.labels, recording.regime) == ("", None, None)
    assert recording.location == str(tmp_path / "a.csv")


def test_units_of_the_settings_go_before_those_of_the_header(tmp_path: Path) -> None:
    recording = one(written(tmp_path / "a.csv", ROWS), units={"temperature": "K"})
    assert recording.channels == (Channel("temperature", "K"), Channel("pressure", "bar"))


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separator_and_encoding_are_found_out(tmp_path: Path, separator: str, encoding: str) -> None:
    path = written(tmp_path / "a.csv", ROWS.replace(",", separator).encode(encoding))
    assert one(path).values[0].tolist() == [20.5, 1]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_decimal_commas_and_german_dates_as_spreadsheets_write_them(tmp_path: Path, end: str) -> None:
    text = 'Zeit;Druck [bar];"Drehzahl; Welle"\n14.11.2023 22:13:20,5;1,25;1e3\n14.11.2023 22:13:21,5;-0,5;"12"\n'
    recording = one(written(tmp_path / "a.csv", text.replace("\n", end)))
    assert recording.channels == (Channel("Druck", "bar"), Channel("Drehzahl; Welle"))
    assert recording.times.tolist() == [START + 0.5, START + 1.5]
    assert recording.values.tolist() == [[1.25, 1000], [-0.5, 12]]


def test_gzip_is_undone_whatever_the_name(tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv"):
        assert len(one(written(tmp_path / name, gzip.compress(ROWS.encode()))).times) == 2


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "NULL", "None", "n/a", " ", "-", "?"])
def test_missing_cells_are_no_fault(tmp_path: Path, missing: str) -> None:
    path = written(tmp_path / "a.csv", f"time,x,y\n2023-11-14,1,1\n2023-11-15,{missing},2\n")
    (recording,), source = read(path)
    assert np.isnan(recording.values[1, 0])
    assert source.report.skipped == {}


def test_what_cannot_be_read_is_counted_with_file_line_and_column(tmp_path: Path) -> None:
    text = (
        "time,x,y\n"
        "2023-11-14 22:13:20,1,1\n"
        "\n"
        "2023-11-14 22:13:21,1.2.3,1\n"  # line 4
        "2023-13-14 22:13:22,1,1\n"
        "2023-02-29 22:13:22,1,1\n"
        ",1,1\n"
        "2023-11-14 22:13:23,1\n"
        "2023-11-14 22:13:24,1,1,1\n"
        '2023-11-14 22:13:25,"1"x,1\n'
        "2023-11-14 22:13:26,1_000,2\n"
        "2023-11-14 22:13:27,5,5,\n"
    )
    path = written(tmp_path / "a.csv", text)
    (recording,), source = read(path)
    assert source.report.skipped == {
        "a value that is not a number": 2,
        "a time that cannot be read": 2,
        "a row without a time": 1,
        "another number of fields than the header": 2,
        "not valid CSV": 1,
    }
    assert (recording.times - START).tolist() == [0, 1, 6, 7]
    assert np.isnan(recording.values[[1, 2], 0]).all()
    examples = " ".join(source.report.examples)
    assert f'{path}:4: a value that is not a number ("1.2.3" in "x")' in examples
    assert f"{path}:8: another number of fields" in examples
    assert f"{path}:10: not valid CSV" in examples


def test_columns_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    text = "time,x,note,other date,ts,void\n2023-11-14,1,ok,2023-11-14,5,\n2023-11-15,2,bad,2023-11-15,6,\n"
    (recording,), source = read(written(tmp_path / "a.csv", text))
    assert [channel.name for channel in recording.channels] == ["x", "void"]
    assert source.report.passed_over == {
        "note": "it holds text",
        "other date": "it holds dates or times",
        "ts": "it is a clock",
    }
    ignoring = SeriesColumns(ignore=("note", "ts", "void"))
    _, source = read(written(tmp_path / "b.csv", text), columns=ignoring)
    assert source.report.passed_over == {"other date": "it holds dates or times"}


def test_rows_out_of_order_are_sorted_and_of_equal_times_the_last_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "t,x\n5,5\n3,3\n4,4\n5,55\n6,6\n")
    (recording,), source = read(path)
    assert recording.times.tolist() == [3, 4, 5, 6]
    assert recording.values[:, 0].tolist() == [3, 4, 55, 6]
    assert source.report.sorted == 2
    assert source.report.skipped == {"a row at the time of a later one": 1}
    assert source.report.read == 4


@pytest.mark.parametrize(
    ("header", "factor"),
    [
        ("time", 1),
        ("time", 1e3),
        ("time", 1e6),
        ("time", 1e9),
        ("elapsed_ignored", 1),
        ("time [ms]", 1e3),
        ("ts_us", 1e6),
    ],
)
def test_the_unit_of_numbers_is_told_by_their_size_or_the_header(tmp_path: Path, header: str, factor: float) -> None:
    rows = "".join(f"{int((START + second) * factor)},1\n" for second in range(3))
    path = written(tmp_path / "a.csv", f"{header},x\n{rows}")
    columns = SeriesColumns(time=header)
    assert one(path, columns=columns).times.tolist() == [START, START + 1, START + 2]


def test_seconds_since_the_start_stay_as_they_are(tmp_path: Path) -> None:
    assert one(written(tmp_path / "a.csv", "t,T\n0,1\n0.5,2\n")).times.tolist() == [0, 0.5]
    assert one(written(tmp_path / "b.csv", "time (ms),T\n0,1\n500,2\n")).times.tolist() == [0, 0.5]


def test_data_without_a_clock_needs_a_rate(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "x,y\n1,2\n3,4\n")
    with pytest.raises(DataError, match=r'no column reads like a time. The columns are: "x", "y"'):
        read(path)
    assert one(path, rate=20_000.0).times.tolist() == [0, 1 / 20_000]


def test_files_without_a_clock_follow_each_other_and_other_channels_lie_beside_them(tmp_path: Path) -> None:
    for name, header in {"1": "x", "2": "x", "3": "y"}.items():
        written(tmp_path / f"{name}.csv", f"{header}\n1\n2\n")
    recordings, source = read(tmp_path, rate=10.0)
    assert [r.times.tolist() for r in recordings] == [[0, 0.1], [7200, 7200.1], [0, 0.1]]
    assert source.report.moved == 1
    apart, source = read(tmp_path, rate=10.0, machine="file")
    assert [r.times[0] for r in apart] == [0, 0, 0]
    assert source.report.moved == 0


def test_files_whose_seconds_go_on_stay_where_they_are(tmp_path: Path) -> None:
    written(tmp_path / "1.csv", "t,x\n0,1\n1,2\n")
    written(tmp_path / "2.csv", "t,x\n2,1\n3,2\n")
    assert [r.times.tolist() for r in read(tmp_path)[0]] == [[0, 1], [2, 3]]


def test_an_empty_file_in_a_folder_is_told_but_costs_nothing(tmp_path: Path) -> None:
    written(tmp_path / "1.csv", ROWS)
    written(tmp_path / "2.csv", "time,x\n")
    written(tmp_path / "3.csv", "")
    recordings, source = read(tmp_path)
    assert len(recordings) == 1
    assert source.report.skipped == {"a file without rows": 2}


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("2023-11-14T22:13:20Z", 0),
        ("2023-11-14T22:13:20.125Z", 0.125),
        ("2023-11-14 23:13:20+01:00", 0),
        ("2023-11-14 23:13:20 +0100", 0),
        ("2023-11-14T17:43:20,5-04:30", 0.5),
        ("2023-11-15T00:13:20+02", 0),
        ("2023-11-14 22:13:20 UTC", 0),
        ("2023/11/14 22:13", -20),
        ("2023-11-14 22:13:20.123456789", 0.123456789),
        (" 2023-11-14 22:13:20 ", 0),
        ("2023-11-14", -80_000),
        ("2016-12-31T23:59:60Z", 1483228800 - START),
    ],
)
def test_times_as_they_are_written(tmp_path: Path, cell: str, seconds: float) -> None:
    path = written(tmp_path / "a.csv", f"when;x\n{cell};1\n")
    assert one(path).times[0] - START == pytest.approx(seconds, abs=1e-6)


def test_date_and_time_of_day_may_be_columns_of_their_own(tmp_path: Path) -> None:
    text = "x;Datum;Uhrzeit;y\n1;14.11.2023;22:13:20,5;2\n3; 14.11.2023;22:13:21,5 ;4\n"
    recording = one(written(tmp_path / "a.csv", text))
    assert (recording.times - START).tolist() == [0.5, 1.5]
    assert [channel.name for channel in recording.channels] == ["x", "y"]


def test_a_time_without_end_is_none(tmp_path: Path) -> None:
    (recording,), source = read(written(tmp_path / "a.csv", "t,x\n1,1\ninf,2\n2,3\n"))
    assert recording.times.tolist() == [1, 2]
    assert source.report.skipped == {"a time that cannot be read": 1}


def test_times_written_in_several_ways_are_read_together(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "t,x\n2023-11-14 22:13:20,1\n2023-11-14 22:13:20.5,2\n2023-11-14T22:13:21Z,3\n")
    assert (one(path).times - START).tolist() == [0, 0.5, 1]


def test_times_of_a_zone_with_summer_time(tmp_path: Path) -> None:
    text = "t,x\n2023-07-01 12:00:00,1\n2023-12-01 12:00:00,2\n"
    times = one(written(tmp_path / "a.csv", text), timezone="Europe/Berlin").times
    utc = one(written(tmp_path / "b.csv", text)).times
    assert (utc - times).tolist() == [7200, 3600]


def test_an_hour_that_the_clock_showed_twice_is_told_by_the_order_of_the_rows(tmp_path: Path) -> None:
    clock = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]  # 2023-10-29 in Berlin
    text = "t,x\n" + "".join(f"2023-10-29 {moment}:00,{n}\n" for n, moment in enumerate(clock))
    (recording,), source = read(written(tmp_path / "a.csv", text), timezone="Europe/Berlin")
    assert np.diff(recording.times).tolist() == [1800] * 5
    assert recording.values[:, 0].tolist() == list(range(6))
    assert source.report.sorted == 0


def test_machines_by_file_folder_or_column(tmp_path: Path) -> None:
    for name in ("pump/1.csv", "pump/2.csv", "fan/1.csv"):
        written(tmp_path / name, "t,x,unit_id\n1,1,A\n2,2,B\n3,3,A\n")
    written(tmp_path / "notes.txt", "not data")
    columns = SeriesColumns(ignore=("unit_id",))
    assert [r.machine for r in read(tmp_path, machine="file", columns=columns)[0]] == ["fan/1", "pump/1", "pump/2"]
    assert [r.machine for r in read(tmp_path, machine="folder", columns=columns)[0]] == ["fan", "pump", "pump"]
    assert [r.machine for r in read(tmp_path, columns=columns)[0]] == [""] * 3
    by_column = read(tmp_path / "fan", columns=SeriesColumns(machine="unit_id"))[0]
    assert [(r.machine, r.times.tolist()) for r in by_column] == [("A", [1, 3]), ("B", [2])]


def test_a_long_table_gives_each_channel_its_own_times(tmp_path: Path) -> None:
    text = (
        "time,sensor,value,unit,site\n"
        "0,temp,20,C,a\n0,hum,50,%,a\n1,temp,21,C,a\n1,hum,51,%,a\n"
        "0,vib,1,g,a\n0.5,vib,2,g,a\n1,vib,3,g,a\n0,temp,9,C,b\n"
    )
    columns = SeriesColumns(channel="sensor", value="value", unit="unit", machine="site")
    slow, fast, other = read(written(tmp_path / "a.csv", text), columns=columns)[0]
    assert slow.channels == (Channel("temp", "C"), Channel("hum", "%"))
    assert slow.values.tolist() == [[20, 50], [21, 51]]
    assert (fast.channels, fast.times.tolist()) == ((Channel("vib", "g"),), [0, 0.5, 1])
    assert (other.machine, other.values.tolist()) == ("b", [[9]])
    with pytest.raises(DataError, match="`channel` is said, but `value` is not"):
        read(tmp_path / "a.csv", columns=SeriesColumns(channel="sensor"))


def test_a_channel_in_two_units_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "t,c,v,u\n0,p,1,bar\n1,p,100,kPa\n")
    with pytest.raises(DataError, match='channel "p" comes in bar and in kPa'):
        read(path, columns=SeriesColumns(channel="c", value="v", unit="u"))


def test_labels_and_regimes(tmp_path: Path) -> None:
    text = "t,x,fault,load\n0,1,0,high\n1,1,0.0,high\n2,1,1,low\n3,1,,low\n4,1,worn bearing,\n5,1,Normal,low\n"
    recording = one(written(tmp_path / "a.csv", text), columns=SeriesColumns(label="fault", regime="load"))
    assert recording.labels is not None
    assert recording.regime is not None
    assert recording.labels.tolist() == [0, 0, 1, 0, 1, 0]
    assert recording.regime.tolist() == ["high", "high", "low", "low", "", "low"]
    assert [channel.name for channel in recording.channels] == ["x"]


@pytest.mark.parametrize("end", [".csv", ".parquet"])
def test_labels_and_regimes_are_known_by_their_names(tmp_path: Path, end: str) -> None:
    columns = {
        "t": [0, 1, 2, 3],
        "Anomaly": [0, 0, 1, 0],
        "x": [1.5, 2.5, 3.5, 4.5],
        "regime": ["idle", "idle", "full", "full"],
        "labels": [0, 1, 0, 1],  # another name
    }
    path = tmp_path / f"a{end}"
    if end == ".csv":
        written(
            path,
            "\n".join([",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]),
        )
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(columns), path)
    (recording,), source = read(path)
    assert [channel.name for channel in recording.channels] == ["x", "labels"]
    assert recording.labels is not None
    assert recording.regime is not None
    assert recording.labels.tolist() == [0, 0, 1, 0]
    assert recording.regime.tolist() == ["idle", "idle", "full", "full"]
    assert source.report.recognised == {"Anomaly": "label", "regime": "regime"}
    (ignoring,), source = read(path, columns=SeriesColumns(ignore=("Anomaly", "regime")))
    assert (ignoring.labels, ignoring.regime) == (None, None)
    assert source.report.recognised == {}


def test_a_column_named_like_a_label_is_never_a_channel_unless_somebody_says_so(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "t,x,label,anomaly\n0,1,0.3,0\n1,2,0.7,worn\n2,3,4,1\n")
    (recording,), source = read(path)
    assert [channel.name for channel in recording.channels] == ["x"]
    assert recording.labels is not None
    assert recording.labels.tolist() == [0, 1, 1]
    assert source.report.passed_over == {"label": "it is named like a label, but holds more than 0 and 1"}
    (recording,), source = read(path, columns=SeriesColumns(label="label"))
    assert [channel.name for channel in recording.channels] == ["x"]
    assert source.report.passed_over == {"anomaly": "it is named like a label"}
    chosen = one(path, columns=SeriesColumns(channels=("x", "label")))
    assert [channel.name for channel in chosen.channels] == ["x", "label"]


def test_a_regime_of_fractions_is_measured(tmp_path: Path) -> None:
    assert len(one(written(tmp_path / "a.csv", "t,x,regime\n0,1,0.25\n1,2,0.75\n")).channels) == 2
    assert len(one(written(tmp_path / "b.csv", "t,x,regime\n0,1,3\n1,2,4\n")).channels) == 1


def test_switches_are_numbers(tmp_path: Path) -> None:
    assert one(written(tmp_path / "a.csv", "t,valve\n0,true\n1,False\n")).values[:, 0].tolist() == [1, 0]


def test_columns_are_named_with_or_without_their_unit(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ROWS)
    for name in ("temperature", "temperature [°C]"):
        assert one(path, columns=SeriesColumns(channels=(name,))).channels == (Channel("temperature", "°C"),)
    with pytest.raises(DataError, match=r'a\.csv: there is no column "temprature"; did you mean "temperature"\?'):
        read(path, columns=SeriesColumns(channels=("temprature",)))


def test_the_same_name_with_two_units_stays_two_channels(tmp_path: Path) -> None:
    recording = one(written(tmp_path / "a.csv", "t,speed [rpm],speed [Hz]\n0,60,1\n"))
    assert recording.channels == (Channel("speed [rpm]", "rpm"), Channel("speed [Hz]", "Hz"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("time,x\n", "holds no rows"),
        ("1,2\n3,4\n", "first line holds values"),
        ("2023-11-14 22:13:20,2\n2023-11-14 22:13:21,4\n", "first line holds values"),
        ("time,x\n11/14/2023 10:13 PM,4\n", '"time" is named like one, but what it holds is not read'),
        ("\0\1\2\n", "no text"),
        ("time,x,x\n0,1,2\n", 'has the column "x" 2 times'),
        ("time,x\n0,a\n1,b\n", "no column holds numbers"),
        ("time,x\nsoon,1\nlater,2\n", "no column reads like a time"),
        ("time,x\n2023-13-01,1\n", "no row can be used"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(written(tmp_path / "bad.csv", text))
    assert "bad.csv" in str(caught.value)


def test_bytes_that_are_not_utf8_cost_no_more_than_their_cell(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", b"t,x\n0,1\n1,\xe9\xff\n2,3\n")
    (recording,), source = read(path)
    assert len(recording.times) == 3
    assert source.report.skipped == {"a value that is not a number": 1}


def test_paths_that_are_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_series(tmp_path / "none.csv")
    with pytest.raises(DataError, match="of a kind that is not read"):
        open_series(written(tmp_path / "a.xlsx", "x"))
    with pytest.raises(DataError, match="holds no file to read"):
        list(open_series(_empty(tmp_path)).recordings())
    with pytest.raises(DataError, match='timezone "Berlin" is not known'):
        open_series(written(tmp_path / "a.csv", ROWS), timezone="Berlin")


def _empty(path: Path) -> Path:
    (path / "empty").mkdir()
    return path / "empty"


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    moments = np.array([START, START + 0.5, np.nan, START + 1])
    stamps = [None if np.isnan(m) else np.datetime64(int(m * 1000), "ms").item() for m in moments]
    base = {"x [V]": [1.5, None, 9.0, float("nan")], "on": [True, False, True, True], "name": ["a", "b", "c", "d"]}
    for name, column in {
        "naive": pa.array(stamps, pa.timestamp("ns")),
        "aware": pa.array(stamps, pa.timestamp("ms", "America/New_York")),
        "text": pa.array(["2023-11-14 22:13:20", "2023-11-14 22:13:20.5", "never", "2023-11-14 22:13:21"]),
        "epoch": pa.array([int(START * 1e3), int(START * 1e3) + 500, None, int(START * 1e3) + 1000]),
    }.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"time": column, **base}), path)
        source = open_series(path)
        (recording,) = source.recordings()
        assert (recording.times - START).tolist() == [0, 0.5, 1], name
        assert recording.channels == (Channel("x", "V"), Channel("on"))
        np.testing.assert_array_equal(recording.values, [[1.5, 1], [np.nan, 0], [np.nan, 1]])
        assert source.report.skipped_total == 1
        assert f"{path}:3" in source.report.examples[0]
        assert source.report.passed_over == {"name": "it holds text"}
    (local,) = open_series(tmp_path / "naive.parquet", timezone="Asia/Tokyo").recordings()
    assert local.times[0] == START - 9 * 3600


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"a\.parquet: not a sound Parquet file"):
        list(open_series(written(tmp_path / "a.parquet", b"PAR1 not really")).recordings())


cells = st.one_of(
    st.floats(allow_nan=False, width=32).map(str),
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(
        ["", "nan", "NULL", "1e400", "-inf", "+5", " 7 ", "0x1", "1_0", "true", "abc", "1,5", "٣", '"8"', "1e-50"]
    ),
)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=30))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_ways_of_reading_agree_on_any_cells(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    text = "t;x;y\n0;1;1\n" + "".join(f"{n + 1};{a};{b}\n" for n, (a, b) in enumerate(rows))
    columns = SeriesColumns(channels=("x", "y"))
    path = written(tmp_path / "a.csv", text)
    try:
        (recording,), _ = read(path, columns=columns)
    except DataError:  # where more than half of a column is no number
        with pytest.raises(DataError, match="holds no numbers"):
            read(path, columns=columns)
    else:
        assert len(recording.times) == len(rows) + 1


def test_settings_of_a_recipe_say_what_is_read(tmp_path: Path) -> None:
    from nearfar.recipe.series import SeriesColumns as RecipeColumns

    columns = RecipeColumns(time="time", channels=("pressure",))
    assert one(written(tmp_path / "a.csv", ROWS), columns=columns).channels == (Channel("pressure", "bar"),)
