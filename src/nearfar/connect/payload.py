"""What a message says: a number, or a JSON object of channel -> number."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from nearfar.connect.arrivals import Arrival
from nearfar.connect.clock import read_times
from nearfar.errors import DataError
from nearfar.sources.timestamps import known_zone

_TIMES = ("time", "timestamp", "ts")
_MISSING = frozenset({"", "nan", "null", "none", "unavailable", "unknown"})


class PayloadReader:
    """Reads the payloads of one subscription.

    - `23.5` on `plant/pump7/temperature` is a value of the channel `temperature`.
    - `{"temperature": 23.5, "current": 4.1, "time": "2026-05-01T12:00:00Z"}` is a row; `time` may also be seconds or milliseconds
      since 1970, and without it the time of arrival counts.
    - `{"vibration": [0.1, -0.2, ...], "time": ...}` is a block of a fast channel at the rate that the bundle knows, `time` being
      that of its first sample; without it the last one came just now.
    - A list of such objects is read one by one.
    """

    def __init__(self, rates: Mapping[str, float | None], timezone: str = "UTC") -> None:
        """Wait for payloads.

        Args:
            rates: the channels of the bundle, with the samples a second of the fast ones.
            timezone: of times that name none.
        """
        self._rates = dict(rates)
        self._zone = known_zone(timezone)

    def read(self, topic: str, payload: bytes, received: float, *, retained: bool = False) -> list[Arrival]:
        """The samples of one message.

        Args:
            topic: where it was published.
            payload: its content.
            received: when it came, seconds since 1970.
            retained: whether it was kept by the broker, so that without a time in it nobody knows how old it is.

        Returns:
            One arrival or more; none for a retained value without a time, and where no channel is one of the bundle.

        Raises:
            DataError: it is neither a number nor such an object.
        """
        try:
            content = json.loads(payload)
        except (ValueError, RecursionError):
            content = payload.decode("utf-8", "replace").strip()
        channel = topic.rpartition("/")[2]
        if isinstance(content, list) and content and all(isinstance(one, dict) for one in content):
            return [arrival for one in content for arrival in self._row(one, topic, received, retained)]
        if isinstance(content, dict):
            return self._row(content, topic, received, retained)
        return self._row({channel: content}, topic, received, retained)

    def _row(self, content: dict[str, Any], topic: str, received: float, retained: bool) -> list[Arrival]:
        time = next((content[name] for name in _TIMES if name in content and name not in self._rates), None)
        known = {name: value for name, value in content.items() if name in self._rates}
        if not known or (retained and time is None):
            return []
        begun = None if time is None else self._time(time, topic)
        single = {name: value for name, value in known.items() if not isinstance(value, list)}
        arrivals = []
        if single:
            values = np.array([[_number(value, name, topic) for name, value in single.items()]], np.float32)
            arrivals.append(Arrival(np.array([received if begun is None else begun]), values, tuple(single)))
        for name, value in known.items():
            if isinstance(value, list) and value:
                arrivals.append(self._block(name, value, topic, begun, received))
        return arrivals

    def _block(self, name: str, content: list[Any], topic: str, begun: float | None, received: float) -> Arrival:
        rate = self._rates[name]
        if rate is None:
            raise DataError(
                f"{topic}: a list of values of {name}, which the bundle knows as a slow channel: send one value at a time"
            )
        values = np.array([[_number(value, name, topic)] for value in content], np.float32)
        begun = received - (len(values) - 1) / rate if begun is None else begun
        return Arrival(begun + np.arange(len(values)) / rate, values, (name,))

    def _time(self, content: Any, topic: str) -> float:
        found = read_times([str(content)], self._zone)[0] if isinstance(content, (str, int, float)) else np.nan
        if not np.isfinite(found):
            raise DataError(
                f"{topic}: {str(content)[:60]!r} is no time; send ISO 8601, or seconds or milliseconds since 1970"
            )
        return float(found)


def _number(content: Any, name: str, topic: str) -> float:
    if content is None or (isinstance(content, str) and content.strip().lower() in _MISSING):
        return float("nan")
    try:
        if isinstance(content, (int, float, str)):
            return float(content)
    except (ValueError, OverflowError):
        pass
    raise DataError(
        f"{topic}: {str(content)[:60]!r} is no value of {name}; send a number, or a JSON object of channel -> number"
    )
