"""Enrolment, verification and identification through the public API, on a real bundle and a real vault."""

import multiprocessing
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
from people_bundle import DIM, people_bundle, picture, pictures

from nearfar.edge.verify import Verifier
from nearfar.edge.verify.attempts import AttemptPolicy
from nearfar.edge.verify.audit import verify_export
from nearfar.edge.verify.clock import ForwardClock
from nearfar.edge.verify.enrolment import EnrolmentError
from nearfar.errors import BundleError, DataError, KeyUnavailableError, StoreError

DARK = np.zeros((48, 48, 3), dtype=np.uint8)
UNBOUNDED = AttemptPolicy(free=10**6, most=10**7, burst=10**7)


class Time:
    """Clocks that stand still until they are told to go on."""

    def __init__(self):
        self.wall, self.ticks, self.boot = 1_800_000_000.0, 0.0, "first"

    def clock(self):
        return ForwardClock(lambda: self.wall, lambda: self.ticks, lambda: self.boot)

    def pass_(self, seconds):
        self.wall += seconds
        self.ticks += seconds


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return people_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "v", f"file:{tmp_path / 'key'}"


@pytest.fixture
def time_():
    return Time()


@pytest.fixture
def verifier(bundle, place, time_):
    with Verifier.create(place[0], bundle, key=place[1], clock=time_.clock()) as made:
        made.enroll("ann", pictures(1, 4))
        made.enroll("bob", pictures(2, 3))
        yield made


def test_who_is_enrolled_is_told_from_who_is_not(verifier):
    right = verifier.verify("ann", picture(1, 50))
    assert (right.accepted, right.reason) == (True, "match")
    assert right.score > 0.9
    assert not verifier.verify("ann", picture(2, 50)).accepted
    assert not verifier.verify("bob", picture(1, 50)).accepted
    assert verifier.identify(picture(2, 51)).identity == "bob"
    stranger = verifier.identify(picture(7, 51))
    assert (stranger.identity, stranger.reason, stranger.score) == (None, "no match", None)


def test_a_vault_is_the_same_after_it_was_closed(verifier, place):
    verifier.close()
    with Verifier.open(place[0]) as again:
        assert again.verify("ann", picture(1, 50)).accepted
        assert [(one.identity, one.version, one.samples) for one in again.identities()] == [
            ("ann", 1, 4),
            ("bob", 1, 3),
        ]
        assert again.threshold == 0.6
    with pytest.raises(StoreError, match="was closed"):
        verifier.verify("ann", picture(1, 50))


def test_an_unknown_name_is_answered_as_one_that_does_not_match(verifier):
    for name in ("carl", "", "x" * 10_000, "a\0nn", "\ud800"):
        assert verifier.verify(name, picture(2, 60)) == verifier.verify("ann", picture(2, 60))
        verifier.unlock("ann")


def counted(verifier, name, sample):
    """Statements and bytes of rows that an attempt costs."""
    statements = []
    verifier._vault.connection.set_trace_callback(statements.append)
    decision = verifier.verify(name, sample)
    verifier._vault.connection.set_trace_callback(None)
    shapes = [re.sub(r"x?'.*?'|\d+", "?", statement) for statement in statements]
    return decision, shapes, list(map(len, statements))


def test_an_unknown_name_costs_the_same_reads_and_writes(bundle, place):
    with Verifier.create(place[0], bundle, key=place[1]) as verifier:
        verifier.enroll("ann", pictures(1, 3))
        known = counted(verifier, "ann", picture(2, 60))
        unknown = counted(verifier, "zoe", picture(2, 60))
        assert known[:2] == unknown[:2]
        assert all(abs(one - other) < 8 for one, other in zip(known[2], unknown[2], strict=True))
        with verifier._vault.change() as change:
            assert len(change.enrolled) == 1
        rows = verifier._vault.connection.execute("SELECT length(details), length(template) FROM templates").fetchall()
        assert rows[0] == rows[1]
        for _ in range(4):
            states = [verifier.verify(name, picture(2, 61)) for name in ("ann", "zoe")]
            assert states[0] == states[1]
        waits = [verifier.verify(name, picture(2, 61)) for name in ("ann", "zoe")]
        assert [wait.reason for wait in waits] == ["wait", "wait"]
        assert waits[0].detail == waits[1].detail


def test_scores_of_refused_samples_are_shown_only_on_demand(bundle, place):
    with Verifier.create(place[0], bundle, key=place[1], show_scores=True) as verifier:
        verifier.enroll("ann", pictures(1, 3))
        assert verifier.verify("ann", picture(2, 50)).score < 0.5
        assert verifier.verify("zoe", picture(2, 50)).score is not None
        assert verifier.identify(picture(2, 50)).score is not None
    with Verifier.open(place[0]) as verifier:
        assert verifier.verify("ann", picture(2, 50)).score is None


def test_too_few_good_samples_are_refused_and_each_is_named(verifier, tmp_path):
    (tmp_path / "noise.png").write_bytes(b"x")
    with pytest.raises(EnrolmentError, match=r"(?s)2 of 4 samples.*sample 3: too dark.*sample 4: .*somebody else"):
        verifier.enroll("carl", [*pictures(3, 2), DARK, picture(4, 1)])
    with pytest.raises(DataError, match=r"none\.png: cannot be read"):
        verifier.enroll("carl", [tmp_path / "none.png"])
    assert [one.identity for one in verifier.identities()] == ["ann", "bob"]


def test_a_sample_of_somebody_else_is_left_out_and_named(verifier):
    made = verifier.enroll("carl", [*pictures(3, 4), picture(4, 1), DARK])
    assert made.samples == 4
    assert made.agreement > 0.9
    assert [refused.split(":")[0] for refused in made.refused] == ["sample 6", "sample 5"]
    assert verifier.verify("carl", picture(3, 60)).accepted
    assert not verifier.verify("carl", picture(4, 60)).accepted


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "x" * 201, "tab\t", "ann ", "an\u200bn", "ann\ufe0f", "\u3164", "\x1b[2J"]
)
def test_names_that_cannot_be_shown_are_refused(verifier, name):
    with pytest.raises(EnrolmentError, match="is no name"):
        verifier.enroll(name, pictures(3, 3))


def test_the_same_name_in_other_code_points(verifier):
    verifier.enroll("Jürgen", pictures(3, 3))
    assert verifier.verify("Ju\u0308rgen", picture(3, 60)).accepted
    with pytest.raises(EnrolmentError, match="is enrolled already"):
        verifier.enroll("Ｊürgen", pictures(4, 3))  # a letter of full width


def test_renewing_makes_the_old_template_useless(verifier):
    with pytest.raises(EnrolmentError, match="is enrolled already"):
        verifier.enroll("ann", pictures(3, 3))
    with pytest.raises(EnrolmentError, match="nobody of that name"):
        verifier.enroll("carl", pictures(3, 3), renew=True)
    assert verifier.enroll("ann", pictures(3, 3), renew=True).version == 2
    assert verifier.verify("ann", picture(3, 60)).accepted
    assert not verifier.verify("ann", picture(1, 60)).accepted
    assert verifier.enroll("ann", pictures(1, 3), renew=True).version == 3


def test_two_templates_of_the_same_samples_have_nothing_in_common(verifier):
    def stored():
        with verifier._vault.change() as change:
            record = change.record(verifier._vault.seal.tag("ann"))
        return record.seed, record.template.astype(float)

    first_seed, first = stored()
    verifier.enroll("ann", pictures(1, 4), renew=True)
    second_seed, second = stored()
    assert first_seed != second_seed
    assert abs(first @ second) / np.linalg.norm(first) / np.linalg.norm(second) < 0.75  # 32 components: deviation 0.18


def test_the_same_person_twice_is_refused_unless_allowed(verifier):
    with pytest.raises(EnrolmentError, match="match 'ann'"):
        verifier.enroll("anna", pictures(1, 3, start=20))
    assert verifier.enroll("anna", pictures(1, 3, start=20), allow_duplicate=True).version == 1


def test_revoking(verifier):
    verifier.revoke("ann")
    assert not verifier.verify("ann", picture(1, 50)).accepted
    assert verifier.identify(picture(1, 50)).identity is None
    with pytest.raises(EnrolmentError, match="nobody of that name"):
        verifier.revoke("ann")
    assert verifier.enroll("ann", pictures(1, 3)).version == 1


def fail(verifier, name, times):
    return [verifier.verify(name, picture(9, moment)).reason for moment in range(times)]


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_five_failures_then_delays_across_restarts(verifier, place, time_, name):
    assert fail(verifier, name, 6) == ["no match"] * 5 + ["wait"]
    verifier.close()
    with Verifier.open(place[0], clock=time_.clock()) as again:
        waiting = again.verify(name, picture(1, 60))  # the right sample, too
        assert (waiting.accepted, waiting.reason, waiting.wait_seconds) == (False, "wait", pytest.approx(30))
        time_.wall -= 10_000_000  # the clock is set back
        assert again.verify(name, picture(1, 60)).reason == "wait"
        time_.wall += 20_000_000  # and ahead
        assert again.verify(name, picture(1, 60)).reason == "wait"
        time_.ticks += 29
        assert again.verify(name, picture(1, 60)).reason == "wait"
        time_.ticks += 2
        assert again.verify(name, picture(9, 60)).reason == "no match"
        assert again.verify(name, picture(9, 60)).wait_seconds == pytest.approx(60)
        assert again.verify("bob", picture(2, 60)).accepted
        time_.ticks += 61
        assert again.verify(name, picture(1, 60)).accepted == (name == "ann")


def test_after_fifty_failures_only_the_holder_of_the_key_helps(verifier, place, time_):
    failures = 0
    while (reason := verifier.verify("ann", picture(9, failures)).reason) != "disabled":
        failures += reason == "no match"
        time_.pass_(901)
    assert failures == 50
    time_.pass_(10**9)
    assert verifier.verify("ann", picture(1, 60)).reason == "disabled"
    assert verifier.identify(picture(1, 60)).identity is None  # nor by the other door
    assert {one.identity: one.locked for one in verifier.identities()} == {"ann": "disabled", "bob": None}
    verifier.unlock("ann")
    assert verifier.verify("ann", picture(1, 60)).accepted
    with pytest.raises(EnrolmentError, match="nobody of that name"):
        verifier.unlock("carl")


def test_identification_has_failures_of_its_own(verifier, time_):
    assert [verifier.identify(picture(9, moment)).reason for moment in range(6)] == ["no match"] * 5 + ["wait"]
    assert verifier.verify("ann", picture(1, 60)).accepted
    assert verifier.identify(picture(1, 60)).reason == "wait"
    verifier.unlock()
    assert verifier.identify(picture(1, 60)).identity == "ann"


def test_samples_of_bad_quality_are_no_failures_and_do_not_fill_the_log(verifier, time_):
    for _ in range(20):
        decision = verifier.verify("ann", DARK)
        assert (decision.accepted, decision.reason) == (False, "quality")
        assert "too dark" in decision.detail
        assert verifier.identify(DARK).reason == "quality"
    assert verifier.verify("ann", picture(1, 60)).accepted
    time_.pass_(61)
    verifier.verify("bob", DARK)
    entries = [(entry.kind, entry.left_out) for entry in verifier.audit() if entry.result == "quality"]
    assert entries == [("verify", 0), ("identify", 0), ("verify", 19)]
    assert {one.failures for one in verifier.identities()} == {0}


def test_the_audit_log_tells_what_was_done(verifier, tmp_path):
    verifier.verify("ann", picture(1, 50))
    verifier.verify("zoe", picture(1, 50))
    verifier.identify(picture(2, 50))
    verifier.revoke("bob")
    told = [(entry.kind, entry.identity, entry.result) for entry in verifier.audit()]
    assert told == [
        ("create", None, "done"),
        ("enroll", "ann", "done"),
        ("enroll", None, "done"),  # of bob, whose name went with him
        ("verify", "ann", "match"),
        ("verify", None, "no match"),
        ("identify", None, "match"),
        ("revoke", None, "done"),
    ]
    made = verifier.export_audit(tmp_path / "log.jsonl")
    assert made == verify_export(tmp_path / "log.jsonl", link=verifier.audit_link)
    assert (made.first, made.last) == (1, 7)
    assert b"ann" not in (tmp_path / "log.jsonl").read_bytes()


def test_a_byte_of_an_exported_log_that_is_changed_is_found(verifier, tmp_path):
    verifier.verify("ann", picture(1, 50))
    path = tmp_path / "log.jsonl"
    link = verifier.export_audit(path).link
    content = path.read_bytes()
    for offset in range(0, len(content), 7):
        changed = bytearray(content)
        changed[offset] ^= 1 << (offset % 7)
        path.write_bytes(changed)
        try:
            verify_export(path, link=link)
        except StoreError:
            continue
        assert bytes(changed).lower() == content.lower()  # of hexadecimal digits
    lines = content.splitlines(keepends=True)
    for forged in (
        lines[:-1],
        lines[:2] + lines[3:],
        [lines[0], *lines[2:1:-1], *lines[3:]],
        lines[:1] + lines[-1:],
        [],
    ):
        path.write_bytes(b"".join(forged))
        with pytest.raises(StoreError, match="audit log was changed"):
            verify_export(path)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="another link"):
        verify_export(path, link="00" * 32)


def test_the_log_keeps_the_last_entries_and_its_chain(verifier, monkeypatch, place, tmp_path):
    monkeypatch.setattr("nearfar.edge.verify.change.MOST_AUDIT_ENTRIES", 10)
    for moment in range(20):
        verifier.verify("ann", picture(1, moment))
    assert [entry.number for entry in verifier.audit()] == list(range(14, 24))
    assert verifier.export_audit(tmp_path / "log").first == 14
    verify_export(tmp_path / "log", link=verifier.audit_link)
    verifier.close()
    Verifier.open(place[0]).close()


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.recipe)])
def test_many_verifications_from_parallel_threads(bundle, place, count):
    """No error, none lost, none counted twice: the log, the failures and the answers say the same."""
    with Verifier.create(place[0], bundle, key=place[1], policy=UNBOUNDED) as verifier:
        # What is measured here is counting; the medium's own time is not what so many waits for it would test.
        verifier._vault.connection.execute("PRAGMA synchronous = OFF")
        verifier.enroll("ann", pictures(1, 3))
        verifier.enroll("bob", pictures(2, 3))
        samples = {number: picture(number, 60) for number in (1, 2)}
        cases = [("ann", 1, True), ("bob", 1, False), ("zoe", 1, False), ("bob", 1, False)]

        def one(number):
            name, sample, right = cases[number % 4]
            return verifier.verify(name, samples[sample]).accepted == right

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(one, range(count)))
        assert {person.identity: person.failures for person in verifier.identities()} == {"ann": 0, "bob": count // 2}
        results = [entry.result for entry in verifier.audit() if entry.kind == "verify"]
        assert (results.count("match"), results.count("no match")) == (count // 4, 3 * count // 4)
    Verifier.open(place[0]).close()


def test_parallel_threads_get_no_more_than_five_tries(verifier):
    barrier = threading.Barrier(16)

    def one(moment):
        barrier.wait()
        return verifier.verify("ann", picture(9, moment)).reason

    with ThreadPoolExecutor(16) as pool:
        reasons = list(pool.map(one, range(16)))
    assert (reasons.count("no match"), reasons.count("wait")) == (5, 11)


def _process(path, name, number, times, sent):
    with Verifier.open(path) as verifier:
        sent.put([verifier.verify(name, picture(number, moment)).reason for moment in range(times)])


def test_two_processes_share_a_vault(bundle, place):
    with Verifier.create(place[0], bundle, key=place[1]) as verifier:
        verifier.enroll("ann", pictures(1, 3))
        context = multiprocessing.get_context("spawn")
        sent = context.Queue()
        processes = [context.Process(target=_process, args=(place[0], "ann", 9, 6, sent)) for _ in range(2)]
        for process in processes:
            process.start()
        meanwhile = [verifier.enroll(f"p{number}", pictures(number, 3)).version for number in range(20, 24)]
        reasons = [reason for _ in processes for reason in sent.get(timeout=60)]
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert meanwhile == [1] * 4
        assert (reasons.count("no match"), reasons.count("wait")) == (5, 7)
        assert verifier.verify("ann", picture(1, 60)).reason == "wait"
        assert verifier.verify("p23", picture(23, 60)).accepted
        assert {one.identity: one.failures for one in verifier.identities()}["ann"] == 5


def test_a_cohort_normalises_scores(tmp_path, bundle):
    from nearfar.edge import Encoder

    cohort = Encoder.open(bundle).embed([picture(number, 0) for number in range(100, 180)])
    normal = people_bundle(tmp_path / "normal", threshold=4.0, cohort=cohort)
    with Verifier.create(tmp_path / "v", normal, key=f"file:{tmp_path / 'k'}", show_scores=True) as verifier:
        verifier.enroll("ann", pictures(1, 3))
    with Verifier.open(tmp_path / "v", show_scores=True) as verifier:
        assert verifier.verify("ann", picture(1, 50)).score > 4
        assert abs(verifier.verify("ann", picture(105, 50)).score) < 4
        assert verifier.identify(picture(1, 51)).identity == "ann"
    wrong = people_bundle(tmp_path / "wrong", cohort=cohort[:, : DIM - 1])
    with pytest.raises(BundleError, match="no cohort of this encoder"):
        Verifier.create(tmp_path / "w", wrong, key=f"file:{tmp_path / 'k'}")


def test_the_scores_are_those_of_the_trials_that_chose_the_threshold(bundle, verifier):
    """A template of the same samples under another key gives nearly the same score: what ships is what is measured."""
    from nearfar.edge import Encoder
    from nearfar.edge.verify.template import make_template, match_scores
    from nearfar.edge.verify.transform import KeyedTransform

    encoder = Encoder.open(bundle)
    transform = KeyedTransform(b"other", DIM, DIM)
    template = make_template(encoder.embed(pictures(1, 4)), transform)
    (right,) = match_scores(template[None], transform.apply(encoder.embed([picture(1, 50)])))
    assert verifier.verify("ann", picture(1, 50)).score == pytest.approx(float(right), abs=0.05)


def test_a_bundle_without_a_threshold(tmp_path):
    silent = people_bundle(tmp_path / "b", threshold=None)
    with pytest.raises(BundleError, match="nearfar calibrate"):
        Verifier.create(tmp_path / "v", silent, key=f"file:{tmp_path / 'k'}")
    assert not (tmp_path / "v").exists()
    with Verifier.create(tmp_path / "v", silent, key=f"file:{tmp_path / 'k'}", threshold=0.7) as verifier:
        assert verifier.threshold == 0.7
    with Verifier.open(tmp_path / "v") as verifier:
        assert verifier.threshold == 0.7
    with pytest.raises(DataError, match="finite"):
        Verifier.create(tmp_path / "w", silent, key=f"file:{tmp_path / 'k'}", threshold=float("nan"))


def test_where_a_vault_cannot_be_made_nothing_is_left(bundle, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(StoreError, match="something already"):
        Verifier.create(tmp_path / "full", bundle, key=f"file:{tmp_path / 'k'}")
    with pytest.raises(KeyUnavailableError, match="not one of"):
        Verifier.create(tmp_path / "v", bundle, key="nonsense")
    with pytest.raises(KeyUnavailableError, match="with the data it is to protect"):
        Verifier.create(tmp_path / "v", bundle, key=f"file:{tmp_path / 'v' / 'key'}")
    with pytest.raises(KeyUnavailableError, match="shorter"):
        Verifier.create(tmp_path / "v", bundle, ask=lambda _: "short")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
    (tmp_path / "empty").mkdir()
    Verifier.create(tmp_path / "empty", bundle, key=f"file:{tmp_path / 'k'}").close()
    with pytest.raises(StoreError, match="something already"):
        Verifier.create(tmp_path / "empty", bundle, key=f"file:{tmp_path / 'k'}")


def test_what_a_killed_process_left_of_a_vault_is_removed_when_it_is_old(bundle, tmp_path):
    old, young = tmp_path / ".[v].part-1", tmp_path / ".[v].part-2"
    for place in (old, young):
        place.mkdir()
    os.utime(old, (0, 0))
    Verifier.create(tmp_path / "[v]", bundle, key=f"file:{tmp_path / 'k'}").close()
    assert [place.exists() for place in (old, young)] == [False, True]


def test_a_bundle_of_texts_is_refused(tmp_path):
    from tiny_bundle import write_tiny_bundle

    texts = write_tiny_bundle(tmp_path / "b", texts=["a text", "another"])
    with pytest.raises(BundleError, match="text-dual-encoder"):
        Verifier.create(tmp_path / "v", texts, key=f"file:{tmp_path / 'k'}", threshold=0.5)


def test_no_answer_has_more_than_it_says():
    """Nothing but these fields leaves the verifier: no vector, no template, no score of who was refused."""
    from nearfar.edge.verify import Decision

    assert [field.name for field in fields(Decision)] == ["accepted", "reason", "detail", "score", "wait_seconds"]
