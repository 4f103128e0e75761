"""A device that publishes numbers, and programs that store them: each as real processes."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.clocks import read_clock, set_clock
from tests.support.disks import filled, mount
from tests.support.parts import Part, free_port, listens, require, wait_until

METERS, RATE = 20, 50
DISK_BYTES = 60_000_000
_PLAIN = Path(__file__).with_name("plain_subscriber.py")
_MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
user root
persistence true
persistence_location {place}/
"""
"""Debian's configuration, with a listener and a place of its own."""
_HOME_ASSISTANT = """homeassistant: {{time_zone: UTC, country: DE, latitude: 50, longitude: 8}}
http: {{server_host: 127.0.0.1, server_port: {http}}}
recorder: {{db_url: "sqlite:///{file}"}}
logger: {{default: warning}}
"""


class Device(threading.Thread):
    """Publishes numbers as the power of its meters, each number once, with QoS 1.

    It never dies, and keeps what the broker has not acknowledged.
    """

    def __init__(self, port: int) -> None:
        super().__init__(name="device", daemon=True)
        self.published = 0
        self._sent: set[int] = set()
        self._acknowledged: set[int] = set()
        self._ends = threading.Event()
        self._paho = paho.Client(CallbackAPIVersion.VERSION2, "device", clean_session=False)
        self._paho.max_queued_messages_set(0)
        self._paho.reconnect_delay_set(1, 2)
        self._paho.on_connect, self._paho.on_publish = self._announce, self._acknowledge
        self._paho.connect_async("127.0.0.1", port)
        self._paho.loop_start()

    def run(self) -> None:
        """Publish until the end."""
        while not self._ends.wait(1 / RATE):
            self.published += 1
            reading = json.dumps({"power": self.published})
            topic = f"meters/{self.published % METERS}/reading"
            self._sent.add(self._paho.publish(topic, reading, qos=1).mid)

    def end(self) -> None:
        """Stop, as soon as the broker has acknowledged everything."""
        self._ends.set()
        self.join()
        wait_until(lambda: self._sent <= self._acknowledged, 60, "the broker")
        self._paho.loop_stop()

    def _acknowledge(self, _client: paho.Client, _data: object, number: int, *_: object) -> None:
        self._acknowledged.add(number)

    def _announce(self, client: paho.Client, *_: object) -> None:
        """Announce the meters to Home Assistant, as devices do when they connect."""
        for meter in range(METERS):
            entity: dict[str, object] = {"name": f"m{meter}", "unique_id": f"m{meter}"}
            entity |= {"state_topic": f"meters/{meter}/reading", "qos": 1, "force_update": True}
            entity |= {"value_template": "{{ value_json.power }}", "unit_of_measurement": "W"}
            topic = f"homeassistant/sensor/m{meter}/config"
            client.publish(topic, json.dumps(entity), qos=0, retain=True)


class Peer:
    """Mosquitto, and a program that stores what it receives in an SQLite file."""

    names, recorders = ("broker", "recorder"), ("recorder",)
    query = ""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._parts: dict[str, Part] = {}
        self._clock = directory / "clock"
        self._disk = directory / "disk"
        self._disk.mkdir()
        self.set_clock(0)
        self.has_disk = mount(self._disk, DISK_BYTES)
        self.port = free_port()
        self.file = self._disk / "stored.db"

    def broker(self) -> Part:
        """Start the broker."""
        place = self._directory / "broker"
        place.mkdir(exist_ok=True)
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text(_MOSQUITTO.format(port=self.port, place=place))
        return Part(require("mosquitto"), "-c", str(configuration), directory=self._directory)

    def recorder(self) -> Part:
        """Start the program that stores."""
        raise NotImplementedError

    def stored(self) -> Counter[int]:
        """Return how often each number is stored."""
        uri = f"file:{self.file}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
                rows = database.execute(self.query).fetchall()
        except sqlite3.OperationalError:  # neither file nor tables yet
            return Counter()
        return Counter(round(float(value)) for (value,) in rows)

    def start(self, name: str) -> None:
        """Start a part that has died, of itself or not."""
        part = self._parts.get(name)
        if part is None or part.process.poll() is not None:
            self._parts[name] = getattr(self, name)()
        if name == "broker":
            wait_until(lambda: listens(self.port), what="the broker")

    def kill(self, name: str) -> None:
        """Kill a part."""
        self._parts[name].process.kill()
        self._parts[name].process.wait()

    def freeze(self, name: str, for_s: float) -> None:
        """Freeze a part for a while."""
        self._parts[name].process.send_signal(signal.SIGSTOP)
        time.sleep(for_s)
        self._parts[name].process.send_signal(signal.SIGCONT)

    def forget_broker_state(self) -> None:
        """Delete the state of the broker."""
        shutil.rmtree(self._directory / "broker")

    def restore(self) -> None:
        """Not one of the blows that are compared."""
        raise NotImplementedError

    def fill_disk(self, for_s: float) -> None:
        """Fill the disk for a while; a program that ends meanwhile is started again."""
        until_s = time.monotonic() + for_s
        with filled(self._disk):
            while time.monotonic() < until_s:
                self.start("recorder")
                time.sleep(0.5)

    def set_clock(self, by_s: float) -> None:
        """Set the clock of the program that stores."""
        set_clock(self._clock, by_s)

    def __enter__(self) -> Self:
        for name in self.names:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for part in self._parts.values():
            part.process.kill()
            part.process.wait()
        if self.has_disk:
            subprocess.run(["umount", "-l", self._disk], check=False)

    def _program(self, *command: str, **settings: Any) -> Part:
        environment = read_clock(self._clock) | settings
        return Part(*command, directory=self._directory, **environment)


class PlainSubscriber(Peer):
    """Mosquitto as Debian configures it, and a subscriber of thirty lines."""

    query = "SELECT power FROM readings"

    def recorder(self) -> Part:
        """Start it."""
        return self._program(sys.executable, str(_PLAIN), str(self.port), str(self.file))


class MeterflowRecorder(Peer):
    """Broker and recorder of Meterflow, without a bridge and so without a journal."""

    query = "SELECT power / 1000 FROM readings_raw WHERE power IS NOT NULL"

    def broker(self) -> Part:
        """Start Meterflow's Mosquitto."""
        settings = {"MQTT_PORT": self.port, "BROKER": "mosquitto"}
        return Part.module("broker", directory=self._directory / "broker", **settings)

    def recorder(self) -> Part:
        """Start it."""
        settings = {"MQTT_PORT": self.port, "DATABASE_URL": f"sqlite:///{self.file}"}
        return self._program(sys.executable, "-m", "recorder", **settings)


class HomeAssistant(Peer):
    """Mosquitto as Debian configures it, and Home Assistant with its recorder."""

    query = (
        "SELECT state FROM states JOIN states_meta USING (metadata_id)"
        " WHERE states_meta.entity_id LIKE 'sensor.m%' AND state GLOB '[0-9]*'"
    )

    def __init__(self, directory: Path, hass: Path) -> None:
        super().__init__(directory)
        self._hass = hass
        self._home = directory / "home"
        (self._home / ".storage").mkdir(parents=True)
        text = _HOME_ASSISTANT.format(http=free_port(), file=self.file)
        (self._home / "configuration.yaml").write_text(text)
        (self._home / ".storage" / "core.config_entries").write_text(json.dumps(self._entries()))

    def recorder(self) -> Part:
        """Start it."""
        return self._program(str(self._hass), "-c", str(self._home), "--skip-pip", PYTHONPATH="")

    def _entries(self) -> dict[str, object]:
        """Return the configuration of its MQTT integration, in which only the port is ours."""
        entry: dict[str, object] = {
            "domain": "mqtt",
            "title": "mqtt",
            "source": "user",
            "entry_id": "0" * 26,
        }
        entry |= {"created_at": "2025-01-01T00:00:00+00:00", "unique_id": None, "subentries": []}
        entry |= {"modified_at": "2025-01-01T00:00:00+00:00", "disabled_by": None}
        entry |= {"discovery_keys": {}, "options": {"discovery": True}, "version": 1}
        entry |= {"minor_version": 2, "data": {"broker": "127.0.0.1", "port": self.port}}
        entry |= {"pref_disable_new_entities": False, "pref_disable_polling": False}
        key: dict[str, object] = {"version": 1, "minor_version": 5, "key": "core.config_entries"}
        return key | {"data": {"entries": [entry]}}
