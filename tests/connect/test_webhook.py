from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from broker import until

from nearfar.connect.webhook import Webhook
from nearfar.errors import DataError


class Receiver(ThreadingHTTPServer):
    """An HTTP server that answers as it is told, and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        self.came: list[tuple[dict[str, Any], dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.hold.wait(30)
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.server.came.append((body, dict(self.headers)))
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0")
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.hold.set()
        server.shutdown()


def test_records_arrive_in_their_order(receiver: Receiver) -> None:
    hook = Webhook(receiver.url, token="t")
    for number in range(20):
        hook.send({"number": number, "unit": "°C"})
    hook.close()
    assert [body["number"] for body, _ in receiver.came] == list(range(20))
    assert receiver.came[0][1]["Authorization"] == "Bearer t"
    assert (hook.lost, hook.problem) == (0, "")


def test_what_cannot_be_taken_now_is_sent_again_under_the_same_key(receiver: Receiver) -> None:
    receiver.answers = [503, 429, 500]
    hook = Webhook(receiver.url, first_pause=0.01)
    hook.send({"number": 1})
    hook.send({"number": 2})
    hook.close(30)
    assert [body["number"] for body, _ in receiver.came] == [1, 1, 1, 1, 2]
    keys = [headers["Idempotency-Key"] for _, headers in receiver.came]
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[0]
    assert hook.lost == 0


@pytest.mark.parametrize("status", [400, 404, 302])
def test_what_the_server_refuses_is_lost_and_said(receiver: Receiver, status: int) -> None:
    receiver.answers = [status]
    hook = Webhook(receiver.url)
    hook.send({"number": 1})
    assert until(lambda: hook.lost == 1)
    assert str(status) in hook.problem
    hook.close()
    assert len(receiver.came) == 1


def test_a_server_that_hangs_never_holds_up_the_stream(receiver: Receiver) -> None:
    receiver.hold.clear()
    hook = Webhook(receiver.url, kept=10)
    hook.send({"number": 0})
    assert until(lambda: not hook._waiting)
    for number in range(1, 16):
        hook.send({"number": number})
    assert hook.lost == 5
    receiver.hold.set()
    hook.close(30)
    assert [body["number"] for body, _ in receiver.came] == [0, *range(6, 16)]
    assert hook.lost == 5


def test_nobody_there(receiver: Receiver) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hook = Webhook(f"http://127.0.0.1:{port}/x", first_pause=0.01)
    hook.send({"number": 1})
    hook.send({"number": 2})
    assert until(lambda: bool(hook.problem))
    hook.close(0.2)
    assert hook.lost == 2
    assert "refused" in hook.problem


@pytest.mark.parametrize("url", ["http://", "ftp://host/x", "http://me:secret@host/x"])
def test_a_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(DataError) as error:
        Webhook(url)
    assert "secret" not in str(error.value)


def test_a_path_that_may_be_a_secret_is_not_shown(receiver: Receiver) -> None:
    hook = Webhook(receiver.url)
    hook.close()
    assert "hook" not in str(hook)
