"""Where events go: lines of JSON, a webhook, a topic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from nearfar.connect.mqtt_address import is_mqtt, parse_mqtt
from nearfar.connect.webhook import Webhook, is_webhook
from nearfar.errors import DataError


class Sink(Protocol):
    """Somebody who is told."""

    lost: int
    problem: str

    def send(self, record: Mapping[str, Any]) -> None:
        """Tell; never waits for somebody far away."""
        ...

    def close(self, patience: float = 5.0) -> None:
        """Wait up to `patience` seconds until all has arrived; what has not is counted in `lost`."""
        ...


class Lines:
    """Records as lines of JSON."""

    lost = 0
    problem = ""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __str__(self) -> str:
        return "standard output"

    def send(self, record: Mapping[str, Any]) -> None:
        """Write a line, at once."""
        self._stream.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._stream.flush()

    def close(self, patience: float = 5.0) -> None:
        """Nothing is held back."""


def open_sink(target: str, lines: TextIO) -> Sink:
    """Whom a person names.

    Args:
        target: `-` for `lines`, http(s)://, or mqtt(s)://host/topic.
        lines: where `-` writes.

    Raises:
        DataError: it is none of these, or cannot be reached.
        MissingExtraError: the packages for it are not installed.
    """
    if target == "-":
        return Lines(lines)
    if is_webhook(target):
        return Webhook(target)
    if is_mqtt(target):
        address = parse_mqtt(target)
        from nearfar.connect.mqtt import MqttPublisher

        return MqttPublisher(address)
    raise DataError(
        f"{target.partition('://')[0]}: alarms go to - (standard output), http(s)://..., or mqtt(s)://host/topic"
    )
