from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import Broker, until

from nearfar.connect.mqtt_address import parse_mqtt
from nearfar.errors import DataError

pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
from nearfar.connect.mqtt import Message, MqttPublisher, MqttSubscriber


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


def test_an_address_says_where_as_whom_and_what() -> None:
    found = parse_mqtt("mqtts://me:s%40me@host/plant/+/temperature/#?client_id=a", {}, wildcards=True)
    assert (found.host, found.port, found.topic, found.tls) == ("host", 8883, "plant/+/temperature/#", True)
    assert (found.user, found.password, found.client_id) == ("me", "s@me", "a")
    assert "s@me" not in repr(found)
    assert "me" not in str(found).removesuffix("#")[:13]
    assert str(parse_mqtt("mqtt://[::1]/a", {})) == "mqtt://[::1]:1883/a"


def test_user_and_password_come_from_the_environment() -> None:
    found = parse_mqtt("mqtt://host:2000/a", {"MQTT_USER": "u", "MQTT_PASSWORD": "p"})
    assert (found.user, found.password, found.port) == ("u", "p", 2000)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mqtt://host", "say the topic"),
        ("mqtt:///topic", "not the address of a broker"),
        ("mqtt://host:99999/a", "port must be a number"),
        ("mqtt://host/a/+", "are of subscriptions"),
        ("mqtt://host/a?qos=2", "may not say 'qos'"),
        ("mqtt://host/a?ca=x.pem", "write mqtts://"),
        ("mqtts://host/a?ca=/no/such.pem", "no such file"),
        ("mqtt://me:secret@host", "say the topic"),
    ],
)
def test_a_wrong_address_is_refused_without_its_password(text: str, part: str) -> None:
    with pytest.raises(DataError) as error:
        parse_mqtt(text, {})
    assert part in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("topic", ["a/#/b", "a+/b", "a/b#"])
def test_wildcards_stand_for_whole_levels(topic: str) -> None:
    with pytest.raises(DataError, match="whole level"):
        parse_mqtt(f"mqtt://host/{topic}", {}, wildcards=True)


def test_what_is_published_arrives(broker: Broker) -> None:
    came: list[Message] = []
    subscriber = MqttSubscriber(parse_mqtt(f"{broker.url}/plant/#", {}, wildcards=True), came.append)
    publisher = MqttPublisher(parse_mqtt(f"{broker.url}/plant/alarms", {}))
    publisher.send({"kind": "alarm", "unit": "°C"})
    publisher.close()
    assert until(lambda: len(came) == 3)
    subscriber.close()
    assert [message.topic for message in came] == ["plant/alarms/status", "plant/alarms", "plant/alarms/status"]
    assert [came[0].payload, came[2].payload] == [b"online", b"offline"]
    assert json.loads(came[1].payload) == {"kind": "alarm", "unit": "°C"}
    assert publisher.lost == 0


def test_alarms_wait_for_a_broker_that_restarts(broker: Broker) -> None:
    came: list[Message] = []
    subscriber = MqttSubscriber(parse_mqtt(f"{broker.url}/alarms", {}, wildcards=True), came.append)
    publisher = MqttPublisher(parse_mqtt(f"{broker.url}/alarms", {}))
    broker.stop()
    assert until(lambda: bool(publisher.problem and subscriber.problem))
    for number in range(5):
        publisher.send({"number": number})
    broker.start()
    # Subscribed before the publisher is back, or a broker that has forgotten everything drops what is published to nobody.
    assert until(lambda: subscriber.reconnected == 1 and publisher.reconnected == 1)
    publisher.send({"number": 5})
    assert until(lambda: any(json.loads(message.payload)["number"] == 5 for message in came))
    publisher.close()
    subscriber.close()
    assert publisher.lost == 0
    assert (publisher.problem, subscriber.problem) == ("", "")


def test_a_named_client_gets_what_came_while_it_was_away(broker: Broker) -> None:
    came: list[Message] = []
    address = parse_mqtt(f"{broker.url}/samples?client_id=monitor-7", {}, wildcards=True)
    MqttSubscriber(address, came.append).close()
    publisher = MqttPublisher(parse_mqtt(f"{broker.url}/samples", {}))
    publisher.send({"number": 1})
    publisher.close()
    subscriber = MqttSubscriber(address, came.append)
    assert until(lambda: len(came) == 1)
    subscriber.close()


def test_what_a_broker_never_took_is_counted(broker: Broker) -> None:
    publisher = MqttPublisher(parse_mqtt(f"{broker.url}/alarms", {}))
    broker.stop()
    assert until(lambda: bool(publisher.problem))
    for number in range(1003):
        publisher.send({"number": number})
    publisher.close(patience=0.1)
    assert publisher.lost == 1003


def test_the_last_will_says_that_the_process_is_gone(broker: Broker) -> None:
    came: list[Message] = []
    subscriber = MqttSubscriber(parse_mqtt(f"{broker.url}/alarms/status", {}, wildcards=True), came.append)
    code = (
        "import os, time\n"
        "from nearfar.connect.mqtt import MqttPublisher\n"
        "from nearfar.connect.mqtt_address import parse_mqtt\n"
        f"publisher = MqttPublisher(parse_mqtt('{broker.url}/alarms'))\n"
        "publisher.send({}); time.sleep(0.5); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert until(lambda: [message.payload for message in came] == [b"online", b"offline"])
    subscriber.close()


def test_nobody_there_and_a_wrong_password_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be reached"):
        MqttPublisher(parse_mqtt("mqtt://127.0.0.1:1/alarms", {}))
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("no mosquitto_passwd here")
    subprocess.run([tool, "-b", "-c", passwords, "me", "right"], check=True, capture_output=True)
    broker = Broker(tmp_path, "allow_anonymous false", f"password_file {passwords}")
    broker.start()
    try:
        MqttPublisher(parse_mqtt(f"{broker.url}/a", {"MQTT_USER": "me", "MQTT_PASSWORD": "right"})).close()
        with pytest.raises(DataError, match=r"refuses .*MQTT_PASSWORD"):
            MqttPublisher(parse_mqtt(f"{broker.url}/a", {"MQTT_USER": "me", "MQTT_PASSWORD": "wrong"}))
    finally:
        broker.stop()


def test_tls_checks_the_certificate(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2"]
    subprocess.run(
        [*made, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True
    )
    broker = Broker(tmp_path, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
    broker.start()
    try:
        url = broker.url.replace("mqtt://", "mqtts://")
        publisher = MqttPublisher(parse_mqtt(f"{url}/alarms?ca={certificate}", {}))
        publisher.send({"kind": "alarm"})
        publisher.close()
        assert publisher.lost == 0
        with pytest.raises(DataError, match=r"cannot be reached .*certificate"):
            MqttPublisher(parse_mqtt(f"{url}/alarms", {}))
    finally:
        broker.stop()
