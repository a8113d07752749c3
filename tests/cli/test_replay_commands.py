"""`nearfar replay`, `nearfar evaluate`, `nearfar simulate` and `nearfar calibrate` on made streams."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_monitor import NAMES, START, healthy, made_bundle, made_detector, made_record
from rich.console import Console

from nearfar.bundle import Bundle, Metric, describe, render_card
from nearfar.cli.console import show_broken_promise
from nearfar.connect.records import sentence
from nearfar.edge.monitor.events import Cleared, Drift, SensorFault
from nearfar.edge.monitor.monitor import Monitor
from nearfar.road.evaluate_stream import evaluate_streams
from nearfar.road.replay import missing_channels, replay
from nearfar.road.replay_lanes import curve, ticks
from nearfar.sources.recording import Channel, Recording


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_bundle(tmp_path_factory.mktemp("replay") / "bundle").path


@pytest.mark.parametrize(("low", "warned"), [(6.8, True), (0.9, False)])
def test_a_promise_that_was_not_kept_is_said_aloud(
    low: float, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Metric(value=31.0, low=low, high=73.0)
    record = made_record(tail="conformal", realised_per_day=found)
    show_broken_promise(record)
    said = "promised at most 1 false alarm a day, but there were 31 [6.8, 73] a day on later healthy data: record more healthy days"
    assert (said in capsys.readouterr().err) == warned
    made = made_bundle(tmp_path / "bundle", made_detector(record=record))
    card = render_card(made.manifest)
    assert (f"**Not kept when it was tried: {said}" in card) == warned
    assert ("not kept" in dict(describe(made))) == warned
    assert "it runs on numpy alone" in card
    assert "split: in time" in card


def recording(rows: int, *, machine: str = "", faults: tuple[tuple[int, int], ...] = (), seed: int = 5) -> Recording:
    values, labels = healthy(rows, seed=seed), np.zeros(rows, np.int8)
    for start, stop in faults:
        values[start:stop, 3] += 2.0
        labels[start:stop] = 1
    channels = tuple(Channel(name) for name in NAMES)
    return Recording(machine, channels, START + np.arange(rows), values, labels, location="made")


def write(path: Path, made: Recording, label: str = "fault") -> None:
    rows = [",".join(("time", *NAMES, label))]
    for time, values, label in zip(made.times, made.values, made.labels, strict=True):
        rows.append(",".join([str(time), *(f"{value:.5f}" for value in values), str(label)]))
    path.write_text("\n".join(rows) + "\n", "utf-8")


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.boxes: list[str] = []
        self.paths: dict[str, int] = {}
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "rect":
            self.boxes.append(found["class"] or "")
        if tag == "path":
            self.paths[found["class"] or ""] = (found["d"] or "").count("M")
        self.addresses += [found[name] or "" for name in ("src", "href") if name in found]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_a_trace_is_what_the_monitor_tells(bundle: Path) -> None:
    made = recording(600, faults=((300, 400),))
    (trace,) = replay(bundle, [made])
    monitor = Monitor.open(bundle)
    for start in range(0, 600, 7):
        monitor.update(made.values[start : start + 7], made.times[start : start + 7])
    monitor.flush()
    assert list(trace.events) == monitor.drain()
    assert len(trace.alarms) == 1
    assert trace.labels is not None
    np.testing.assert_array_equal(trace.labels, made.labels.astype(bool))
    assert trace.alarmed.sum() == pytest.approx(100, abs=25)


def test_a_missed_second_does_not_cut_a_labelled_fault_in_two(bundle: Path) -> None:
    made = recording(400, faults=((200, 260),))
    keep = np.ones(400, bool)
    keep[[150, 230, 231, 300]] = False
    gappy = Recording("", made.channels, made.times[keep], made.values[keep], made.labels[keep])
    (trace,) = replay(bundle, [gappy])
    assert trace.labels is not None
    np.testing.assert_array_equal(trace.labels, made.labels.astype(bool))


def test_figures_of_streams(bundle: Path) -> None:
    streams = [recording(600, machine="a", faults=((300, 400), (500, 600))), recording(600, machine="b", seed=6)]
    report = evaluate_streams(bundle, streams)
    assert [stream.name for stream in report.streams] == ["a", "b"]
    assert report.pooled.scores.events.events == 2
    assert report.pooled.scores.events.found.value == 1.0
    assert report.pooled.frames == 1200
    assert report.pooled.scores.frames.f1 > 0.8 > report.always.scores.frames.f1
    assert report.always.scores.frames.far == 1.0
    assert report.pooled.scores.auc_pr > 0.9


def test_evaluate_prints_and_writes(nearfar, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "one.csv", recording(500, faults=((300, 400),)))
    write(tmp_path / "data" / "two.csv", recording(500, faults=((200, 300),), seed=8))
    options = ["--label", "fault", "--machines", "file", "--json", tmp_path / "figures.json"]
    code, out, err = nearfar("evaluate", bundle, tmp_path / "data", *options)
    assert code == 0, err
    assert "2 of 2 faults found" in out
    assert re.search(r"^two ", out, re.MULTILINE)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["streams"]) == {"one", "two"}
    assert figures["all"]["f1"] > figures["always_on"]["f1"]
    assert figures["all"]["events_found"]["low"] < 1.0
    code, _, err = nearfar("evaluate", bundle, tmp_path / "data")
    assert code == 2
    assert "--label" in err
    code, _, err = nearfar("evaluate", bundle, tmp_path / "data", "--label", "nothing")
    assert code == 2
    assert "nothing" in err


def test_the_page_shows_alarms_labels_and_every_channel_and_needs_nothing_else(
    nearfar, bundle: Path, tmp_path: Path
) -> None:
    made = recording(3000, faults=((1000, 1200), (2000, 2100)))
    made.values[1500:1600, 1] = made.values[1500, 1]
    write(tmp_path / "a.csv", made)
    code, out, err = nearfar("replay", bundle, tmp_path / "a.csv", "-o", tmp_path / "a.html", "--label", "fault")
    assert code == 0, err
    assert "3,000 frames, 2 alarms" in out
    text = (tmp_path / "a.html").read_text("utf-8")
    page = Page(text)
    assert page.boxes.count("alarm") == 2
    assert page.boxes.count("label") == 2
    assert page.boxes.count("out") >= 1
    assert "stuck" in page.words
    assert set(NAMES) <= set(page.words)
    assert "2 of 2" in page.words
    assert page.addresses == []
    assert "http" not in text
    plot = json.loads(re.search(r'id="plot0">(.*?)</script>', text).group(1))
    assert [one["name"] for one in plot["series"]] == ["score", *NAMES]
    assert {len(one["values"]) for one in plot["series"]} == {plot["count"]}


def test_a_column_that_is_named_label_needs_no_naming(nearfar, bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", recording(500, faults=((300, 400),)), label="label")
    code, out, err = nearfar("evaluate", bundle, tmp_path / "a.csv")
    assert code == 0, err
    assert 'column "label" is taken as label' in err
    assert "1 of 1 faults found" in out
    code, _, err = nearfar("replay", bundle, tmp_path / "a.csv", "-o", tmp_path / "a.html")
    assert code == 0, err
    assert Page((tmp_path / "a.html").read_text("utf-8")).boxes.count("label") == 1


def test_a_fault_that_begins_under_an_alarm_is_told_apart(nearfar, bundle: Path, tmp_path: Path) -> None:
    made = recording(800, faults=((300, 500),))
    made.labels[300:400] = 0
    write(tmp_path / "a.csv", made)
    code, out, err = nearfar("evaluate", bundle, tmp_path / "a.csv", "--label", "fault", "--json", tmp_path / "a.json")
    assert code == 0, err
    assert "0 of 1 faults found" in out
    assert "1 more began under an alarm" in out
    figures = json.loads((tmp_path / "a.json").read_text())
    assert figures["all"]["events_already_alarmed"] == 1
    assert figures["all"]["false_alarms_per_day"]["value"] == 0
    assert figures["always_on"]["events_found"]["value"] == 0


def test_a_machine_that_has_settled_to_something_else_is_shown(tmp_path: Path) -> None:
    from nearfar.road.replay_html import html_page

    settling = made_bundle(tmp_path / "bundle", made_detector(record=made_record(settle=0.5)))
    made = recording(1200)
    made.values[300:360, 3] += 3.0
    made.values[360:900, 3] += 0.7
    (trace,) = replay(settling, [made])
    ends = [event for event in trace.events if isinstance(event, Cleared)]
    assert [event.settled for event in ends] == [True]
    assert "still above the threshold" in sentence(ends[0])
    ((begin, end),) = trace.settled
    assert begin == ends[0].time
    assert START + 850 < end < START + 940
    page = Page(html_page([trace], "pump"))
    assert page.boxes.count("settled") == 1
    assert any(re.search(r", then 8:\d\d above", words) for words in page.words)


def test_a_name_cannot_break_the_page(tmp_path: Path, bundle: Path) -> None:
    from nearfar.road.replay_html import html_page

    (trace,) = replay(bundle, [recording(200, machine="<script>alert(1)</script>")])
    text = html_page([trace], "</title><b>")
    assert "<script>alert" not in text
    assert "<b>" not in text.replace("<b>0", "").replace("<b>0.0%", "")


def test_a_picture_is_drawn(nearfar, bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "a.csv", recording(800, faults=((300, 400),)))
    code, _, err = nearfar("replay", bundle, tmp_path / "data" / "a.csv", "-o", tmp_path / "a.png", "--label", "fault")
    assert code == 0, err
    with image.open(tmp_path / "a.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
        assert picture.width > 1000
    assert {(0xD1, 0x34, 0x3F), (0xE0, 0x9A, 0x1A)} <= colours  # an alarm and a label
    write(tmp_path / "data" / "b.csv", recording(300))
    options = ["-o", tmp_path / "b.png", "--machines", "file"]
    code, _, err = nearfar("replay", bundle, tmp_path / "data", *options)
    assert code == 2
    assert "--machine" in err
    assert nearfar("replay", bundle, tmp_path / "data", *options, "--machine", "b")[0] == 0
    code, _, err = nearfar("replay", bundle, tmp_path / "data", *options, "--machine", "c")
    assert code == 2
    assert "there are a, b" in err


@pytest.mark.parametrize("name", ["a.pdf", "no/such/a.html"])
def test_a_picture_that_could_not_be_written_is_refused_before_work(
    nearfar, bundle: Path, tmp_path: Path, name: str
) -> None:
    write(tmp_path / "a.csv", recording(50))
    code, _, err = nearfar("replay", bundle, tmp_path / "a.csv", "-o", tmp_path / name)
    assert code == 2
    assert "-o" in err or "no folder" in err


def test_a_long_stream_loses_no_peak() -> None:
    values = np.zeros(100_000, np.float32)
    values[54_321] = 7.0
    values[20_000:30_000] = np.nan
    line = curve(np.arange(100_000.0), values, (0.0, 100_000.0), 500, 1.0)
    assert np.nanmax(line.high) == 7.0
    assert np.isnan(line.high[101:149]).all()
    assert len(line.x) == 500


@pytest.mark.parametrize("length", [30.0, 3600.0, 86_400.0, 86_400.0 * 30, 86_400.0 * 2000])
def test_marks_of_time_are_few_and_round(length: float) -> None:
    marks = ticks((START, START + length))
    assert 2 <= len(marks) <= 11
    assert all(START <= mark.time <= START + length for mark in marks)
    assert ticks((0.0, 90.0))[-1].text == "1:30"


def test_a_sensor_that_is_out_is_shown_until_it_is_back(bundle: Path) -> None:
    made = recording(400)
    made.values[100:200, 0] = made.values[100, 0]
    (trace,) = replay(bundle, [made])
    assert any(isinstance(event, SensorFault) for event in trace.events)
    ((begin, end, why),) = trace.sensors_out(NAMES[0])
    assert why == "stuck"
    assert START + 99 <= begin < START + 130
    assert START + 195 <= end <= START + 215


def test_simulated_data_trains_nothing_but_calibrates_and_replays(nearfar, tmp_path: Path) -> None:
    code, out, err = nearfar("simulate", "machine", "-o", tmp_path / "machine", "--minutes", "0.5", "--rate", "1000")
    assert code == 0, err
    assert out.count(" s  ") == 3
    assert len(list((tmp_path / "machine" / "faulty").iterdir())) == 2
    code, out, err = nearfar("simulate", "plant", "-o", tmp_path / "plant", "--days", "0.05", "--faults", "2")
    assert code == 0, err
    rows = (tmp_path / "plant" / "faulty" / "plant.csv").read_text("utf-8").splitlines()
    assert len(rows) == 1 + 4320
    labels = [row.endswith(",1") for row in rows[1:]]
    assert 0.2 < np.mean(labels) < 0.4
    healthy_rows = (tmp_path / "plant" / "healthy" / "plant.csv").read_text("utf-8").splitlines()
    assert not any(row.endswith(",1") for row in healthy_rows[1:])


def test_calibrate_makes_a_new_bundle_for_another_machine(nearfar, bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", recording(12_000, seed=9))
    code, out, err = nearfar("calibrate", bundle, tmp_path / "a.csv", "-o", tmp_path / "new", "--label", "fault")
    assert code == 0, err
    assert "At most 1 false alarm a day on average is promised" in " ".join(out.split())
    assert Monitor.open(tmp_path / "new").threshold != Monitor.open(bundle).threshold
    code, _, err = nearfar("calibrate", bundle, tmp_path / "a.csv", "-o", tmp_path / "new2", "--machine", "x")
    assert code == 2
    assert "there is no machine 'x'" in err


def test_options_for_people_are_refused_for_a_monitor(nearfar, bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", recording(100))
    new = tmp_path / "new"
    code, _, err = nearfar("calibrate", bundle, tmp_path / "a.csv", "-o", new, "--fmr", "0.01", "--samples", "3")
    assert code == 2
    assert "--fmr, --samples: not of use with a monitor" in " ".join(err.split())
    code, _, err = nearfar("evaluate", bundle, tmp_path / "a.csv", "--plot", "det.png", "--no-attacks")
    assert code == 2
    assert "--plot, --attacks" in err


def test_calibrate_promises_nothing_where_other_machines_set_the_threshold(nearfar, tmp_path: Path) -> None:
    old = made_bundle(tmp_path / "old", made_detector(record=made_record(fleet_ratio=1.5)))
    write(tmp_path / "short.csv", recording(700, seed=9))
    code, out, err = nearfar("calibrate", old.path, tmp_path / "short.csv", "-o", tmp_path / "new", "--label", "fault")
    assert code == 0, err
    shown = " ".join(out.split())
    assert "No number of false alarms a day is promised" in shown
    assert "fleet" in shown
    assert "blocks" not in shown


def test_calibrate_keeps_how_it_scores_unless_it_is_to_choose(nearfar, bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", recording(12_000, seed=9))
    before = Bundle.open(bundle).manifest.detector
    assert before is not None
    made = []
    for name, options in {"usual": (), "strict": ("--false-alarms", "0.1"), "chosen": ("--choose",)}.items():
        code, _, err = nearfar(
            "calibrate", bundle, tmp_path / "a.csv", "-o", tmp_path / name, "--label", "fault", *options
        )
        assert code == 0, err
        made.append(Bundle.open(tmp_path / name).manifest.detector)
    usual, strict, chosen = made
    for record in (usual, strict):
        assert (record.features, record.by, record.smooth) == (before.features, before.by, before.smooth)
        assert (record.needed, record.out_of, record.block) == (before.needed, before.out_of, before.block)
        assert not record.trials
    assert strict.false_alarms_per_day == 0.1
    assert strict.threshold > usual.threshold
    assert usual.false_alarms_per_day == before.false_alarms_per_day
    assert chosen.trials


def test_the_figures_of_a_monitor_are_shown_as_such() -> None:
    from nearfar.cli.console import figures_table

    metrics = {"raw": {"fault_auc_pr": Metric(value=0.5)}, "bundle": {"fault_auc_pr": Metric(value=0.625)}}
    console = Console(file=io.StringIO(), width=100)
    console.print(figures_table(metrics))
    shown = console.file.getvalue()
    assert "Faults injected into held-out healthy data" in " ".join(shown.split())
    assert re.search(r"AUC-PR.*\nmeans, no encoder +0\.500 *\nbundle +0\.625", shown)


def test_channels_that_no_recording_of_a_machine_has_are_missing() -> None:
    whole, half = recording(5, machine="a"), recording(5, machine="b")
    slow = Recording("b", half.channels[:2], half.times, half.values[:, :2], location="slow")
    fast = Recording("b", half.channels[2:3], half.times, half.values[:, 2:3], location="fast")
    assert missing_channels([whole, slow, fast], NAMES) == {"b": tuple(NAMES[3:])}
    assert missing_channels([whole], NAMES) == {}


@pytest.mark.parametrize(("ratio", "means"), [(0.8, "faults may be missed"), (1.3, "more false alarms than promised")])
def test_a_drift_says_what_it_does_to_alarms(ratio: float, means: str) -> None:
    assert means in sentence(Drift(START, ratio, 0.0))
