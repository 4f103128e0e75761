"""The ESP32 device of examples/esp32/micropython/, run unchanged by MicroPython on this machine."""

import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from broker.users import add_user
from contract.quantities import BY_NAME
from contract.readings import Reading, decode_reading
from tests.support.parts import ROOT, Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

EXAMPLE = ROOT / "examples" / "esp32" / "micropython"
CONFIG = """
BROKER = "127.0.0.1"
PORT = {port}
USER = "esp1"
PASSWORD = "secret"
METER_ID = "esp1"
INTERVAL_S = 0.2
"""


class Site:
    """A broker with users, and a device that publishes to it."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.port = free_port()
        self._kind, self._directory = kind, directory
        for name in ("esp1", "viewer", "bridge"):
            add_user(directory / "passwd", name, "secret")
        self.broker = self.start_broker()

    def start_broker(self) -> Part:
        """Start the broker, or start it again."""
        part = Part.module(
            "broker",
            directory=self._directory,
            BROKER=self._kind,
            MQTT_PORT=self.port,
            BROKER_USERS_FILE="passwd",
            BROKER_ACL_FILE=ROOT / "deploy/mosquitto/meters.acl",
        )
        wait_until(lambda: listens(self.port), what=self._kind)
        return part

    def start_device(self) -> Part:
        """Put main.py and a config.py on the device, and start it."""
        board = self._directory / "board"
        board.mkdir(exist_ok=True)
        shutil.copy(EXAMPLE / "main.py", board)
        (board / "config.py").write_text(CONFIG.format(port=self.port))
        path = f".frozen:{ROOT / 'tests/vendor'}"
        return Part(require("micropython"), "main.py", directory=board, MICROPYPATH=path)

    def client(self, name: str = "viewer", client_id: str = "", **options: object) -> PlainClient:
        """Connect as a user."""
        return PlainClient(self.port, client_id, user=(name, "secret"), **options)  # type: ignore[arg-type]


@pytest.fixture(params=["embedded", "mosquitto"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    require("micropython")
    if request.param == "mosquitto":
        require("mosquitto")
    started = Site(request.param, tmp_path)
    yield started
    started.broker.stop()


def readings(client: PlainClient) -> list[Reading]:
    """Return the readings received, each once, ordered by time."""
    now = datetime.now(UTC)
    whole = [
        decode_reading(message.payload, meter_id="esp1", arrived=now)
        for message in client.messages
        if message.topic.endswith("/reading")
    ]
    return sorted({reading.ts: reading for reading in whole}.values(), key=lambda each: each.ts)


def last(client: PlainClient, leaf: str) -> str:
    found = [m.payload.decode() for m in client.messages if m.topic == f"meters/esp1/{leaf}"]
    return found[-1] if found else ""


def test_a_device_follows_the_contract_among_many_retained_messages(site: Site) -> None:
    with site.client("bridge") as bridge:
        for number in range(200):
            bridge.publish(f"meters/{number}/status", "online", retain=True)

    with site.client() as viewer:
        viewer.subscribe("meters/#")
        wait_until(lambda: len(viewer.messages) == 200)
        with site.start_device() as device:
            device.wait_for("connected to 127.0.0.1")
            wait_until(lambda: len(readings(viewer)) >= 5)
            assert last(viewer, "status") == "online"
            assert "no connection" not in device.output
            device.stop(signal.SIGKILL)
        wait_until(lambda: last(viewer, "status") == "offline")

    newest = readings(viewer)[-1]
    assert abs(newest.ts - datetime.now(UTC)) < timedelta(seconds=5)
    assert set(newest.values) == {"voltage", "current", "power", "energy"} <= set(BY_NAME)
    assert float(last(viewer, "power")) > 0


@pytest.mark.parametrize("site", ["embedded"], indirect=True)
def test_a_device_reconnects_and_sends_what_it_measured_meanwhile(site: Site) -> None:
    with site.start_device() as device:
        device.wait_for("connected to 127.0.0.1")
        site.broker.stop(signal.SIGKILL)
        device.wait_for("no connection to 127.0.0.1")
        gone = datetime.now(UTC)
        device.wait_for("again in 2 s")
        site.broker = site.start_broker()
        with site.client() as viewer:
            viewer.subscribe("meters/esp1/+")

            wait_until(lambda: len([r for r in readings(viewer) if r.ts > gone]) > 8)
            assert last(viewer, "status") == "online"

    times = [reading.ts for reading in readings(viewer)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) < timedelta(seconds=1), "a reading of the outage is missing"
