"""MQTT: samples that are subscribed to, and alarms that are published."""

from __future__ import annotations

import json
import secrets
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from nearfar.connect.mqtt_address import MqttAddress
from nearfar.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

KEPT = 1_000
"""Alarms that wait for a broker that is away; more are lost and counted."""
_PATIENCE = 15.0  # seconds for the first connection
_LONGEST_PAUSE = 30  # seconds between two attempts to connect again
_AT_LEAST_ONCE = 1


class Message(NamedTuple):
    """What a broker delivered.

    Attributes:
        topic: where it was published.
        payload: its content.
        retained: whether it was kept by the broker for newcomers, and so is of any age.
    """

    topic: str
    payload: bytes
    retained: bool


class _Connection:
    """A client that connects again by itself, and says what is wrong meanwhile."""

    def __init__(self, address: MqttAddress) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ModuleNotFoundError as error:
            raise MissingExtraError("mqtt", f"the connection to {address}") from error
        self._address = address
        self._answered = threading.Event()
        self._refusal = ""
        self._closing = False
        self.problem = ""
        """Why there is no connection now; empty while there is one."""
        self.reconnected = 0
        """How often the connection was lost and is back."""
        self._client: Client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=address.client_id or f"nearfar-{secrets.token_hex(6)}",
            clean_session=not address.client_id,
        )
        if address.user:
            self._client.username_pw_set(address.user, address.password or None)
        if address.tls:
            self._client.tls_set_context(_tls(address))
        self._client.reconnect_delay_set(1, _LONGEST_PAUSE)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect

    def __str__(self) -> str:
        return str(self._address)

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached now."""
        return self._client.is_connected()

    def _open(self) -> None:
        """Connect for the first time, when a mistake of the user is what most often prevents it.

        Raises:
            DataError: the broker cannot be reached, or refuses.
        """
        address = self._address
        try:
            self._client.connect_timeout = _PATIENCE
            self._client.connect(address.host, address.port, keepalive=30)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "verify_message", None) or str(error)
            raise DataError(
                f"{address}: the broker cannot be reached ({reason}): check host, port and whether it runs"
            ) from error
        self._client.loop_start()
        if not self._answered.wait(_PATIENCE):
            self._stop()
            raise DataError(
                f"{address}: something answers there but does not speak MQTT; check the port, and write mqtts:// where TLS is wanted"
            )
        if self._refusal:
            self._stop()
            raise DataError(f"{address}: the broker refuses ({self._refusal}): check MQTT_USER and MQTT_PASSWORD")

    def _on_connect(
        self, client: Client, _: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self.problem = self._refusal = str(reason).lower()
        else:
            self.reconnected += self._answered.is_set()
            self.problem = self._refusal = ""
            self._greet(client)
        self._answered.set()

    def _on_disconnect(
        self, client: Client, _: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if not self._closing and not self._refusal:
            self.problem = "the connection is lost"

    def _greet(self, client: Client) -> None:
        """What is said after every connection."""

    def _stop(self) -> None:
        self._closing = True
        # In this order: the thread ends when the connection does, and does not wait for a broker that is away.
        self._client.disconnect()
        self._client.loop_stop()


class MqttSubscriber(_Connection):
    """Hands on every message of a topic, also after the broker was away.

    Messages are asked for at least once (QoS 1). Those of the time without a connection are kept by the broker only for an
    address with a `client_id`.
    """

    def __init__(self, address: MqttAddress, deliver: Callable[[Message], None]) -> None:
        """Connect and subscribe.

        Args:
            address: its topic may have wildcards.
            deliver: called with each message, in a thread of its own; while it works no other message comes.

        Raises:
            DataError: the broker cannot be reached, or refuses.
            MissingExtraError: paho-mqtt is not installed.
        """
        super().__init__(address)
        self._deliver = deliver
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._open()

    def close(self) -> None:
        """Take no more messages."""
        self._stop()

    def _greet(self, client: Client) -> None:
        client.subscribe(self._address.topic, qos=_AT_LEAST_ONCE)

    def _on_subscribe(
        self, client: Client, _: Any, mid: int, reasons: list[ReasonCode], properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self.problem = f"the broker does not let this user read {self._address.topic}"

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        self._deliver(Message(message.topic, bytes(message.payload), bool(message.retain)))


class MqttPublisher(_Connection):
    """Publishes records as JSON at least once (QoS 1), keeps them while the broker is away, and says on `TOPIC/status` whether it lives.

    The status is `online`, or `offline` after a clean end, or by last will when the process is gone.
    """

    def __init__(self, address: MqttAddress) -> None:
        """Connect.

        Args:
            address: its topic has no wildcards.

        Raises:
            DataError: the broker cannot be reached, or refuses.
            MissingExtraError: paho-mqtt is not installed.
        """
        super().__init__(address)
        self.lost = 0
        """Records that nobody will get."""
        self._status = f"{address.topic}/status"
        self._client.max_queued_messages_set(KEPT)
        self._client.will_set(self._status, "offline", qos=_AT_LEAST_ONCE, retain=True)
        self._waiting: set[int] = set()
        # Filled by the network's thread. A lock here would meet the one that paho holds while it calls.
        self._confirmed: deque[int] = deque()
        self._client.on_publish = self._on_publish
        self._open()

    def send(self, record: Mapping[str, Any]) -> None:
        """Publish a record; never waits for the broker."""
        self._settle()
        sent = self._client.publish(self._address.topic, json.dumps(record, ensure_ascii=False), qos=_AT_LEAST_ONCE)
        if sent.rc == _QUEUE_IS_FULL:
            self.lost += 1
        else:
            self._waiting.add(sent.mid)

    def close(self, patience: float = 5.0) -> None:
        """Wait up to `patience` seconds until the broker has confirmed all, then say goodbye; what is left is lost."""
        until = time.monotonic() + patience
        while self._settle() and time.monotonic() < until:
            time.sleep(0.02)
        if self.connected:
            self._waiting.add(self._client.publish(self._status, "offline", qos=_AT_LEAST_ONCE, retain=True).mid)
            unsaid = len(self._waiting) - 1
            while len(self._waiting) > unsaid and self.connected and time.monotonic() < until:
                time.sleep(0.02)
                self._settle()
            self.lost += unsaid
        else:
            self.lost += len(self._waiting)
        self._stop()

    def _settle(self) -> int:
        """Cross off what the broker has confirmed; gives how many are left."""
        while self._confirmed:
            self._waiting.discard(self._confirmed.popleft())
        return len(self._waiting)

    def _greet(self, client: Client) -> None:
        client.publish(self._status, "online", qos=0, retain=True)

    def _on_publish(self, client: Client, _: Any, mid: int, reason: ReasonCode, properties: Properties | None) -> None:
        self._confirmed.append(mid)


_QUEUE_IS_FULL = 15  # MQTTErrorCode.MQTT_ERR_QUEUE_SIZE, without importing paho for it


def _tls(address: MqttAddress) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if address.ca is None else str(address.ca))
        if address.cert is not None:
            context.load_cert_chain(address.cert, address.key)
    except (OSError, ssl.SSLError) as error:
        raise DataError(f"{address}: a certificate cannot be used ({error}): check ca, cert and key") from error
    return context
