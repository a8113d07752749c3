"""A real mosquitto for the tests, that can be stopped and started again on the same port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest


class Broker:
    """mosquitto in a folder of its own."""

    def __init__(self, folder: Path, *lines: str) -> None:
        binary = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if binary is None:
            pytest.skip("no mosquitto here: install it (apt-get install mosquitto), or put it on the PATH")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._binary, self._log = binary, folder / "mosquitto.log"
        self._settings = folder / "mosquitto.conf"
        who = ["user root"] if os.geteuid() == 0 else []
        self._settings.write_text(
            "\n".join([f"listener {self.port} 127.0.0.1", *(lines or ["allow_anonymous true"]), *who]) + "\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._binary, "-c", str(self._settings)], stdout=log, stderr=log)
        for _ in range(200):
            if self._process.poll() is None and not socket.socket().connect_ex(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        raise AssertionError(f"mosquitto did not start:\n{self._log.read_text()}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def until(true, seconds: float = 30.0) -> bool:
    """Wait for something that happens in another thread or process; whether it did."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return bool(true())
