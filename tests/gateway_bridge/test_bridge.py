"""The bridge as a program: what a subscriber sees of simulated meters."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from contract.times import parse_time
from gateway_bridge.publishing.publisher import as_text
from tests.support.parts import Part, free_port, listens, wait_until


class Subscriber:
    """Keeps every message of a broker, in order."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, str]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._keep
        self._client.on_connect = lambda client, *_: client.subscribe([("#", 1)])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _keep(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        self.messages.append((message.topic, message.payload.decode()))

    def of(self, topic: str) -> list[str]:
        return [payload for said_on, payload in list(self.messages) if said_on == topic]

    def publish(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(30)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def subscriber(broker_port: int) -> Iterator[Subscriber]:
    """A subscriber to all topics of the test's broker."""
    subscriber = Subscriber(broker_port)
    yield subscriber
    subscriber.close()


@pytest.fixture
def modbus_port(tmp_path: Path) -> Iterator[int]:
    """The port of a simulated gateway with two meters on a fast line."""
    port = free_port()
    arguments = ("--port", str(port), "--units", "1,2", "--baud", "0", "--turnaround", "0")
    with Part.module("simulator", *arguments, "--pause", "0", directory=tmp_path / "simulator"):
        wait_until(lambda: listens(port), what="the simulator")
        yield port


def bridge(tmp_path: Path, modbus_port: int, broker_port: int, **settings: object) -> Part:
    """Start a bridge for the two meters."""
    settings = {"METER_IDS": "1,2", "POLL_INTERVAL": 0.2, "MODBUS_TIMEOUT": 0.3} | settings
    return Part.module(
        "gateway_bridge",
        directory=tmp_path / "bridge",
        MODBUS_HOST="127.0.0.1",
        MODBUS_PORT=modbus_port,
        MQTT_PORT=broker_port,
        **settings,
    )


def test_a_subscriber_sees_the_meters_come_count_and_go(
    tmp_path: Path, modbus_port: int, broker_port: int, subscriber: Subscriber
) -> None:
    with bridge(tmp_path, modbus_port, broker_port) as part:
        wait_until(lambda: len(subscriber.of("meters/2/reading")) >= 3, what="readings")
        wait_until(lambda: len(subscriber.of("meters/2/energy")) >= 3, what="scalars")
        assert part.stop() == 0

    wait_until(lambda: subscriber.of("meters/_bridge/gateway/status")[-1] == "offline")
    assert subscriber.of("meters/1/status")[-2:] == ["online", "offline"]
    assert "Traceback" not in part.output
    readings = [json.loads(payload) for payload in subscriber.of("meters/2/reading")]
    ages = [datetime.now(UTC) - (parse_time(reading["ts"]) or EPOCH) for reading in readings]
    assert all(timedelta(0) < age < timedelta(seconds=30) for age in ages)
    numbers = [reading["seq"] for reading in readings]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert {"voltage", "current", "power", "energy"} <= readings[0].keys()


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_the_whole_reading_is_published_before_its_scalars_which_are_equal(
    tmp_path: Path, modbus_port: int, broker_port: int, subscriber: Subscriber
) -> None:
    with bridge(tmp_path, modbus_port, broker_port, METER_IDS="1"):
        wait_until(lambda: subscriber.of("meters/1/energy_export"), what="a scalar")

    topics = [topic for topic, _ in subscriber.messages]
    assert topics.index("meters/1/reading") < topics.index("meters/1/voltage")
    first = json.loads(subscriber.of("meters/1/reading")[0])
    names = [name for name in first if name not in ("ts", "meter_id", "seq")]
    assert {name: subscriber.of(f"meters/1/{name}")[0] for name in names} == {
        name: as_text(first[name]) for name in names
    }


def test_meter_and_bridge_publish_their_identity(
    tmp_path: Path, modbus_port: int, broker_port: int, subscriber: Subscriber
) -> None:
    with bridge(tmp_path, modbus_port, broker_port, BRIDGE_NAME="house"):
        wait_until(lambda: any("serial" in info for info in subscriber.of("meters/1/info")))
        wait_until(lambda: subscriber.of("homeassistant/device/meters/1/config"))

    meter = json.loads(next(i for i in subscriber.of("meters/1/info") if "serial" in i))
    assert (meter["manufacturer"], meter["unit_id"], meter["bridge"]) == ("Eastron", 1, "house")
    assert meter["wiring"] == "3p4w"
    assert "energy_import" in meter["quantities"]
    assert meter["gateway"] == "house"
    assert meter["blocks"][0] == {"address": 0, "count": 76, "interval": 0.2}
    assert meter["link"].keys() == {"readings", "timeouts", "faults", "held"}
    info = json.loads(subscriber.of("meters/_bridge/house/info")[-1])
    assert info["meters"] == ["1", "2"]
    assert info["gateways"][0]["address"] == f"127.0.0.1:{modbus_port}"


def test_discovery_is_published_again_when_home_assistant_starts(
    tmp_path: Path, modbus_port: int, broker_port: int, subscriber: Subscriber
) -> None:
    topic = "homeassistant/device/meters/1/config"
    with bridge(tmp_path, modbus_port, broker_port):
        wait_until(lambda: len(subscriber.of("meters/2/status")) >= 2, what="both meters online")
        wait_until(lambda: "serial_number" in subscriber.of(topic)[-1])
        before = len(subscriber.of(topic))
        subscriber.publish("homeassistant/status", "online")
        wait_until(lambda: len(subscriber.of(topic)) > before, what="discovery again")


def test_a_bridge_without_gateway_and_broker_waits_for_them_and_logs_it_once(
    tmp_path: Path,
) -> None:
    with bridge(tmp_path, free_port(), free_port()) as part:
        part.wait_for("refuses the connection; check the port")
        part.wait_for("connection refused; check that the broker is running")
        assert part.stop() == 0

    assert part.output.count("refuses the connection") == 1
    assert "Traceback" not in part.output


def test_all_is_said_again_when_the_broker_has_been_away(tmp_path: Path, modbus_port: int) -> None:
    port = free_port()
    with bridge(tmp_path, modbus_port, port) as part:
        part.wait_for("meter 2: online")
        with Part.module("broker", directory=tmp_path / "broker", MQTT_PORT=port):
            wait_until(lambda: listens(port), what="the broker")
            part.wait_for("connected again")
            subscriber = Subscriber(port)
            wait_until(lambda: subscriber.of("meters/2/status") == ["online"], what="status")
            wait_until(lambda: subscriber.of("homeassistant/device/meters/2/config"))
            subscriber.close()


def test_only_changed_scalars_are_published_and_all_of_them_after_a_reconnect(
    tmp_path: Path, modbus_port: int
) -> None:
    port = free_port()
    with bridge(tmp_path, modbus_port, port, METER_IDS="1", SCALARS="changed") as part:
        for start in ("first", "second"):
            with Part.module("broker", directory=tmp_path / start, MQTT_PORT=port):
                wait_until(lambda: listens(port), what="the broker")
                subscriber = Subscriber(port)
                readings = lambda seen=subscriber: seen.of("meters/1/reading")  # noqa: E731
                wait_until(lambda read=readings: len(read()) > 20, what="readings")
                subscriber.close()
            names = json.loads(readings()[-1]).keys() - {"ts", "meter_id", "seq"}
            sent = [len(subscriber.of(f"meters/1/{name}")) for name in names]
            assert min(sent) >= 1
            assert sum(sent) < 0.8 * len(names) * len(readings())
        assert part.stop() == 0


def test_without_scalars_only_the_reading_is_published(
    tmp_path: Path, modbus_port: int, broker_port: int, subscriber: Subscriber
) -> None:
    with bridge(tmp_path, modbus_port, broker_port, METER_IDS="1", SCALARS="off"):
        wait_until(lambda: len(subscriber.of("meters/1/reading")) > 3, what="readings")

    leaves = {topic for topic, _ in subscriber.messages if topic.startswith("meters/1/")}
    assert leaves == {"meters/1/reading", "meters/1/status", "meters/1/info"}


def test_a_bridge_with_many_readings_says_which_scalars_it_publishes(tmp_path: Path) -> None:
    meters = ",".join(map(str, range(1, 31)))
    with bridge(tmp_path, free_port(), free_port(), METER_IDS=meters) as part:
        part.wait_for("load: 150 readings a second take about ")
        part.wait_for("SCALARS=all publishes all of them, SCALARS=off none")
    with bridge(tmp_path, free_port(), free_port(), METER_IDS=meters, SCALARS="all") as part:
        part.wait_for("load: 150 readings")
        assert part.stop() == 0
    assert "SCALARS=off none" not in part.output


def test_a_bridge_that_dies_is_offline_by_its_last_will(
    tmp_path: Path, modbus_port: int, broker_port: int, subscriber: Subscriber
) -> None:
    with bridge(tmp_path, modbus_port, broker_port) as part:
        wait_until(lambda: subscriber.of("meters/1/reading"), what="a reading")
        part.stop(signal.SIGKILL)

        wait_until(lambda: subscriber.of("meters/_bridge/gateway/status")[-1] == "offline")


def test_without_a_gateway_the_error_names_what_to_set(tmp_path: Path) -> None:
    part = Part.module("gateway_bridge", directory=tmp_path)

    assert part.process.wait(30) == 2
    assert "MODBUS_HOST: is not set" in part.output
    assert "Traceback" not in part.output


@pytest.mark.parametrize(
    ("value", "text"),
    [(230.0, "230"), (0.001, "0.001"), (-0.0004, "0"), (1e9, "1000000000"), (-12.5, "-12.5")],
)
def test_scalars_are_decimal_text_without_exponent(value: float, text: str) -> None:
    assert as_text(value) == text
