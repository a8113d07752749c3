"""Failures in a row, delays, the throttle of all, and clocks that are set."""

import json

import pytest

from nearfar.edge.verify.attempts import (
    IDENTIFICATION,
    MOST_STRANGERS,
    AttemptBook,
    AttemptPolicy,
    Bucket,
    after_failure,
    read_book,
)
from nearfar.edge.verify.clock import ForwardClock

ANN, BOB = b"a" * 16, b"b" * 16
WIDE = AttemptPolicy(burst=10**6)


def failed_until_closed(book, tag, now):
    count = 0
    while book.standing(tag, now).reason is None:
        book.failed(tag, now, {ANN, BOB})
        count += 1
    return count


def test_five_failures_are_free_then_each_is_followed_by_a_delay_that_doubles():
    book, now, delays = AttemptBook(WIDE), 1000.0, []
    assert failed_until_closed(book, ANN, now) == 5
    while (standing := book.standing(ANN, now)).reason == "wait":
        delays.append(standing.wait_seconds)
        assert book.standing(ANN, now + standing.wait_seconds - 0.01).reason == "wait"
        now += standing.wait_seconds
        book.failed(ANN, now, {ANN})
    assert standing.reason == "disabled"
    assert book.failures(ANN) == 50
    assert delays[:6] == pytest.approx([30, 60, 120, 240, 480, 900])
    assert set(map(round, delays[6:])) == {900}
    assert book.standing(ANN, now + 1e9).reason == "disabled"
    assert book.standing(BOB, now).reason is None


def test_a_success_empties_the_bucket_and_not_the_throttle():
    book = AttemptBook(AttemptPolicy(burst=8))
    for tag in (ANN, BOB):
        for _ in range(4):
            assert book.standing(tag, 0.0).reason is None
            book.failed(tag, 0.0, {ANN, BOB})
            book.succeeded(IDENTIFICATION)
    book.succeeded(ANN)
    assert book.failures(ANN) == 0
    assert book.standing(ANN, 0.0) == ("wait", pytest.approx(30.0))
    assert book.standing(b"nobody" + bytes(10), 0.0) == ("wait", pytest.approx(30.0))
    assert book.standing(ANN, 30.0).reason is None


def test_the_throttle_lets_one_failure_through_for_each_half_minute():
    """Who claims one name after the other, a thousand of them, gets no more than that."""
    book, now, tries = AttemptBook(AttemptPolicy()), 0.0, 0
    names = iter(range(10**6))
    while now < 3600:
        tag = next(names).to_bytes(16, "big")
        standing = book.standing(tag, now)
        if standing.reason is None:
            book.failed(tag, now, {ANN})
            tries += 1
        else:
            now += standing.wait_seconds
    assert tries <= 50 + 3600 / 30 + 1


def test_strange_names_are_bounded_and_known_ones_never_forgotten():
    book = AttemptBook(WIDE)
    failed_until_closed(book, ANN, 0.0)
    failed_until_closed(book, IDENTIFICATION, 0.0)
    for number in range(10 * MOST_STRANGERS):
        book.failed(number.to_bytes(16, "little") if number else b"\xff" * 16, 0.0, {ANN})
    assert book.standing(ANN, 0.0).reason == "wait"
    assert book.standing(IDENTIFICATION, 0.0).reason == "wait"
    assert len(json.dumps(book.state())) < 30_000
    assert len(bytes.fromhex(book.state()["buckets"])) == 32 * (MOST_STRANGERS + 2)


def test_a_strange_name_is_counted_like_a_known_one():
    known, strange = AttemptBook(WIDE), AttemptBook(WIDE)
    for step in range(60):
        now = 1000.0 * step
        assert known.standing(ANN, now) == strange.standing(BOB, now)
        known.failed(ANN, now, {ANN})
        strange.failed(BOB, now, {ANN})


def test_the_book_is_the_same_after_it_was_written_down():
    book = AttemptBook(AttemptPolicy(free=2, delay=1.5))
    for tag in (ANN, BOB, ANN, IDENTIFICATION, ANN):
        book.failed(tag, 7.25, {ANN})
    again = read_book(json.loads(json.dumps(book.state())))
    assert again.state() == book.state()
    assert again.standing(ANN, 8.0) == book.standing(ANN, 8.0)


def test_a_delay_is_never_shortened_by_a_failure():
    bucket = Bucket(7, until=5000.0)
    assert after_failure(bucket, AttemptPolicy(), 100.0).until == 5000.0


def test_unlocking_forgets_times_of_a_clock_that_was_ahead():
    book = AttemptBook(AttemptPolicy())
    for tag in (ANN, BOB):
        failed_until_closed(book, tag, 10_000_000.0)
    book.reset(ANN)
    book.forget_times(1000.0)
    assert book.standing(ANN, 1000.0).reason is None
    assert book.standing(BOB, 1000.0) == ("wait", pytest.approx(900.0))


@pytest.mark.parametrize(
    "fields", [{"free": 0}, {"free": 60}, {"delay": 0}, {"delay": 901}, {"burst": 0}, {"drain": 0}]
)
def test_a_policy_that_makes_no_sense_is_refused(fields):
    with pytest.raises(ValueError, match="must be"):
        AttemptPolicy(**fields)


def test_a_clock_that_is_set_changes_nothing_while_the_system_runs():
    wall, ticks = [1000.0], [0.0]
    clock = ForwardClock(lambda: wall[0], lambda: ticks[0], lambda: "first")
    moment = clock.anew()
    assert moment == (1000, 1000, "first", 0)
    wall[0], ticks[0] = 10.0, 5.0
    moment = clock.now(moment)
    assert moment == (1005, 10, "first", 5)
    wall[0], ticks[0] = 10_000.0, 45.0  # ahead: a delay of half a minute still ends in half a minute
    again = ForwardClock(lambda: wall[0], lambda: ticks[0], lambda: "first")  # another process of the same run
    moment = again.now(moment)
    assert moment.at == 1045
    assert again.anew().at == 10_000


def test_across_a_restart_the_later_of_the_wall_clock_and_of_what_was_seen_counts():
    before = ForwardClock(lambda: 1000.0, lambda: 500.0, lambda: "first").anew()
    for wall, at in ((10.0, 1000), (3000.0, 3000)):
        after = ForwardClock(lambda wall=wall: wall, lambda: 3.0, lambda: "second").now(before)
        assert after == (at, wall, "second", 3)


def test_the_system_says_when_it_was_started():
    first, second = ForwardClock().anew(), ForwardClock().anew()
    assert first.boot == second.boot
    assert first.ticks <= second.ticks
