"""What somebody can do who stands at the door: may try, and sees the answers."""

import itertools

import numpy as np
import pytest
from people_bundle import people_bundle, picture, pictures

from nearfar.edge.verify import Verifier
from nearfar.edge.verify.attempts import AttemptBook, AttemptPolicy
from nearfar.edge.verify.clock import ForwardClock
from nearfar.edge.verify.enrolment import EnrolmentError

DARK = np.zeros((48, 48, 3), dtype=np.uint8)


class Time:
    def __init__(self):
        self.wall, self.ticks, self.boot = 1_800_000_000.0, 100.0, "first"

    def clock(self):
        return ForwardClock(lambda: self.wall, lambda: self.ticks, lambda: self.boot)

    def pass_(self, seconds):
        self.wall += seconds
        self.ticks += seconds


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return people_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def time_():
    return Time()


@pytest.fixture
def verifier(bundle, tmp_path, time_):
    with Verifier.create(tmp_path / "v", bundle, key=f"file:{tmp_path / 'key'}", clock=time_.clock()) as made:
        made.enroll("ann", pictures(1, 4))
        yield made


def test_a_hill_cannot_be_climbed_by_the_answers(verifier, time_):
    """All that comes of a hundred near misses is the same answer, of each nearness and of a name that nobody has."""
    base, aim = picture(2, 0).astype(float), picture(1, 0).astype(float)
    answers = set()
    for share, name in itertools.product((0.0, 0.2, 0.3), ("ann", "zoe")):
        answers.add(verifier.verify(name, (base + share * (aim - base)).astype(np.uint8)))
        time_.pass_(10_000)
    assert len(answers) == 1
    assert answers.pop().score is None


def test_an_hour_at_the_door_gives_few_tries_whatever_is_claimed(verifier, time_):
    """One name, many names, identify, in turns: what is compared in an hour."""
    tried = 0
    names = itertools.cycle(["ann", *(f"stranger-{number}" for number in range(300))])
    for moment in range(240):
        verifier.identify(DARK)
        tried += verifier.verify(next(names), picture(9, moment)).reason == "no match"
        time_.pass_(15)
    assert tried <= 50 + 3600 / 30


def test_bad_samples_between_do_not_help(verifier):
    tried = 0
    for moment in range(12):
        verifier.verify("ann", DARK)
        tried += verifier.verify("ann", picture(9, moment)).reason == "no match"
    assert tried == 5
    assert verifier.verify("ann", DARK).reason == "wait"  # nor is it told that a sample is bad


def test_a_restart_with_the_clock_back_or_of_another_system_keeps_the_delay(verifier, time_, tmp_path):
    for moment in range(5):
        verifier.verify("ann", picture(9, moment))
    verifier.close()
    time_.boot, time_.ticks, time_.wall = "second", 5.0, 0.0
    with Verifier.open(tmp_path / "v", clock=time_.clock()) as again:
        assert again.verify("ann", picture(1, 60)).wait_seconds == pytest.approx(30)
        time_.pass_(31)
        assert again.verify("ann", picture(1, 60)).accepted


def test_a_success_writes_as_much_as_a_failure():
    """Else a disk that is full to the byte would let failures go uncounted and successes through."""
    enrolled = {bytes([number]) * 16 for number in range(40)}
    for failures in range(60):
        sizes = set()
        for accepted in (True, False):
            book = AttemptBook(AttemptPolicy(burst=1000))
            for number in range(failures):
                book.failed(bytes([number % 40]) * 16, 1.5 * number, enrolled)
            if accepted:
                book.succeeded(b"\x07" * 16)
            else:
                book.failed(b"\x07" * 16, 1e9 / 3, enrolled)
            sizes.add(len(str(book.state()["buckets"])) + len(book.state()["throttle"]))
        assert len(sizes) == 1, failures


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_of_what_is_no_number_match_nobody(bundle, tmp_path, value):
    pixels = picture(1, 1).astype(np.float32) / 255
    pixels[3, 4] = value
    with Verifier.create(tmp_path / "v", bundle, key=f"file:{tmp_path / 'key'}") as verifier:
        with pytest.raises(EnrolmentError, match="2 of 3 samples can be used"):
            verifier.enroll("ann", [*pictures(1, 2), pixels])
        verifier.enroll("ann", pictures(1, 3))
        assert verifier.verify("ann", pixels).reason == "quality"
        assert verifier.identify(pixels).reason == "quality"
