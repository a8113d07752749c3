"""What careless callers do: interrupt, fork, fill the disk, share a vault among threads of processes."""

import multiprocessing
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from interrupting import interrupted
from people_bundle import people_bundle, picture, pictures

import nearfar.edge.sealed.database as database_module
import nearfar.edge.verify.vault as vault_module
from nearfar.edge.verify import Verifier
from nearfar.edge.verify.attempts import AttemptPolicy
from nearfar.errors import StoreError

OWN = tuple(str(Path(module.__file__).parent) for module in (vault_module, database_module))
UNBOUNDED = AttemptPolicy(free=10**6, most=10**7, burst=10**7)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return people_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def path(bundle, tmp_path):
    with Verifier.create(tmp_path / "v", bundle, key=f"file:{tmp_path / 'key'}", policy=UNBOUNDED) as verifier:
        verifier.enroll("ann", pictures(1, 3))
    return tmp_path / "v"


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.recipe)])
def test_ctrl_c_at_each_line(path, step):
    """The attempt is counted or not; the vault goes on, and another process need not wait for a lock that is left."""
    failed = 0
    with Verifier.open(path) as verifier, Verifier.open(path) as other:
        other._vault.connection.execute("PRAGMA busy_timeout = 0")
        line = 1
        while interrupted(OWN, lambda: verifier.verify("ann", picture(9, 1)), line):
            (ann,) = other.identities()
            assert ann.failures in (failed, failed + 1), line
            failed = ann.failures
            line += step
        assert verifier.verify("ann", picture(1, 60)).accepted
        assert line > 100
        line = 1
        while interrupted(OWN, partial(verifier.enroll, f"b{line}", pictures(2, 3), allow_duplicate=True), line):
            assert {one.identity for one in other.identities()} - {f"b{line}"} == {"ann"}
            if len(other.identities()) == 2:
                other.revoke(f"b{line}")
            line += 5 * step
        assert other.verify("ann", picture(1, 60)).accepted
    Verifier.open(path).close()


def _on_a_full_disk(path, rooms, sent):
    import resource

    unlimited = resource.RLIM_INFINITY
    with Verifier.open(path) as verifier:
        for room in rooms:
            full = (path / "vault.sqlite-wal").stat().st_size + room
            resource.setrlimit(resource.RLIMIT_FSIZE, (full, unlimited))
            try:
                said = verifier.verify("ann", picture(9, 1)).reason
            except StoreError as error:
                said = str(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
            again = verifier.verify("ann", picture(1, 60)).reason
            sent.put((said, again, len(verifier.audit())))


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits of a process")
def test_a_disk_that_is_full_decides_nothing_and_room_mends_it(path):
    context = multiprocessing.get_context("spawn")
    sent = context.Queue()
    rooms = (0, 1000, 2500, 4000, 10**6)
    process = context.Process(target=_on_a_full_disk, args=(path, rooms, sent))
    process.start()
    entries, outcomes = 2, []
    for _ in rooms:
        said, again, found = sent.get(timeout=60)
        outcomes.append(said == "no match")
        assert said == "no match" or "could not be written" in said
        assert again == "match"
        entries += 1 + outcomes[-1]  # what was answered is in the log, and nothing else
        assert found == entries
    process.join()
    assert process.exitcode == 0
    assert outcomes[0] is False
    assert outcomes[-1] is True


def test_a_medium_that_cannot_be_written_decides_nothing(path):
    with Verifier.open(path) as verifier:
        verifier._vault.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match="cannot be written"):
            verifier.verify("ann", picture(1, 60))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_opens_the_vault_itself(path):
    with Verifier.open(path) as verifier:
        number = os.fork()
        if not number:
            try:
                verifier.verify("ann", picture(1, 60))
            except StoreError as error:
                os._exit(42 if "forked" in str(error) else 1)
            finally:
                os._exit(2)
        signal.alarm(60)
        _, status = os.waitpid(number, 0)
        signal.alarm(0)
        assert os.waitstatus_to_exitcode(status) == 42
        assert verifier.verify("ann", picture(1, 60)).accepted


def _many(path, number, times, sent):
    with Verifier.open(path) as verifier, ThreadPoolExecutor(8) as pool:
        verifier._vault.connection.execute("PRAGMA synchronous = OFF")
        sample = picture(number, 60)
        sent.put([decision.reason for decision in pool.map(lambda _: verifier.verify("ann", sample), range(times))])


@pytest.mark.parametrize("times", [100, pytest.param(5_000, marks=pytest.mark.recipe)])
def test_eight_threads_in_each_of_two_processes(path, times):
    """No error, none lost, none counted twice."""
    context = multiprocessing.get_context("spawn")
    sent = context.Queue()
    processes = [context.Process(target=_many, args=(path, 9, times, sent)) for _ in range(2)]
    for process in processes:
        process.start()
    reasons = [reason for _ in processes for reason in sent.get(timeout=500)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert reasons == ["no match"] * (2 * times)
    with Verifier.open(path) as verifier:
        (ann,) = verifier.identities()
        assert ann.failures == 2 * times
        assert [entry.result for entry in verifier.audit()].count("no match") == 2 * times


def _make(place, bundle, number, barrier, sent):
    barrier.wait(60)
    try:
        with Verifier.create(place / "new", bundle, key=f"file:{place / f'key-{number}'}") as verifier:
            verifier.enroll("ann", pictures(1, 3))
        sent.put("made")
    except StoreError as error:
        sent.put(str(error))


def test_two_that_make_the_same_vault_at_once(bundle, tmp_path):
    """One makes it and the other is told; what was enrolled is there."""
    context = multiprocessing.get_context("spawn")
    barrier, sent = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_make, args=(tmp_path, bundle.path, number, barrier, sent)) for number in range(2)
    ]
    for process in processes:
        process.start()
    said = sorted(sent.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert said.count("made") == 1
    with Verifier.open(tmp_path / "new") as verifier:
        assert [one.identity for one in verifier.identities()] == ["ann"]
    assert [place.name for place in tmp_path.iterdir() if "part" in place.name] == []


def _adopt(path, bundles, times):
    with Verifier.open(path) as verifier:
        for number in range(times):
            verifier.adopt(bundles[number % len(bundles)])


def test_bundles_that_are_changed_while_others_open_the_vault(path, tmp_path):
    bundles = [people_bundle(tmp_path / f"b{number}", threshold=0.5 + number / 100).path for number in range(3)]
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_adopt, args=(path, bundles, 12))
    process.start()
    while process.is_alive():
        with Verifier.open(path) as verifier:
            assert verifier.verify("ann", picture(1, 60)).accepted
        _adopt(path, bundles[1:], 1)
    assert process.exitcode == 0
    Verifier.open(path).close()
    assert len(list(path.glob("*bundle-*"))) == 1
