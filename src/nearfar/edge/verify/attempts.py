"""How often somebody may try: failures in a row bring delays, and in the end the need of whoever holds the key.

Two rules stand side by side. Each identity has a bucket of its failures in a row, as NIST SP 800-63B-4 (section 5.2.3) asks: five are
free, then each is followed by a delay that doubles, and after fifty nothing is compared any more until `unlock`. A success empties it.
And all failures of whoever they are of fill one throttle that drains with time alone. It slows down one who claims one name after the
other, also where he is enrolled himself and could empty a bucket at will.

Names that nobody has are counted like all others. They are many, so only the last of them are remembered. Who floods the memory with
strange names can tell, after hours that the throttle costs him, which are strange; he gains no further attempt at one that is not.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

IDENTIFICATION = bytes(16)
"""The tag under which failures to identify anybody are counted."""

MOST_STRANGERS = 256
"""Names without a template whose failures are remembered."""

# Of one length whatever they hold.
_BUCKET = struct.Struct(">16sQd")
_THROTTLE = struct.Struct(">dd")


@dataclass(frozen=True, slots=True)
class AttemptPolicy:
    """How many failures there may be.

    Attributes:
        free: failures in a row before the first delay.
        delay: seconds of the first delay; each further failure doubles it.
        longest: seconds of a delay, at most.
        most: failures in a row after which only `unlock` helps.
        burst: failures of all identities together before each new one waits.
        drain: seconds in which the throttle forgets one failure.
    """

    free: int = 5
    delay: float = 30.0
    longest: float = 900.0
    most: int = 50
    burst: int = 50
    drain: float = 30.0

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        if not 1 <= self.free <= self.most or self.burst < 1:
            raise ValueError("free and burst must be at least 1, and free at most most")
        if not 0 < self.delay <= self.longest or not self.drain > 0:
            raise ValueError("delay and drain must be above 0, and delay at most longest")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Failures in a row, and the time before which no attempt counts."""

    failures: int = 0
    until: float = 0.0


class Standing(NamedTuple):
    """Whether an attempt may be made now.

    Attributes:
        reason: None where it may; otherwise what a decision says.
        wait_seconds: until it may.
    """

    reason: Literal["wait", "disabled"] | None
    wait_seconds: float


def after_failure(bucket: Bucket, policy: AttemptPolicy, now: float) -> Bucket:
    """The bucket after one more failure at the time `now`."""
    failures = bucket.failures + 1
    if failures < policy.free:
        return Bucket(failures, bucket.until)
    doublings = min(failures - policy.free, 60)  # beyond it the delay is the longest, and a float would overflow
    return Bucket(failures, max(bucket.until, now + min(policy.delay * 2.0**doublings, policy.longest)))


class AttemptBook:
    """The failures of all; read from the vault before each attempt and sealed again after it.

    Args:
        policy: how many there may be.
        buckets: tag -> failures in a row, the one that failed last at the end.
        level: how full the throttle was.
        at: when.
    """

    def __init__(
        self,
        policy: AttemptPolicy,
        buckets: Mapping[bytes, Bucket] | None = None,
        *,
        level: float = 0.0,
        at: float = 0.0,
    ) -> None:
        self.policy = policy
        self._buckets = dict(buckets or {})
        self._level, self._at = level, at

    def standing(self, tag: bytes, now: float) -> Standing:
        """Whether an attempt at the identity of `tag` may be made at the time `now`."""
        bucket = self._buckets.get(tag, Bucket())
        if bucket.failures >= self.policy.most:
            return Standing("disabled", 0.0)
        wait = max(bucket.until - now, (self._drained(now) + 1 - self.policy.burst) * self.policy.drain)
        return Standing("wait", wait) if wait > 1e-6 else Standing(None, 0.0)

    def failures(self, tag: bytes) -> int:
        """Failures in a row at the identity of `tag`."""
        return self._buckets.get(tag, Bucket()).failures

    def failed(self, tag: bytes, now: float, enrolled: Collection[bytes]) -> None:
        """Count a failure.

        Args:
            tag: of the identity, be it enrolled or not.
            now: the time.
            enrolled: tags whose failures are never forgotten.
        """
        self._buckets[tag] = after_failure(self._buckets.pop(tag, Bucket()), self.policy, now)
        self._level, self._at = self._drained(now) + 1, now
        strangers = [known for known in self._buckets if known not in enrolled and known != IDENTIFICATION]
        for oldest in strangers[: max(0, len(strangers) - MOST_STRANGERS)]:
            del self._buckets[oldest]

    def succeeded(self, tag: bytes) -> None:
        """Empty a bucket; the throttle drains with time alone.

        The bucket stays, so that what is written after a success is as long as after a failure: otherwise a disk with room for the one
        but not for the other would let failures go uncounted.
        """
        self._buckets.pop(tag, None)
        self._buckets[tag] = Bucket()

    def reset(self, tag: bytes) -> None:
        """What the holder of the key may: empty a bucket and the throttle, and forget what the clock said."""
        self._level, self._at = 0.0, 0.0
        self._buckets.pop(tag, None)

    def forget_times(self, now: float) -> None:
        """After the clock was found to have been ahead: no delay lasts longer than it would from `now`."""
        for tag, bucket in self._buckets.items():
            self._buckets[tag] = replace(bucket, until=min(bucket.until, now + self.policy.longest))

    def _drained(self, now: float) -> float:
        return max(0.0, self._level - max(0.0, now - self._at) / self.policy.drain)

    def state(self) -> dict[str, Any]:
        """What `read_book` takes, fit for JSON."""
        buckets = b"".join(_BUCKET.pack(tag, bucket.failures, bucket.until) for tag, bucket in self._buckets.items())
        throttle = _THROTTLE.pack(self._level, self._at)
        policy = {field.name: getattr(self.policy, field.name) for field in fields(AttemptPolicy)}
        return {"policy": policy, "buckets": buckets.hex(), "throttle": throttle.hex()}


def read_book(state: Mapping[str, Any]) -> AttemptBook:
    """Make the book that `AttemptBook.state` described."""
    packed = _BUCKET.iter_unpack(bytes.fromhex(state["buckets"]))
    buckets = {tag: Bucket(failures, until) for tag, failures, until in packed}
    level, at = _THROTTLE.unpack(bytes.fromhex(state["throttle"]))
    return AttemptBook(AttemptPolicy(**state["policy"]), buckets, level=level, at=at)
