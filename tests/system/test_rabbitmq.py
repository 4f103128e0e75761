"""The pipeline on RabbitMQ's MQTT plugin: the contract needs no special broker. Slow to start."""

import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contract.readings import decode_reading
from tests.support.parts import ROOT, Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
SETTINGS = ROOT / "deploy" / "rabbitmq" / "meters.conf"


def start(directory: Path, stack: ExitStack) -> int:
    """Start RabbitMQ with its data in a directory; return its port for MQTT."""
    amqp, mqtt, node, names = (free_port() for _ in range(4))
    text = SETTINGS.read_text().replace("tcp.1 = 1883", f"tcp.1 = 127.0.0.1:{mqtt}")
    text = text.replace("allow_anonymous = false", "allow_anonymous = true")
    guest = "mqtt.default_user = guest\nmqtt.default_pass = guest\n"
    (directory / "rabbitmq.conf").write_text(f"{text}{guest}listeners.tcp.1 = 127.0.0.1:{amqp}\n")
    (directory / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
    # Started first and by the test, because RabbitMQ would leave one running.
    epmd = Part("epmd", "-address", "127.0.0.1", "-port", str(names), directory=directory)
    stack.enter_context(epmd)
    wait_until(lambda: listens(names), what="epmd")
    settings = {
        "HOME": directory,
        "ERL_EPMD_PORT": names,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_CONFIG_FILE": directory / "rabbitmq.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": directory / "enabled_plugins",
        "RABBITMQ_MNESIA_BASE": directory / "mnesia",
        "RABBITMQ_LOG_BASE": directory / "log",
        "RABBITMQ_NODENAME": f"meterflow-{os.getpid()}@localhost",
        "RABBITMQ_DIST_PORT": node,
    }
    server = Part(str(PROGRAM), directory=directory, **settings)
    stack.callback(server.stop, timeout_s=30)
    wait_until(lambda: listens(mqtt) or server.process.poll(), 90, "RabbitMQ")
    return mqtt


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a RabbitMQ of this module alone."""
    require("rabbitmq-server")
    require("epmd")
    directory = Path(tempfile.mkdtemp(prefix="meterflow-rabbitmq-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        yield start(directory, stack)


def stored(directory: Path) -> set[tuple[str, int]]:
    """Return (meter, milliseconds) of each reading in the table."""
    with closing(sqlite3.connect(f"file:{directory}/energy_meters.db?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT meter, ts FROM readings").fetchall()
    assert len(rows) == len(set(rows))
    return set(rows)


def sent(watcher: PlainClient) -> set[tuple[str, int]]:
    """Return (meter, milliseconds) of each published reading."""
    found, now = set(), datetime.now(UTC)
    for message in watcher.messages:
        meter_id = message.topic.split("/")[1]
        whole = decode_reading(message.payload, meter_id=meter_id, arrived=now)
        found.add((meter_id, round(whole.ts.timestamp() * 1000)))
    return found


def test_no_reading_is_lost_on_rabbitmq_when_the_recorder_is_killed(
    port: int, tmp_path: Path
) -> None:
    gateway = free_port()
    line = (f"--port={gateway}", "--units=1,2,3", "--baud=0")
    bus = {"MQTT_PORT": port, "MODBUS_PORT": gateway, "MODBUS_HOST": "127.0.0.1"}
    with PlainClient(port) as watcher, ExitStack() as stack:
        watcher.subscribe("meters/+/reading")
        stack.enter_context(Part.module("simulator", *line, directory=tmp_path))
        wait_until(lambda: listens(gateway))
        recorder = Part.module("recorder", directory=tmp_path, MQTT_PORT=port)
        stack.enter_context(recorder)
        recorder.wait_for("connected")
        bridge = Part.module(
            "gateway_bridge", directory=tmp_path, METER_IDS="1,2,3", POLL_INTERVAL=0.2, **bus
        )
        stack.enter_context(bridge)
        wait_until(lambda: len(sent(watcher)) > 30)
        recorder.stop(signal.SIGKILL)
        before = len(sent(watcher))
        wait_until(lambda: len(sent(watcher)) > before + 60)
        stack.enter_context(Part.module("recorder", directory=tmp_path, MQTT_PORT=port))
        bridge.stop()

        wait_until(lambda: sent(watcher) <= stored(tmp_path), 30, "all readings in the table")


def test_rabbitmq_shares_nothing_and_gives_retained_values_by_exact_name_only(port: int) -> None:
    with PlainClient(port) as client, PlainClient(port) as sharing:
        client.publish("t/retained", "here", retain=True)
        sharing.subscribe("$share/night/t/reading")
        sharing.subscribe("t/#")
        sharing.subscribe("t/retained")
        client.publish("t/reading", "now")

        wait_until(lambda: {"here", "now"} <= set(sharing.payloads))
        assert sorted(sharing.payloads) == ["here", "now"]
