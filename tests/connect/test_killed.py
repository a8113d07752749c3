"""kill -9 in the middle of a push, again and again: nothing is lost, nothing is left over, nothing comes twice."""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from made_passages import MadePassages
from servers import postgres, qdrant

from nearfar.connect.address import parse_address
from nearfar.connect.outgoing import outgoing
from nearfar.connect.server import connect
from nearfar.connect.transfer import push_passages

_STEP = 2000
"""Passages that each push has to send, in four batches."""
_KILLS = 4


@pytest.fixture(scope="module", params=["pgvector", "qdrant"])
def place(request):
    with tempfile.TemporaryDirectory(prefix="nearfar-kill-") as folder:
        if request.param == "pgvector":
            pytest.importorskip("psycopg", reason="the extra pgvector is not installed")
            with postgres(Path(folder) / "pg") as sockets:
                yield f"pgvector://postgres@/postgres?host={sockets}&table=docs"
            return
        pytest.importorskip("qdrant_client", reason="the extra qdrant is not installed")
        with qdrant(Path(folder) / "qdrant") as running:
            yield f"qdrant://{running}/docs"


def test_a_killed_push_goes_on_where_it_was(place):
    rng = random.Random(7)
    for kill in range(1, _KILLS + 1):
        _push_and_kill(place, kill * _STEP, "passages", after=(kill - 1) * _STEP + rng.randrange(_STEP // 2), rng=rng)
    # The index has become smaller; this one is killed while it deletes.
    _push_and_kill(place, _STEP, "gone", after=1, rng=rng)
    passages = MadePassages(_STEP + 100)
    expected = {passage.key: passage.digest for block in outgoing(passages, 500) for passage in block}
    server = _eventually(place)
    try:
        assert not server.about().whole
        report = push_passages(passages, server, place="here")
        assert report.unchanged >= _STEP - 500
        keys = [key for block in server.keys(500) for key in block]
        assert len(keys) == len(expected)
        assert server.digests(keys) == expected
        assert server.about().whole
        assert push_passages(passages, server, place="here").unchanged == len(expected)
    finally:
        server.close()


def _push_and_kill(place: str, count: int, stage: str, *, after: int, rng: random.Random) -> None:
    """Push so many passages, and kill the push at a random moment after a stage has come so far."""
    script = Path(__file__).with_name("killed_push.py")
    with subprocess.Popen(
        [sys.executable, str(script), place, str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as pusher:
        for line in pusher.stdout:
            now, done = line.split()
            if now == stage and int(done) >= after:
                break
        time.sleep(rng.random() * 0.01)
        pusher.kill()
        _, said = pusher.communicate()
    assert pusher.returncode == -9, f"the push was over before it could be killed: {said}"


def _eventually(place: str):
    """Reach a place that a killed push may hold for a moment longer."""
    for _ in range(100):
        server = connect(parse_address(place))
        try:
            server.lock()
        except Exception:
            server.close()
            time.sleep(0.1)
        else:
            return server
    raise AssertionError("the killed push still holds its lock")
