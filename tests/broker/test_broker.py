"""What the pipeline needs of a broker, tested on the embedded one and on Mosquitto."""

import itertools
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.held_files import rows_in
from tests.support.parts import ROOT, Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

_numbers = itertools.count()
SILENT_CLIENT = b"\x10\x21\x00\x04MQTT\x04\x26\x00\x01\x00\x06silent\x00\x07%s\x00\x04gone"


@pytest.fixture(scope="module", params=["mosquitto", "embedded"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "mosquitto":
        require("mosquitto")
    return str(request.param)


@pytest.fixture(scope="module")
def port(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a broker that the tests of this module share; each has its own topics."""
    number = free_port()
    directory = tmp_path_factory.mktemp(kind)
    with Part.module("broker", directory=directory, MQTT_PORT=number, BROKER=kind):
        wait_until(lambda: listens(number), what=kind)
        yield number


@pytest.fixture
def topic() -> str:
    """A topic that no other test uses."""
    return f"t{next(_numbers):06}"


def test_a_retained_message_is_sent_to_a_later_subscriber(port: int, topic: str) -> None:
    with PlainClient(port) as publisher, PlainClient(port) as late:
        publisher.publish(topic, "old", retain=True)
        publisher.publish(topic, "new", retain=True)

        late.subscribe(topic)

        wait_until(lambda: late.payloads == ["new"])
        assert late.messages[0].retain


def test_an_empty_retained_message_deletes_the_topic(port: int, topic: str) -> None:
    with PlainClient(port) as publisher, PlainClient(port) as late:
        publisher.publish(f"{topic}/a", "1", retain=True)
        publisher.publish(f"{topic}/b", "2", retain=True)
        publisher.publish(f"{topic}/a", "", retain=True)

        late.subscribe(f"{topic}/#")

        wait_until(lambda: late.payloads)
        assert late.payloads == ["2"]


def test_a_client_gets_no_retained_message_that_it_did_not_ask_for(port: int, topic: str) -> None:
    with PlainClient(port) as publisher, PlainClient(port) as other:
        publisher.publish(f"{topic}/secret", "s", retain=True)
        other.subscribe(f"{topic}/secret")

        with PlainClient(port, topic, clean_session=False) as only_one:
            only_one.subscribe(f"{topic}/mine")
        with PlainClient(port, topic, clean_session=False) as only_one:
            publisher.publish(f"{topic}/mine", "m")
            wait_until(lambda: only_one.payloads)

            assert only_one.payloads == ["m"]


def test_readings_wait_in_order_for_a_client_that_is_away(port: int, topic: str) -> None:
    wanted = [str(number) for number in range(2500)]  # more than fit in flight at once
    with PlainClient(port, topic, clean_session=False) as client:
        client.subscribe(topic)

    with PlainClient(port) as publisher:
        for number in wanted:
            publisher.begin_publish(topic, number)
        publisher.publish(topic, "end")

    with PlainClient(port, topic, clean_session=False) as client:
        wait_until(lambda: "end" in client.payloads)
        assert client.payloads == [*wanted, "end"]
        assert not any(message.retain for message in client.messages)


def test_an_unacknowledged_message_is_sent_again(port: int, topic: str) -> None:
    client = PlainClient(port, topic, clean_session=False, manual_ack=True)
    client.subscribe(topic)
    with PlainClient(port) as publisher:
        for number in range(15):
            publisher.publish(topic, str(number))
    wait_until(lambda: len(client.messages) == 15)
    for message in client.messages[:5]:
        client.ack(message)
    client.publish(f"{topic}/after", "the acknowledgements")
    client.vanish()

    with PlainClient(port, topic, clean_session=False) as again:
        wait_until(lambda: len(again.messages) >= 10)

        assert again.payloads == [str(number) for number in range(5, 15)]
        assert all(message.dup for message in again.messages)


def test_the_last_will_is_published_after_a_crash_only(port: int, topic: str) -> None:
    with PlainClient(port) as watcher:
        watcher.subscribe(f"{topic}/#")
        with PlainClient(port, will=f"{topic}/polite"):
            pass

        PlainClient(port, will=f"{topic}/crashed").vanish()

        wait_until(lambda: watcher.messages)
        assert [message.topic for message in watcher.messages] == [f"{topic}/crashed"]


def test_the_last_will_is_published_for_a_silent_client(port: int, topic: str) -> None:
    with PlainClient(port) as watcher, socket.create_connection(("127.0.0.1", port)) as silent:
        watcher.subscribe(topic)

        silent.sendall(SILENT_CLIENT % topic.encode())

        wait_until(lambda: watcher.payloads == ["gone"], timeout_s=20)


def test_wildcards_match_one_level_and_many(port: int, topic: str) -> None:
    with PlainClient(port) as one, PlainClient(port) as many, PlainClient(port) as publisher:
        one.subscribe(f"{topic}/+/reading")
        many.subscribe(f"{topic}/#")
        for leaf in ("1/reading", "1/power", "_bridge/main/reading"):
            publisher.publish(f"{topic}/{leaf}", leaf)

        publisher.publish(f"{topic}/end/reading", "end")

        wait_until(lambda: len(many.messages) == 4 and "end" in one.payloads)
        assert one.payloads == ["1/reading", "end"]


def test_two_filters_that_overlap_bring_a_message_once(port: int, topic: str) -> None:
    with PlainClient(port) as client, PlainClient(port) as publisher:
        client.subscribe(f"{topic}/+/+", 0)
        client.subscribe(f"{topic}/+/reading", 1)
        publisher.publish(f"{topic}/1/reading", "once")
        publisher.publish(f"{topic}/1/power", "then")

        wait_until(lambda: "then" in client.payloads)
        assert client.payloads == ["once", "then"]
        assert [message.qos for message in client.messages] == [1, 0]


def test_a_scalar_published_at_qos_0_stays_at_qos_0(port: int, topic: str) -> None:
    with PlainClient(port) as client, PlainClient(port) as publisher:
        client.subscribe(topic, 1)
        publisher.publish(topic, "5", qos=0)

        wait_until(lambda: client.messages)
        assert client.messages[0].qos == 0


def test_a_session_goes_to_the_newest_connection_of_its_client(port: int, topic: str) -> None:
    earlier = PlainClient(port, topic, clean_session=False)
    earlier.subscribe(topic)
    with (
        PlainClient(port, topic, clean_session=False) as newest,
        PlainClient(port) as publisher,
    ):
        wait_until(lambda: not earlier.connected, what="the end of the earlier connection")
        publisher.publish(topic, "for the newest")
        wait_until(lambda: newest.payloads == ["for the newest"])
    earlier.vanish()


def test_a_client_that_sends_too_much_is_disconnected_and_others_go_on(
    port: int, topic: str
) -> None:
    with PlainClient(port) as client, PlainClient(port) as publisher:
        client.subscribe(f"{topic}/#")
        flooder = PlainClient(port)
        flooder.begin_publish(f"{topic}/big", bytes(1_000_000))

        wait_until(lambda: not flooder.connected, what="the end of the connection")
        publisher.publish(f"{topic}/small", "here")
        wait_until(lambda: client.payloads == ["here"])
        flooder.vanish()


def test_bytes_that_are_not_mqtt_end_only_their_own_connection(port: int, topic: str) -> None:
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000, b"\xff" * 1000):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
            stranger.sendall(nonsense)

    with PlainClient(port) as client:
        client.subscribe(topic)
        client.publish(topic, "fine")
        wait_until(lambda: client.payloads == ["fine"])


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\x00\x00", id="a reserved kind"),
        pytest.param(b"\xf0\x00", id="another reserved kind"),
        pytest.param(b"\x36\x06\x00\x01t\x00\x01x", id="QoS 3"),
        pytest.param(b"\x30\x05\x00\x03a/#", id="a message to a wildcard"),
        pytest.param(b"\x30\x03\x00\x00x", id="a message to no topic"),
        pytest.param(b"\x30\x05\x00\x02\xc3\x28x", id="a topic that is not UTF-8"),
        pytest.param(b"\x30\x03\x00\x09t", id="a topic longer than its packet"),
        pytest.param(b"\x30\xff\xff\xff\xff\x01", id="a length without an end"),
        pytest.param(b"\x80\x06\x00\x01\x00\x01t\x00", id="a subscription without its flag"),
        pytest.param(b"\x82\x06\x00\x01\x00\x01t\x03", id="a subscription with QoS 3"),
        pytest.param(b"\x82\x08\x00\x01\x00\x03a#b\x00", id="a filter that is none"),
        pytest.param(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03two", id="a second CONNECT"),
    ],
)
def test_a_malformed_packet_ends_the_connection(port: int, packet: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
        stranger.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03odd")
        assert stranger.recv(4) == b"\x20\x02\x00\x00"

        stranger.sendall(packet)

        assert stranger.recv(1) == b""


def test_a_message_is_passed_on_even_if_its_sender_leaves_at_once(port: int, topic: str) -> None:
    with PlainClient(port) as watcher, socket.create_connection(("127.0.0.1", port)) as hasty:
        watcher.subscribe(topic)
        publish = b"\x30\x09\x00\x07" + topic.encode()

        hasty.sendall(
            b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03run" + publish * 50 + b"\xe0\x00"
        )

        wait_until(lambda: len(watcher.messages) == 50)


def test_a_message_of_qos_2_is_passed_on_once(port: int, topic: str) -> None:
    with PlainClient(port) as watcher, PlainClient(port) as publisher:
        watcher.subscribe(topic)
        publisher.publish(topic, "exactly", qos=2)
        publisher.publish(topic, "end")

        wait_until(lambda: "end" in watcher.payloads)
        assert watcher.payloads == ["exactly", "end"]


def test_shared_subscriptions_are_granted_or_refused_never_silent(
    port: int, kind: str, topic: str
) -> None:
    with PlainClient(port) as client:
        granted = client.subscribe(f"$share/recorder/{topic}")
        client.publish(topic, "shared")

        assert granted is (kind == "mosquitto")
        if granted:
            wait_until(lambda: client.payloads == ["shared"])


def test_the_broker_stops_cleanly_when_asked(kind: str, tmp_path: Path) -> None:
    number = free_port()
    with Part.module("broker", directory=tmp_path, MQTT_PORT=number, BROKER=kind) as part:
        wait_until(lambda: listens(number))
        with PlainClient(number):
            assert part.stop() == 0

    assert "Traceback" not in part.output


def test_a_port_in_use_ends_the_broker_with_a_message(port: int, kind: str, tmp_path: Path) -> None:
    with Part.module("broker", directory=tmp_path, MQTT_PORT=port, BROKER=kind) as second:
        assert second.process.wait(30) == 1

    assert f"MQTT_PORT {port} on 127.0.0.1 is in use" in second.output
    assert "Traceback" not in second.output


def test_a_broker_without_users_does_not_listen_on_the_network(kind: str, tmp_path: Path) -> None:
    with Part.module("broker", directory=tmp_path, MQTT_HOST="0.0.0.0", BROKER=kind) as part:
        assert part.process.wait(30) == 1

    assert "MQTT_HOST 0.0.0.0 is reachable from the network, but no users are" in part.output
    assert "Traceback" not in part.output


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("mosquitto", signal.SIGTERM),
        ("embedded", signal.SIGTERM),
        ("embedded", signal.SIGKILL),  # Mosquitto saves every 5 s; too long to wait for here
    ],
)
def test_retained_messages_survive_a_restart(kind: str, number: int, tmp_path: Path) -> None:
    if kind == "mosquitto":
        require("mosquitto")
    port = free_port()
    with Part.module("broker", directory=tmp_path, MQTT_PORT=port, BROKER=kind) as part:
        wait_until(lambda: listens(port))
        with PlainClient(port) as client:
            client.publish("kept/old", "gone", retain=True)
            client.publish("kept/new", "here", retain=True)
            client.publish("kept/old", "", retain=True)
        if number == signal.SIGKILL:
            wait_until(lambda: _is_saved(tmp_path, "kept/new"), what="the broker to save")
        part.stop(number)

    with Part.module("broker", directory=tmp_path, MQTT_PORT=port, BROKER=kind):
        wait_until(lambda: listens(port))
        with PlainClient(port) as client:
            client.subscribe("kept/#")
            wait_until(lambda: client.payloads)
            assert client.payloads == ["here"]


def _is_saved(directory: Path, topic: str) -> bool:
    [path] = directory.glob("state/*.db")
    return (topic,) in rows_in(path, "SELECT topic FROM retained")


def test_the_projects_configuration_works_as_it_stands(tmp_path: Path) -> None:
    program = require("mosquitto")
    number = free_port()
    text = (ROOT / "mosquitto.conf").read_text().replace("listener 1883", f"listener {number}")
    (tmp_path / "mosquitto.conf").write_text(text)

    with Part(program, "-c", "mosquitto.conf", directory=tmp_path) as part:
        wait_until(lambda: listens(number))
        assert part.stop() == 0

    assert (tmp_path / "mosquitto.db").exists()
    assert "Error" not in part.output


def test_the_embedded_broker_logs_what_it_lacks(tmp_path: Path) -> None:
    part = Part.module("broker", directory=tmp_path, MQTT_PORT=free_port(), BROKER="embedded")
    with part:
        part.wait_for("it loses queues on restart, has no MQTT 5 and no $share")
