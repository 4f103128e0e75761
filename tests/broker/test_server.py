"""What only the embedded broker does: its limits, and the refusals that it logs."""

import logging
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from broker import session
from broker.server import LOG_PERIOD_S, MOST_LOGGED, LogFilter
from broker.session import ClientSession
from broker.users import add_user
from tests.support.parts import Part, free_port, listens, wait_until
from tests.support.plain_client import PlainClient

RIGHTS = """
topic readwrite free/#
user esp1
topic write meters/esp1/#
user esp2
topic write meters/esp2/#
topic read meters/_bridge/#
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Part, int]]:
    """An embedded broker with users, and its port."""
    directory, port = tmp_path_factory.mktemp("embedded"), free_port()
    for name in ("esp1", "esp2"):
        add_user(directory / "passwd", name, "secret")
    (directory / "acl").write_text(RIGHTS)
    files = {"BROKER_USERS_FILE": "passwd", "BROKER_ACL_FILE": "acl"}
    with Part.module(
        "broker", directory=directory, MQTT_PORT=port, BROKER="embedded", **files
    ) as part:
        wait_until(lambda: listens(port))
        yield part, port


def device(port: int, name: str = "esp1", client_id: str = "", **options: object) -> PlainClient:
    return PlainClient(port, client_id, user=(name, "secret"), **options)  # type: ignore[arg-type]


def test_a_client_that_uses_mqtt_5_is_refused_in_mqtt_5(broker: tuple[Part, int]) -> None:
    part, port = broker

    with device(port, protocol=paho.MQTTv5) as client:
        assert client.refusal == "Unsupported protocol version"

    part.wait_for("uses MQTT 5; the embedded broker supports 3.1.1 only (Mosquitto also 5)")


def test_a_refused_publish_is_logged_once(broker: tuple[Part, int]) -> None:
    part, port = broker
    with device(port, client_id="cellar") as client:
        for _ in range(1000):
            client.begin_publish("meters/esp2/power", "1")
        client.publish("meters/esp2/power", "1")

    line = (
        "client cellar (user esp1): not authorized to publish to 'meters/esp2/power';"
        " message dropped"
    )
    part.wait_for(line)
    assert part.output.count(line) == 1


def test_a_refused_filter_is_logged(broker: tuple[Part, int]) -> None:
    part, port = broker
    with device(port) as client:
        assert not client.subscribe("meters/#")
        assert not client.subscribe("$share/recorder/meters/esp1/reading")

    part.wait_for("subscription to 'meters/#' rejected: not authorized for all of it")
    part.wait_for("meters/esp1/reading' rejected: shared subscriptions need Mosquitto")


def test_a_wrong_password_is_logged_without_the_password(
    broker: tuple[Part, int],
) -> None:
    part, port = broker
    with PlainClient(port, user=("esp1", "almost-secret")) as client:
        assert client.refusal == "Bad user name or password"

    part.wait_for("user 'esp1': unknown, or wrong password; disconnected")
    assert "almost-secret" not in part.output


def test_nobody_takes_over_the_session_of_another_user(broker: tuple[Part, int]) -> None:
    _, port = broker
    with device(port, client_id="mine", clean_session=False) as owner:
        with device(port, "esp2", client_id="mine") as thief:
            assert thief.refusal == "Client identifier not valid"

        owner.publish("meters/esp1/power", "1")
        assert owner.connected


def test_a_flood_of_nonsense_leaves_a_few_lines_in_the_log(broker: tuple[Part, int]) -> None:
    part, port = broker
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
            stranger.sendall(b"\x00" * 1000)

    with device(port) as client:
        client.publish("meters/esp1/power", "1")
    assert len(part.output.splitlines()) < 40


PACKETS = (
    b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03odd",
    b"\x10\x1b\x00\x04MQTT\x04\x2e\x00\x3c\x00\x03will\x00\x01w\x00\x02xy",
    b"\x30\x05\x00\x01ax1",
    b"\x32\x07\x00\x01a\x00\x01xy",
    b"\x34\x07\x00\x01a\x00\x02xy",
    b"\x62\x02\x00\x02",
    b"\x82\x06\x00\x01\x00\x01a\x01",
    b"\xa2\x05\x00\x03\x00\x01a",
    b"\x40\x02\x00\x01",
    b"\xc0\x00",
    b"\xe0\x00",
)


def test_packets_with_wrong_bytes_neither_break_the_broker_nor_fill_its_log(
    tmp_path: Path,
) -> None:
    port, chance = free_port(), random.Random(7)
    with Part.module("broker", directory=tmp_path, MQTT_PORT=port, BROKER="embedded") as part:
        wait_until(lambda: listens(port))
        for _ in range(300):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
                stranger.sendall(PACKETS[0] + b"".join(_spoilt(chance) for _ in range(4)))

        with PlainClient(port) as client:
            client.subscribe("t")
            client.publish("t", "served")
            wait_until(lambda: client.payloads == ["served"])
        assert part.stop() == 0
    assert "Traceback" not in part.output
    assert len(part.output.splitlines()) < 70


def _spoilt(chance: random.Random) -> bytes:
    packet = bytearray(chance.choice(PACKETS))
    for _ in range(chance.randrange(3)):
        packet[chance.randrange(len(packet))] = chance.randrange(256)
    return bytes(packet)


def test_a_fault_is_logged_once_a_minute_and_many_do_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log_filter = LogFilter()
    with caplog.at_level(logging.WARNING):
        for number in range(1000):
            log_filter.report("client a", "is wrong", 100.0)
            log_filter.report(f"client {number}", "is wrong", 100.0)
        assert len(caplog.messages) == MOST_LOGGED

        log_filter.report("client a", "is wrong", 100.0 + LOG_PERIOD_S)
    assert caplog.messages[-2:] == [
        f"{2000 - MOST_LOGGED:,} more messages about clients suppressed",
        "client a: is wrong",
    ]


def test_the_queue_of_an_absent_client_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_QUEUED", 3)
    monkeypatch.setattr(session, "MOST_QUEUED_BYTES", 100)
    few, large = (ClientSession(lambda _: True) for _ in range(2))

    assert [few.enqueue((b"t", b"x")) for _ in range(4)] == [True, True, True, False]
    assert [large.enqueue((b"t", b"x" * 60)) for _ in range(2)] == [True, False]


def test_the_subscriptions_of_one_client_have_a_limit(broker: tuple[Part, int]) -> None:
    _, port = broker
    filters = b"".join(b"\x00\x16meters/_bridge/esp%04d\x00" % n for n in range(202))
    packet = b"\x82" + _length(2 + len(filters)) + b"\x00\x01" + filters
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"\x10\x1b\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01m\x00\x04esp2\x00\x06secret")
        assert client.recv(4) == b"\x20\x02\x00\x00"

        client.sendall(packet)

        answer = client.makefile("rb").read(3 + 2 + 202)
    assert answer[5:] == b"\x00" * 200 + b"\x80" * 2


def _length(number: int) -> bytes:
    """Return a remaining length of two bytes, as MQTT encodes it."""
    return bytes((number & 0x7F | 0x80, number >> 7))
