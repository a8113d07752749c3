"""A process that is killed at each of its writes, whole or half done: nothing acknowledged is lost, and giving it again doubles nothing."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle

pytest.importorskip("cryptography")

TESTS = Path(__file__).parent.parent
KILLING = TESTS / "verify" / "killing.c"

# Forks a child for each write: it has everything imported, opens the history, is armed, and does one thing.
HARNESS = """
import ctypes, json, os, shutil, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent.parent)]
from tests.edge.tiny_recommender_bundle import write_tiny_recommender_bundle
from nearfar.edge.recommend.answers import Event
from nearfar.edge.recommend.recommender import Recommender

work, what = Path(sys.argv[2]), sys.argv[3]
shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
made, path = work / "made", work / "v"
key = f"file:{work / 'key'}"
NEW, LATE = Event("film-020", time=1.5e9, dwell=3.0), Event("film-021", time=1.0e9 - 5)
MANY = [Event(f"film-{number:03}", time=1.6e9 + 100 * number) for number in range(30, 50)]

DOING = {
    "record": lambda recommender: recommender.record(NEW),
    "late": lambda recommender: recommender.record(LATE),
    "many": lambda recommender: recommender.record_many(MANY),
    "forget": lambda recommender: recommender.forget(item="film-002"),
    "bundle": lambda recommender: Recommender.open(path, work / "b2", clock=lambda: 2e9).close(),
}

def child(do):
    # What `do` returns, by a pipe; None where it was killed before it had it.
    reading, writing = os.pipe()
    number = os.fork()
    if not number:
        code = 1
        try:
            os.close(reading)
            said = json.dumps(do()).encode()
            shim.arm(ctypes.c_long(-1), 0)
            os.write(writing, said)
            code = 0
        except BaseException as error:
            shim.arm(ctypes.c_long(-1), 0)
            os.write(writing, json.dumps(f"{type(error).__name__}: {error}").encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    _, status = os.waitpid(number, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, said
    return killed, json.loads(said) if said else None

def held(recommender):
    return [[event.item, event.time] for event in recommender.events()]

def look():
    # What is there, whether the profile is its fold, and what is there once the same was done again.
    with Recommender.open(path, clock=lambda: 2e9) as recommender:
        events, bundle = held(recommender), recommender.bundle.manifest.provenance.recipe_sha256[0]
        serving, memory = recommender._current()
        with recommender._history.look() as change:
            fold = serving.folded(change.all_events()).profile
        sound = fold == memory.profile and len(recommender.recommend(5)) == 5
        if what != "create":
            DOING[what](recommender)
        return events, sound, held(recommender), len(list(path.glob("bundle-*")))

def begin():
    shutil.rmtree(path, ignore_errors=True)
    if what != "create":
        shutil.copytree(made, path)

def make():
    write_tiny_recommender_bundle(work / "b2", seed=5)
    with Recommender.create(made, write_tiny_recommender_bundle(work / "b"), key=key, clock=lambda: 2e9) as recommender:
        recommender.record_many([Event(f"film-{number:03}", time=1e9 + number) for number in range(4)])

def act(calls, half):
    def do():
        if what == "create":
            shim.arm(ctypes.c_long(calls), half)
            Recommender.create(path, work / "b", key=key).close()
            return "done"
        recommender = Recommender.open(path, clock=lambda: 2e9)
        shim.arm(ctypes.c_long(calls), half)
        DOING[what](recommender)
        said = "done"
        (work / "said").touch()  # acknowledged; it may still be killed while it closes
        recommender.close()
        return said
    return do

assert child(lambda: make())[0] is False
every = int(sys.argv[5])
for half in map(int, sys.argv[4]):
    calls = 0
    while True:
        begin()
        (work / "said").unlink(missing_ok=True)
        killed, said = child(act(calls, half))
        if what == "create" and killed and not path.exists():
            again, said = child(act(10**6, 0))
            assert not again and said == "done", said
        print(json.dumps([half, calls, killed, said or ("done" if (work / "said").exists() else None), child(look)[1]]), flush=True)
        if not killed:
            break
        calls += every
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("what counts the writes is compiled for Linux")
    library = tmp_path_factory.mktemp("shim") / "killing.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, KILLING, "-ldl"], check=True)
    return library


@pytest.fixture
def work(tmp_path):
    """In memory where there is such a file system: what a killed process has written is there all the same, and syncs are free."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def killed_at_writes(shim, work, what, *, half="0", every=1):
    environment = {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", HARNESS, str(TESTS), str(work), what, half, str(every)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(killed for _, _, killed, _, _ in outcomes) >= 2, "too few writes were met"
    for *_, state in outcomes:
        assert isinstance(state, list), state  # an error would be a text
    return outcomes


FIRST = [[f"film-{number:03}", 1e9 + number] for number in range(4)]
AFTER = {
    "record": [*FIRST, ["film-020", 1.5e9]],
    "late": [["film-021", 1e9 - 5], *FIRST],
    "many": [*FIRST, *([f"film-{number:03}", 1.6e9 + 100 * number] for number in range(30, 50))],
    "forget": [*FIRST[:2], *FIRST[3:]],
    "bundle": FIRST,
}
QUICK = {"record": 2, "forget": 3, "bundle": 7}
"""Evenly spread writes of some; the others, and every write, where more time is taken."""


@pytest.mark.parametrize(
    ("what", "half", "every"),
    [
        *((what, "0", every) for what, every in QUICK.items()),
        *(pytest.param(what, "01", 1, marks=pytest.mark.recipe) for what in AFTER),
    ],
)
def test_what_was_done_is_wholly_there_or_not_at_all(shim, work, what, half, every):
    """And wholly where it was acknowledged; doing it again after that leaves it done once."""
    seen = set()
    for torn, calls, killed, said, (events, sound, again, bundles) in killed_at_writes(
        shim, work, what, half=half, every=every
    ):
        done = events == AFTER[what]
        assert done or events == FIRST, (torn, calls, events)
        assert done or said is None, (torn, calls, "was acknowledged and is lost")
        assert killed or said == "done"
        assert sound, (torn, calls, "the profile is not that of the history")
        assert again == AFTER[what], (torn, calls, again)
        assert bundles == 1, (torn, calls)
        seen.add((killed, done))
    assert (False, True) in seen
    assert (True, False) in seen or what == "bundle"
    assert (True, True) in seen or every > 1


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.recipe)])
def test_a_history_is_begun_wholly_or_can_be_begun_again(shim, work, every):
    for half, calls, _, _, (events, sound, _, _) in killed_at_writes(shim, work, "create", every=every):
        assert events == [], (half, calls)
        assert sound


def test_killed_at_any_moment_again_and_again(tmp_path):
    """What benchmarks/tools/recommend_crash.py does a thousand times: late events, batches and forgetting among them."""
    if not hasattr(os, "fork"):
        pytest.skip("the processes are forked")
    bundle = write_tiny_recommender_bundle(tmp_path / "b", names=[f"item-{number}" for number in range(60)])
    command = [sys.executable, "-m", "tools.recommend_crash", bundle.path, tmp_path / "w", "--kills", 12, "--seed", 3]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parents[1] / "benchmarks"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert (outcome["lost"], outcome["doubled"], outcome["broken"]) == (0, 0, 0), outcome["examples"]
    assert outcome["kills"] == 12
    assert outcome["events"] > 0
    # How fast the machine is decides where a kill lands; that none lands in a change would be no test.
    assert outcome["in_doubt"] > 0
