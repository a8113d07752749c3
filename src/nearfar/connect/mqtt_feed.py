"""Samples from a broker."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping

from nearfar.connect.arrivals import Arrival
from nearfar.connect.mqtt import Message, MqttSubscriber
from nearfar.connect.mqtt_address import MqttAddress
from nearfar.connect.payload import PayloadReader
from nearfar.errors import DataError
from nearfar.sources.document import ReadReport

_WAITING = 10_000  # messages


class MqttFeed:
    """Samples of a topic, handed over one message after the other; see `nearfar.connect.arrivals.Feed`."""

    ended = False

    def __init__(self, address: MqttAddress, rates: Mapping[str, float | None], timezone: str = "UTC") -> None:
        """Connect and subscribe.

        Args:
            address: its topic may have wildcards.
            rates: the channels of the bundle, with the samples a second of the fast ones.
            timezone: of times that name none.

        Raises:
            DataError: the broker cannot be reached, or refuses.
            MissingExtraError: paho-mqtt is not installed.
        """
        self._queue: queue.Queue[tuple[Message, float]] = queue.Queue(_WAITING)
        self._reader = PayloadReader(rates, timezone)
        self._waiting: list[Arrival] = []
        self.lost = 0
        """Messages that came faster than they could be read."""
        self.report = ReadReport()
        """What was passed over."""
        self._subscriber = MqttSubscriber(address, self._keep)

    @property
    def problem(self) -> str:
        """Why nothing can come now; empty where it can."""
        return self._subscriber.problem

    def next(self, wait: float) -> Arrival | None:
        """See `Feed`."""
        if not self._waiting:
            try:
                message, received = self._queue.get(timeout=wait)
            except queue.Empty:
                return None
            try:
                found = self._reader.read(message.topic, message.payload, received, retained=message.retained)
            except DataError as error:
                self.report.skip(message.topic, "unreadable messages", detail=str(error).partition(": ")[2])
                return None
            if not found:
                reason = "kept by the broker, of unknown age" if message.retained else "of no channel of the bundle"
                self.report.skip(message.topic, f"messages {reason}")
                return None
            self._waiting = found[::-1]
        return self._waiting.pop()

    def close(self) -> None:
        """Take no more messages."""
        self._subscriber.close()

    def _keep(self, message: Message) -> None:
        try:
            self._queue.put_nowait((message, time.time()))
        except queue.Full:
            self.lost += 1
