"""The MQTT client of every service: reconnects, loses nothing, and is offline when it dies."""

import contextlib
import io
import logging
import random
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from service.mqtt import MqttClient, Subscription
from service.settings import Settings
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.slow_broker import SlowBroker

STAYS_ONLINE = """
from service.mqtt import MqttClient
from service.settings import Settings
import time
client = MqttClient(Settings(), "alive", status_topic="meters/_bridge/test/status")
client.start()
time.sleep(100)
"""


@contextmanager
def mosquitto(port: int, directory: Path) -> Iterator[Part]:
    with Part(require("mosquitto"), "-p", str(port), directory=directory) as part:
        wait_until(lambda: listens(port), what="mosquitto")
        yield part


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a Mosquitto of this test alone."""
    number = free_port()
    with mosquitto(number, tmp_path):
        yield number


@pytest.fixture
def clients() -> Iterator[Callable[..., MqttClient]]:
    """Start clients, and stop them afterwards."""
    started: list[MqttClient] = []

    def start(port: int, client_id: str, **options: object) -> MqttClient:
        settings = Settings(mqtt_host="127.0.0.1", mqtt_port=port)
        client = MqttClient(settings, client_id, **options)  # type: ignore[arg-type]
        started.append(client)
        client.start()
        return client

    yield start
    for client in started:
        client.stop(flush_s=0.2)


def subscribed(client: MqttClient) -> MqttClient:
    """Wait until the broker has confirmed what a client subscribes to: only then it delivers."""
    assert client.wait_connected(30)
    wait_until(lambda: client.subscribed, what="the subscriptions")
    return client


@contextmanager
def listening(port: int, topic: str, directory: Path) -> Iterator[Part]:
    with Part(
        require("mosquitto_sub"), "-p", str(port), "-v", "-t", topic, directory=directory
    ) as part:
        yield part


def test_a_client_starts_without_a_broker_and_connects_when_it_comes(
    clients: Callable[..., MqttClient], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    client = clients(port, "early")
    wait_until(lambda: "connection refused" in str(client.trouble))
    client.publish("meters/1/reading", "{}", qos=1, retain=True)

    with mosquitto(port, tmp_path), listening(port, "meters/#", tmp_path) as seen:
        seen.wait_for("meters/1/reading {}")

    logged = [r.getMessage() for r in caplog.records if "refused" in r.getMessage()]
    assert logged == [
        f"broker 127.0.0.1:{port}: connection refused; check that the broker is running; retrying"
    ]


def test_a_client_comes_back_when_the_broker_was_killed(
    clients: Callable[..., MqttClient], tmp_path: Path
) -> None:
    port, received = free_port(), threading.Event()
    with mosquitto(port, tmp_path) as first:
        client = clients(
            port,
            "loyal",
            subscriptions=(Subscription("meters/+/reading", 1),),
            on_message=lambda _message: received.set(),
        )
        assert client.wait_connected(30)
        first.process.kill()
        wait_until(lambda: not client.connected)

    with mosquitto(port, tmp_path):
        subscribed(client)
        command = [require("mosquitto_pub"), "-p", str(port), "-t", "meters/1/reading", "-m", "{}"]
        subprocess.check_call(command)

        assert received.wait(30)
        assert client.connection == 2


def test_a_listener_that_is_not_a_broker_is_reported(
    clients: Callable[..., MqttClient], caplog: pytest.LogCaptureFixture
) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            clients(server.server_address[1], "polite")
            wait_until(lambda: "no MQTT response; check that this is a broker" in caplog.text)
        finally:
            server.shutdown()


def test_a_client_is_subscribed_when_the_broker_has_acknowledged_that(
    clients: Callable[..., MqttClient],
) -> None:
    with SlowBroker() as broker:
        subscriptions = (Subscription("meters/#", 0),)
        client = clients(broker.port, "patient", subscriptions=subscriptions)
        assert broker.subscribed.wait(30)
        assert client.wait_connected(30)
        assert not client.subscribed

        broker.acknowledge()

        wait_until(lambda: client.subscribed)
        client.stop()


def test_two_programs_with_one_client_id_log_why_they_lose_their_connections(
    clients: Callable[..., MqttClient], port: int, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        clients(port, "twin-with-a-secret")

    wait_until(lambda: "check that no other program runs with a copy of this" in caplog.text, 20)
    assert "twin" not in caplog.text


def test_the_last_will_publishes_that_a_killed_service_is_offline(
    port: int, tmp_path: Path
) -> None:
    with (
        listening(port, "meters/_bridge/+/status", tmp_path) as seen,
        Part(sys.executable, "-c", STAYS_ONLINE, directory=tmp_path, MQTT_PORT=port) as service,
    ):
        seen.wait_for("meters/_bridge/test/status online")

        service.process.kill()

        seen.wait_for("meters/_bridge/test/status offline")


def test_a_clean_stop_publishes_offline_and_sends_what_is_queued(
    clients: Callable[..., MqttClient], port: int, tmp_path: Path
) -> None:
    client = clients(port, "polite", status_topic="meters/_bridge/test/status")
    assert client.wait_connected(30)
    client.publish("meters/1/reading", "{}", qos=1, retain=True)

    client.stop()

    with listening(port, "meters/#", tmp_path) as seen:
        seen.wait_for("meters/_bridge/test/status offline")
        seen.wait_for("meters/1/reading {}")


def test_a_stop_does_not_wait_for_a_broker_that_does_not_answer() -> None:
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):  # a full queue: further connections get no response
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        client = MqttClient(Settings(mqtt_port=listening.getsockname()[1]), "patient")
        client.start()
        wait_until(lambda: client._thread.is_alive())
        began_s = time.monotonic()
        client.stop()
        assert time.monotonic() - began_s < 0.7
        stack.close()
        listening.close()
        client._thread.join(10)
        assert not client._thread.is_alive()


def test_a_message_that_was_not_acknowledged_comes_again(
    clients: Callable[..., MqttClient], port: int
) -> None:
    first: list[paho.MQTTMessage] = []
    again: list[paho.MQTTMessage] = []
    options = {
        "subscriptions": (Subscription("meters/+/reading", 1),),
        "clean_session": False,
        "manual_ack": True,
    }
    forgetful = subscribed(clients(port, "recorder", on_message=first.append, **options))
    clients(port, "bridge").publish("meters/1/reading", b"{}", qos=1, retain=False)
    wait_until(lambda: first)
    forgetful.stop()

    careful = clients(port, "recorder", on_message=again.append, **options)
    wait_until(lambda: again)
    careful.ack([(again[0], careful.connection - 1)])  # of an older connection: does nothing
    careful.ack([(again[0], careful.connection)])

    assert again[0].payload == b"{}"
    careful.stop()
    subscribed(clients(port, "recorder", on_message=again.append, **options))
    clients(port, "bridge2").publish("meters/1/reading", b"{2}", qos=1, retain=False)
    wait_until(lambda: again[-1].payload == b"{2}")
    assert [message.payload for message in again] == [b"{}", b"{2}"]


@pytest.mark.parametrize("manual_ack", [False, True])
def test_messages_of_any_length_arrive_whole_and_in_their_order(
    clients: Callable[..., MqttClient], port: int, manual_ack: bool
) -> None:
    received: list[tuple[str, bytes, int, bool]] = []

    def take(message: paho.MQTTMessage) -> None:
        received.append((message.topic, message.payload, message.qos, message.retain))
        if manual_ack:
            subscriber.ack([(message, subscriber.connection)])

    to_all = [Subscription("t/#", 1)]
    subscriber = clients(
        port, "subscriber", subscriptions=to_all, on_message=take, manual_ack=manual_ack
    )
    subscribed(subscriber)
    speaks = clients(port, "speaks")
    speaks.publish("t/first", b"", qos=1, retain=False)
    wait_until(lambda: received)
    dice = random.Random(7)
    lengths = [
        0,
        1,
        110,
        125,
        127,
        16_000,
        65_535,
        70_000,
        *(dice.randrange(900) for _ in range(400)),
    ]
    sent = [
        (f"t/ä{number}", dice.randbytes(length), 1, False) for number, length in enumerate(lengths)
    ]

    for topic, payload, qos, retain in sent:
        speaks.publish(topic, payload, qos=qos, retain=retain)

    wait_until(lambda: len(received) > len(sent))
    assert received[1:] == sent


def test_paho_itself_still_reads_a_packet_in_pieces() -> None:
    """Fails when `service/read_ahead.py` is no longer needed."""
    packet, asked = io.BytesIO(b"\x30\x05\x00\x01tok"), []

    class Connection:
        def recv(self, most: int) -> bytes:
            asked.append(most)
            return packet.read(most)

        def close(self) -> None:
            pass

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client._sock = Connection()  # type: ignore[assignment]
    client._packet_read()

    assert asked == [1, 1, 5]


def test_a_wrong_password_is_reported_and_not_fatal(
    tmp_path: Path, clients: Callable[..., MqttClient]
) -> None:
    port = free_port()
    configuration = tmp_path / "closed.conf"
    configuration.write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous false\n")
    with Part(require("mosquitto"), "-c", str(configuration), directory=tmp_path):
        wait_until(lambda: listens(port), what="mosquitto")
        client = clients(port, "stranger")

        wait_until(lambda: "MQTT_USER" in str(client.trouble))

    assert not client.connected


def test_a_client_that_is_stopped_while_its_connection_closes_logs_nothing(
    clients: Callable[..., MqttClient], port: int
) -> None:
    client = clients(port, "leaves")
    assert client.wait_connected(30)
    client._paho._sockpairW.close()  # type: ignore[union-attr]  # as its thread does at the end

    client.stop()

    assert not client.connected
