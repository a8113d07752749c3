"""Where messages go and come from: `mqtt://host:1883/plant/pump7`, or `mqtts://` for TLS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from nearfar.errors import DataError

PORT = 1883
TLS_PORT = 8883
_SCHEMES = ("mqtt", "mqtts")
_OPTIONS = ("client_id", "ca", "cert", "key")
_MOST_TOPIC_BYTES = 65_535


@dataclass(frozen=True, slots=True)
class MqttAddress:
    """A topic of a broker.

    Attributes:
        host: name or number of the broker.
        port: 1883, or 8883 with TLS, where nothing else is said.
        topic: what is published to, or a filter with `+` and `#` that is subscribed to.
        tls: whether the connection is encrypted and the broker's certificate checked.
        user: empty for none.
        password: empty for none; in no message.
        client_id: a name of its own makes the broker keep what comes while nearfar is away; empty for a new name each time.
        ca: certificates that the broker's is checked with; None for those of the system.
        cert: a certificate that nearfar shows.
        key: the key of that certificate.
    """

    host: str
    port: int
    topic: str
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    client_id: str = ""
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}/{self.topic}"


def is_mqtt(text: str) -> bool:
    """Whether this names a broker."""
    return text.partition("://")[0] in _SCHEMES


def parse_mqtt(text: str, environment: Mapping[str, str] = os.environ, *, wildcards: bool = False) -> MqttAddress:
    """Read the address of a topic.

    Args:
        text: `mqtt://[user[:password]@]host[:port]/topic[?client_id=NAME&ca=FILE&cert=FILE&key=FILE]`. Others on the machine can
            see the arguments of a command, so user and password are better given as `MQTT_USER` and `MQTT_PASSWORD`.
        environment: where those two are looked up, if the address has none.
        wildcards: whether the topic may be a filter, as of a subscription.

    Raises:
        DataError: it is no such address.
    """
    # `#` is a wildcard of topics, not the beginning of a fragment.
    parts = urlsplit(text.replace("#", "%23"))
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{unquote(parts.path)}"
    example = "mqtt://host:1883/plant/pump7"
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise DataError(f"{shown}: not the address of a broker; write {example}, or mqtts:// for TLS")
    try:
        port = parts.port
    except ValueError:
        raise DataError(f"{shown}: the port must be a number from 0 to 65535") from None
    topic = unquote(parts.path.removeprefix("/"))
    if not topic:
        raise DataError(f"{shown}: say the topic behind the host, as in {example}")
    _check_topic(topic, shown, wildcards=wildcards)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := [name for name in options if name not in _OPTIONS]:
        raise DataError(f"{shown}: an address may not say {unknown[0]!r}; it may say {', '.join(_OPTIONS)}")
    tls = parts.scheme == "mqtts"
    files = {name: Path(options[name]) for name in ("ca", "cert", "key") if name in options}
    if files and not tls:
        raise DataError(f"{shown}: {next(iter(files))} is of an encrypted connection: write mqtts:// for it")
    if "key" in files and "cert" not in files:
        raise DataError(f"{shown}: key is that of a certificate: give cert too")
    for name, path in files.items():
        if not path.is_file():
            raise DataError(f"{shown}: {name}={path}: there is no such file")
    return MqttAddress(
        host=parts.hostname,
        port=port or (TLS_PORT if tls else PORT),
        topic=topic,
        tls=tls,
        user=unquote(parts.username or "") or environment.get("MQTT_USER", ""),
        password=unquote(parts.password or "") or environment.get("MQTT_PASSWORD", ""),
        client_id=options.get("client_id", ""),
        **files,
    )


def _check_topic(topic: str, shown: str, *, wildcards: bool) -> None:
    """MQTT 3.1.1, section 4.7."""
    if "\0" in topic or len(topic.encode()) > _MOST_TOPIC_BYTES:
        raise DataError(f"{shown}: a topic has no NUL and at most {_MOST_TOPIC_BYTES:,} bytes")
    levels = topic.split("/")
    if not wildcards:
        if "+" in topic or "#" in topic:
            raise DataError(f"{shown}: + and # are of subscriptions; alarms go to one topic, so write it whole")
        return
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
        raise DataError(
            f"{shown}: + stands for a whole level of a topic, and # for all the last ones: plant/+/temperature, plant/#"
        )
