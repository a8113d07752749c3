"""`nearfar monitor` as a service runs it: a process of its own, real files, a real broker, a real HTTP server."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from broker import Broker, until
from made_monitor import NAMES, START, healthy, made_bundle
from rich.console import Console

from nearfar.cli.live_chart import columns_of, plot

HEADER = ",".join(("time", *NAMES))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_bundle(tmp_path_factory.mktemp("monitor") / "bundle").path


def lines(rows: int, *, first: int = 0, fault: tuple[int, int] | None = None, seed: int = 5) -> list[str]:
    """Rows of a CSV file, the current far too high from one row to another."""
    values = healthy(first + rows, seed=seed)[first:]
    if fault is not None:
        values[fault[0] - first : fault[1] - first, 3] += 2.0
    return [
        ",".join([f"{START + first + row:.1f}", *(f"{value:.5f}" for value in some)]) for row, some in enumerate(values)
    ]


def write(path: Path, rows: list[str], mode: str = "w") -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.write("\n".join(rows) + "\n")


class Running:
    """`nearfar monitor` in a process of its own, whose standard output is collected."""

    def __init__(self, *arguments: object, stdin: int | None = None) -> None:
        command = [sys.executable, "-m", "nearfar", "monitor", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.records: list[dict] = []
        self.notes: list[str] = []
        self._threads = [
            threading.Thread(target=self._records, args=(self.process.stdout,)),
            threading.Thread(target=self._notes, args=(self.process.stderr,)),
        ]
        for thread in self._threads:
            thread.start()

    def kinds(self, kind: str = "alarm") -> list[dict]:
        return [record for record in self.records if record["kind"] == kind]

    def end(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(60)
        for thread in self._threads:
            thread.join(30)
        assert not any("Traceback" in note for note in self.notes), "".join(self.notes)
        return code

    def _records(self, stream: IO[str]) -> None:
        for line in stream:
            self.records.append(json.loads(line))

    def _notes(self, stream: IO[str]) -> None:
        self.notes.extend(stream)


@pytest.fixture
def run() -> Iterator[type[Running]]:
    started: list[Running] = []

    class Started(Running):
        def __init__(self, *arguments: object, stdin: int | None = None) -> None:
            super().__init__(*arguments, stdin=stdin)
            started.append(self)

    yield Started
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_alarms_of_a_file_are_lines_of_json(nearfar, bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [HEADER, *lines(400, fault=(200, 260))])
    code, out, err = nearfar("monitor", bundle, "--from", tmp_path / "a.csv", "--name", "pump")
    assert code == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["kind"] for record in records] == ["alarm", "cleared"]
    alarm = records[0]
    assert list(alarm)[:4] == ["kind", "name", "time", "text"]
    assert (alarm["name"], alarm["channels"][0]["channel"]) == ("pump", "current")
    assert alarm["time"].startswith("2023-11-14T22:16:4")
    assert alarm["score"] > alarm["threshold"]
    assert "400 samples, 1 alarm" in err


def test_standard_input_of_other_layouts_gives_the_same_alarms(run, bundle: Path, tmp_path: Path) -> None:
    wide = lines(300, fault=(150, 200))
    split = [row.split(",") for row in wide]
    forms = {
        "wide": [HEADER, *wide],
        "units, decimal commas, another order": [
            "current (A);flow [l/min];pressure;temperature [°C];time",
            *(";".join(cell.replace(".", ",") for cell in reversed(row[1:])) + f";{row[0]}" for row in split),
        ],
        "long": [
            "time,channel,value",
            *(f"{row[0]},{name},{row[1 + i]}" for row in split for i, name in enumerate(NAMES)),
        ],
        "no header": wide,
        "bad rows": [HEADER, *wide[:50], "1,2", "never,1,2,3,4", *wide[50:]],
    }
    told = {}
    for name, rows in forms.items():
        running = run(bundle, stdin=subprocess.PIPE)
        running.process.stdin.write("\n".join(rows))
        running.process.stdin.close()
        assert running.end() == 0, running.notes
        told[name] = running.records
        if name == "bad rows":
            assert any("another number of cells" in note for note in running.notes)
            assert any("unreadable times" in note for note in running.notes)
    assert len(told["wide"]) == 2
    # The last frame may still be open, or not, when the stream ends: that is after the alarm is over.
    assert all(records == told["wide"] for records in told.values())


def test_a_header_that_does_not_fit_is_told(nearfar, bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", ["time,x,y", "1,2,3"])
    code, _, err = nearfar("monitor", bundle, "--from", tmp_path / "a.csv")
    assert code == 2
    assert "no column is a channel of the bundle" in err
    write(tmp_path / "a.csv", ["1,2,3"])
    code, _, err = nearfar("monitor", bundle, "--from", tmp_path / "a.csv")
    assert code == 2
    assert "begin with a line of names: time,temperature" in err


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--from", "nowhere.csv"], "there is no such file"),
        (["--follow"], "--follow is of a file"),
        (["--from", "ftp://host/x"], "samples come from"),
        (["--alarms", "mail"], "alarms go to"),
        (["--from", "mqtt://127.0.0.1:1/x"], "cannot be reached"),
        (["--timezone", "Mars/Olympus"], "timezone"),
        (["--machine", "a"], "which column names it"),
    ],
)
def test_wrong_options_are_told(nearfar, bundle: Path, options: list[str], part: str) -> None:
    code, _, err = nearfar("monitor", bundle, *options)
    assert code == 2
    assert part in err


def test_a_followed_file_may_be_cut_and_replaced(run, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    write(path, [HEADER, *lines(100)])
    running = run(bundle, "--from", path, "--follow", "--state", tmp_path / "state")
    assert until(lambda: (tmp_path / "state").exists())
    path.rename(tmp_path / "log.csv.1")
    write(tmp_path / "log.csv.1", lines(50, first=100), "a")
    write(path, [HEADER, *lines(150, first=150, fault=(160, 260))])
    assert until(lambda: len(running.kinds()) == 1)
    write(path, [HEADER, *lines(120, first=300)])
    assert until(lambda: len(running.kinds("cleared")) == 1)
    with path.open("a", encoding="utf-8") as file:
        file.write(lines(1, first=420)[0][:12])  # half a line is no line yet
    assert running.end(signal.SIGTERM) == 0
    assert any("420 samples" in note for note in running.notes), running.notes
    assert not running.kinds("clock")


def test_ctrl_c_keeps_the_state_and_the_next_run_goes_on(run, nearfar, bundle: Path, tmp_path: Path) -> None:
    path, state = tmp_path / "log.csv", tmp_path / "state"
    rows = lines(500, fault=(300, 400))
    write(path, [HEADER, *rows[:250]])
    first = run(bundle, "--from", path, "--follow", "--state", state)
    assert until(lambda: state.exists())
    write(path, rows[250:350], "a")
    assert until(lambda: len(first.kinds()) == 1)
    assert first.end(signal.SIGINT) == 130
    write(path, rows[350:], "a")
    code, out, err = nearfar("monitor", bundle, "--from", path, "--state", state)
    assert code == 0
    assert [json.loads(line)["kind"] for line in out.splitlines()] == ["cleared"]
    assert "151 samples" in err  # the frame that was still open is read again
    whole, expected, _ = nearfar("monitor", bundle, "--from", path)
    assert whole == 0
    assert expected.splitlines()[1:] == out.splitlines()


def test_a_killed_monitor_goes_on_from_its_last_saving(run, nearfar, bundle: Path, tmp_path: Path) -> None:
    path, state = tmp_path / "log.csv", tmp_path / "state"
    rows = lines(500, fault=(300, 400))
    write(path, [HEADER, *rows[:280]])
    first = run(bundle, "--from", path, "--follow", "--state", state, "--save-every", "10")
    assert until(lambda: state.exists())
    first.process.kill()
    first.end()
    write(path, rows[280:], "a")
    code, out, _ = nearfar("monitor", bundle, "--from", path, "--state", state)
    assert code == 0
    assert out == nearfar("monitor", bundle, "--from", path)[1]
    state.write_text("torn")
    code, _, err = nearfar("monitor", bundle, "--from", path, "--state", state)
    assert code == 2
    assert "--restart" in err
    assert nearfar("monitor", bundle, "--from", path, "--state", state, "--restart")[0] == 0


def test_a_reader_that_has_seen_enough_is_no_failure(bundle: Path, tmp_path: Path) -> None:
    rows = lines(3000)
    for start in range(100, 3000, 300):
        rows[start : start + 60] = lines(60, first=start, fault=(start, start + 60))
    write(tmp_path / "log.csv", [HEADER, *rows])
    command = [sys.executable, "-m", "nearfar", "monitor", bundle, "--from", tmp_path / "log.csv", "--speed", "2000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"] == "alarm"
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_silence_is_told_once(run, bundle: Path) -> None:
    running = run(bundle, "--silence", "0.5", stdin=subprocess.PIPE)
    running.process.stdin.write("\n".join([HEADER, *lines(20)]) + "\n")
    running.process.stdin.flush()
    assert until(lambda: len(running.records) == 1)
    assert not until(lambda: len(running.records) > 1, 1.5)
    assert running.records[0]["kind"] == "silence"
    running.process.stdin.close()
    assert running.end() == 0


def test_mqtt_in_and_out_survives_a_broker_that_restarts(run, bundle: Path, tmp_path: Path) -> None:
    mqtt = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    broker = Broker(tmp_path)
    broker.start()
    try:
        running = run(bundle, "--from", f"{broker.url}/plant/#", "--alarms", f"{broker.url}/alarms", "--alarms", "-")
        came: list[dict] = []
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        ready = threading.Event()

        def greet(client, *_: object) -> None:
            client.subscribe([("alarms", 1), ("alarms/status", 1)])

        def take(client, _: object, message) -> None:
            if message.topic == "alarms":
                came.append(json.loads(message.payload))
            elif message.payload == b"online":
                ready.set()

        client.on_connect, client.on_message = greet, take
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        assert ready.wait(30)
        rows = [line.split(",") for line in [*lines(200, fault=(150, 170)), *lines(200, first=200, fault=(300, 350))]]

        def send(some: list[list[str]]) -> None:
            for time, *values in some:
                content = dict(zip(NAMES, map(float, values), strict=True)) | {"time": float(time)}
                client.publish("plant/pump", json.dumps(content), qos=1)

        client.publish("plant/temperature", "no number", qos=1)
        client.publish("plant/other", "5", qos=1)
        send(rows[:200])
        # All of it has come when the alarm is over, so that nothing is under way while the broker is killed.
        assert until(lambda: len(came) == 2)
        broker.stop()
        assert until(lambda: any("the connection is lost" in note for note in running.notes))
        ready.clear()
        broker.start()
        assert until(lambda: any("connections are back" in note for note in running.notes))
        assert ready.wait(30)
        assert until(client.is_connected)
        send(rows[200:])
        assert until(lambda: len(came) == 4), (came, running.records, running.notes)
        client.loop_stop()
        assert running.end(signal.SIGTERM) == 0
        assert came == running.records
        assert [record["kind"] for record in came] == ["alarm", "cleared"] * 2
        assert any("skipped 1: unreadable messages" in note for note in running.notes), running.notes
        assert any("of no channel of the bundle" in note for note in running.notes)
    finally:
        broker.stop()


def test_webhook_gets_the_same_and_a_dead_one_does_not_stop_the_stream(nearfar, bundle: Path, tmp_path: Path) -> None:
    came: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    write(tmp_path / "a.csv", [HEADER, *lines(400, fault=(200, 260))])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/alarms"
        code, out, _ = nearfar("monitor", bundle, "--from", tmp_path / "a.csv", "--alarms", url, "--alarms", "-")
        server.shutdown()
    assert code == 0
    assert came == [json.loads(line) for line in out.splitlines()]
    assert len(came) == 2
    code, _, err = nearfar("monitor", bundle, "--from", tmp_path / "a.csv", "--alarms", url)
    assert code == 0
    assert "lost 2 events" in err


def test_the_plot_shows_every_peak_and_the_threshold() -> None:
    scores = np.ones(5000, np.float32)
    scores[1234] = 9.0
    columns = columns_of(scores, 100)
    assert (columns == 9.0).sum() == 1
    assert np.isnan(columns_of(scores[:3], 10)[:7]).all()
    drawn = io.StringIO()
    console = Console(file=drawn, width=120, color_system=None)
    for row in plot(scores, 5.0, 60):
        console.print(row)
    shown = drawn.getvalue()
    assert "5 ┤" in shown
    assert "╌" in shown
    assert len(shown.splitlines()) == 8
    assert all(len(row) == len(plot(np.zeros(0, np.float32), 5.0, 60)[0]) for row in plot(scores, 5.0, 60))


def test_a_chart_is_drawn_where_it_is_asked_for(nearfar, bundle: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [HEADER, *lines(400, fault=(200, 260))])
    code, out, err = nearfar("monitor", bundle, "--from", tmp_path / "a.csv", "--chart")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "healthy" in err
    assert "most of it" in err
