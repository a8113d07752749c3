"""A process that is killed at each of its writes, whole or half done, and what the vault says afterwards."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# Forks a child for each write: it has everything imported, opens the vault, is armed, and does one thing.
HARNESS = """
import ctypes, json, os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from people_bundle import people_bundle, picture, pictures
from nearfar.edge.verify import Verifier
from nearfar.bundle import Bundle

work, what, witness = Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "witness"
shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
made, path, mark = work / "made", work / "v", work / "mark.json"
key, options = f"file:{work / 'key'}", {"witness": mark} if witness else {}

DOING = {
    "enroll": lambda verifier: verifier.enroll("bob", pictures(2, 3)),
    "renew": lambda verifier: verifier.enroll("ann", pictures(3, 3), renew=True),
    "fail": lambda verifier: verifier.verify("ann", picture(9, 1)),
    "match": lambda verifier: verifier.verify("ann", picture(1, 60)),
    "revoke": lambda verifier: verifier.revoke("ann"),
    "adopt": lambda verifier: verifier.adopt(work / "b2"),
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

def look():
    with Verifier.open(path, **options) as verifier:
        people = {one.identity: [one.version, one.failures] for one in verifier.identities()}
        entries = [[entry.kind, entry.result] for entry in verifier.audit()]
        matches = {name: verifier.verify(name, picture(number, 70)).accepted
                   for name, number in (("ann", 1), ("ann", 3), ("bob", 2)) if name in people
                   if name != "ann" or (people["ann"][0] == 2) == (number == 3)}
        verifier.enroll("later", pictures(30, 3))
        return people, entries, matches

def begin():
    shutil.rmtree(path, ignore_errors=True)
    mark.unlink(missing_ok=True)
    if what != "create":
        shutil.copytree(made, path)
        if witness:
            shutil.copy(work / "made.json", mark)

def make():
    with Verifier.create(made, people_bundle(work / "b"), key=key, **({"witness": work / "made.json"} if witness else {})) as verifier:
        verifier.enroll("ann", pictures(1, 3))
        verifier.verify("ann", picture(9, 0))
    people_bundle(work / "b2", threshold=0.61)

def act(calls, half):
    def do():
        if what == "create":
            shim.arm(ctypes.c_long(calls), half)
            Verifier.create(path, work / "b", key=key, **options).close()
            return "done"
        verifier = Verifier.open(path, **options)
        shim.arm(ctypes.c_long(calls), half)
        DOING[what](verifier)
        said = "done"
        (work / "said").touch()  # acknowledged; it may still be killed while it closes
        verifier.close()
        return said
    return do

assert child(lambda: make())[0] is False
every = int(sys.argv[6])
for half in map(int, sys.argv[5]):
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
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, HERE / "killing.c", "-ldl"], check=True)
    return library


@pytest.fixture
def work(tmp_path):
    """In memory where there is such a file system: what a killed process has written is there all the same, and syncs are free."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def killed_at_writes(shim, work, what, *, witness=False, half="0", every=1):
    environment = {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-c",
        HARNESS,
        str(HERE.parent),
        str(work),
        what,
        "witness" if witness else "",
        half,
        str(every),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(killed for _, _, killed, _, _ in outcomes) >= max(3, 8 // every), "too few writes were met"
    for *_, state in outcomes:
        assert isinstance(state, list), state  # an error would be a text
    return outcomes


BEFORE = {"ann": [1, 1]}
LOG = [["create", "done"], ["enroll", "done"], ["verify", "no match"]]
AFTER = {
    "enroll": ({"ann": [1, 1], "bob": [1, 0]}, ["enroll", "done"]),
    "renew": ({"ann": [2, 0]}, ["renew", "done"]),
    "fail": ({"ann": [1, 2]}, ["verify", "no match"]),
    "match": ({"ann": [1, 0]}, ["verify", "match"]),
    "revoke": ({}, ["revoke", "done"]),
    "adopt": (BEFORE, ["adopt", "done"]),
}


CASES = [
    ("enroll", False, "01"),
    ("fail", False, "01"),
    ("match", False, "0"),
    ("renew", False, "0"),
    ("revoke", False, "0"),
    ("adopt", False, "0"),
    ("enroll", True, "0"),
    ("fail", True, "0"),
]
QUICK = {("enroll", False): ("0", 3), ("fail", True): ("0", 3), ("adopt", False): ("0", 9)}
"""Evenly spread writes of some; the others, and every write, where more time is taken."""


@pytest.mark.parametrize(
    ("what", "witness", "half", "every"),
    [
        *((*case, *spread) for case, spread in QUICK.items()),
        *(pytest.param(*case, 1, marks=pytest.mark.recipe) for case in CASES),
    ],
)
def test_what_was_done_is_wholly_there_or_not_at_all(shim, work, what, witness, half, every):
    """And wholly where it was acknowledged; the vault then works on, and everybody in it is recognised."""
    people_after, entry = AFTER[what]
    seen = set()
    outcomes = killed_at_writes(shim, work, what, witness=witness, half=half, every=every)
    for torn, calls, killed, said, (people, entries, matches) in outcomes:
        done = entries == [*LOG, entry]
        assert done or entries == LOG, (torn, calls, entries)
        assert people == (people_after if done else BEFORE), (torn, calls)
        assert done or said is None, (torn, calls, "was acknowledged and is lost")
        assert killed or said == "done"
        assert all(matches.values()), (torn, calls, matches)
        seen.add((killed, done))
    assert {(True, False), (False, True)} <= seen
    assert (True, True) in seen or every > 1


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.recipe)])
def test_a_vault_is_made_wholly_or_can_be_made_again(shim, work, every):
    for half, calls, _, _, (people, entries, _) in killed_at_writes(shim, work, "create", every=every):
        assert (people, entries) == ({}, LOG[:1]), (half, calls)
