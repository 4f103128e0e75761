"""The drop-in of deploy/mosquitto/, under Debian's own main file, as Debian's package starts it."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from broker.users import add_user
from tests.support.parts import ROOT, Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

DROP_IN = ROOT / "deploy" / "mosquitto"
DEBIAN = Path("/etc/mosquitto/mosquitto.conf")
NAMES = ("esp1", "esp2", "bridge", "recorder", "web", "homeassistant", "viewer")


class Service:
    """Mosquitto with a copy of /etc/mosquitto in a directory of its own."""

    def __init__(self, program: str, directory: Path) -> None:
        self.directory = directory
        self.users_file = directory / "etc" / "meters.passwd"
        self.ports = {name: free_port() for name in ("1883", "8883", "9001")}
        self._program = program
        self._install()
        self.part = self.start()

    def start(self) -> Part:
        """Start the broker as the package's unit does: `mosquitto -c`, as root if possible."""
        part = Part(
            self._program,
            "-c",
            str(self.directory / "etc/mosquitto.conf"),
            directory=self.directory,
        )
        wait_until(lambda: all(map(listens, self.ports.values())) or part.process.poll())
        assert part.process.poll() is None, part.output + self.log
        return part

    @property
    def log(self) -> str:
        """What the broker has written to its log file."""
        path = self.directory / "log" / "mosquitto.log"
        return path.read_text() if path.exists() else ""

    def client(self, name: str, client_id: str = "", **options: object) -> PlainClient:
        """Connect as a user."""
        return PlainClient(self.ports["1883"], client_id, user=(name, name * 2), **options)  # type: ignore[arg-type]

    def _install(self) -> None:
        for name in ("etc/conf.d", "etc/certs", "lib", "log", "run"):
            (self.directory / name).mkdir(parents=True)
        self._copy(DEBIAN, "etc/mosquitto.conf")
        for name in ("meters.conf", "meters-tls.conf", "meters-websockets.conf"):
            self._copy(DROP_IN / name, f"etc/conf.d/{name}")
        self._copy(DROP_IN / "meters.acl", "etc/meters.acl")
        for name in NAMES:
            add_user(self.users_file, name, name * 2)
        self.users_file.chmod(0o640)
        _make_certificates(self.directory / "etc" / "certs")
        self.directory.chmod(0o755)
        if os.geteuid() == 0:
            for path in [self.directory, *self.directory.rglob("*")]:
                shutil.chown(path, "mosquitto", "mosquitto")

    def _copy(self, source: Path, name: str) -> None:
        """Copy a configuration; only paths and ports differ from the original."""
        text = source.read_text()
        for theirs, ours in (
            ("/etc/mosquitto", "etc"),
            ("/var/lib/mosquitto", "lib"),
            ("/var/log/mosquitto", "log"),
            ("/run/mosquitto", "run"),
        ):
            text = text.replace(theirs, str(self.directory / ours))
        for theirs, ours in self.ports.items():
            text = text.replace(f"\nlistener {theirs}", f"\nlistener {ours}")
        (self.directory / name).write_text(text)


def _make_certificates(directory: Path) -> None:
    """Make an authority and a certificate for 127.0.0.1, as docs/brokers.md shows."""
    openssl = require("openssl")
    new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    options = ["-nodes", "-days", "30", "-subj"]
    authority = ["-keyout", "ca.key", "-out", "ca.crt"]
    server = ["-keyout", "server.key", "-out", "server.crt", "-CA", "ca.crt", "-CAkey", "ca.key"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
    for command in (
        [*new, *options, "/CN=Meterflow CA", *authority],
        [*new, *options, "/CN=localhost", *server, *names, *leaf],
    ):
        subprocess.run(command, cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Debian's Mosquitto with all three drop-ins."""
    program = require("mosquitto")
    if not DEBIAN.exists():
        pytest.skip("no /etc/mosquitto/mosquitto.conf: not Debian's package")
    # Not pytest's directory: Mosquitto drops root, and its user needs access.
    directory = Path(tempfile.mkdtemp(prefix="meterflow-mosquitto-"))
    started = Service(program, directory)
    try:
        with started.part:
            yield started
    finally:
        shutil.rmtree(directory)


def test_the_drop_in_starts_without_a_warning_or_an_error(service: Service) -> None:
    lines = (service.log + service.part.output).splitlines()
    # The check that the TLS port is open closes the connection without a handshake.
    lines = [line for line in lines if "unexpected eof" not in line]

    assert lines
    assert [line for line in lines if "Warning" in line or "Error" in line] == []


def test_a_device_connects_over_tls_and_a_page_over_websockets(service: Service) -> None:
    ca_file = service.directory / "etc" / "certs" / "ca.crt"
    with (
        service.client("viewer") as viewer,
        PlainClient(service.ports["8883"], user=("esp1", "esp1esp1"), ca_file=ca_file) as device,
        PlainClient(
            service.ports["9001"], user=("viewer", "viewerviewer"), transport="websockets"
        ) as page,
    ):
        viewer.subscribe("meters/esp1/#")
        page.subscribe("meters/esp1/#")
        device.publish("meters/esp1/power", "5")

        wait_until(lambda: viewer.payloads == page.payloads == ["5"])


def test_a_part_of_the_project_connects_over_tls_with_its_user(
    service: Service, tmp_path: Path
) -> None:
    with Part.module(
        "recorder",
        directory=tmp_path,
        MQTT_HOST="localhost",
        MQTT_PORT=service.ports["8883"],
        MQTT_TLS="true",
        MQTT_CA_FILE=service.directory / "etc" / "certs" / "ca.crt",
        MQTT_USER="recorder",
        MQTT_PASSWORD="recorderrecorder",
    ) as recorder:
        recorder.wait_for("connected")
        with service.client("viewer") as viewer:
            viewer.subscribe("meters/_recorder/main/status")
            wait_until(lambda: viewer.payloads == ["online"])


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("esp1", "meters/esp1/reading"),
        ("esp1", "homeassistant/device/meters/esp1/config"),
        ("bridge", "meters/7/reading"),
        ("bridge", "meters/_bridge/cellar/status"),
        ("bridge", "meters/_bridge/cellar/replayed"),
        ("bridge", "meters/_recorder/main/again"),
        ("bridge", "homeassistant/device/meters_bridge/cellar/config"),
        ("recorder", "meters/_recorder/main/info"),
        ("recorder", "meters/7/peak"),
        ("recorder", "meters/_bridge/cellar/replay"),
        ("web", "meters/7/reading"),
        ("homeassistant", "homeassistant/status"),
    ],
)
def test_each_part_may_publish_what_it_needs_to(service: Service, user: str, topic: str) -> None:
    with service.client(user, protocol=paho.MQTTv5) as client:
        assert _published(client, topic) == "Success"


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("esp1", "meters/esp2/reading"),
        ("esp1", "meters/_bridge/cellar/status"),
        ("bridge", "meters/_bridge/cellar/replay"),
        ("bridge", "meters/_tariff/spot/prices"),
        ("recorder", "meters/_bridge/cellar/replayed"),
        ("recorder", "meters/7/reading"),
        ("web", "meters/_bridge/cellar/status"),
        ("viewer", "meters/7/reading"),
        ("homeassistant", "meters/7/reading"),
    ],
)
def test_a_publish_without_authorization_is_reported_by_mqtt_5_only(
    service: Service, user: str, topic: str
) -> None:
    with service.client(user, protocol=paho.MQTTv5) as client, service.client(user) as older:
        assert _published(client, topic) == "Not authorized"
        older.publish(topic, "acknowledged, and dropped without a word")
        assert older.connected


def _published(client: PlainClient, topic: str) -> str:
    """Publish with MQTT 5 and return the broker's answer."""
    answers: list[str] = []
    client._paho.on_publish = lambda *given: answers.append(str(given[3]))
    client.publish(topic, "1")
    wait_until(lambda: answers)
    return "Success" if answers[0] == "No matching subscribers" else answers[0]


def test_a_user_added_by_our_command_may_connect_after_a_reload(service: Service) -> None:
    mode = service.users_file.stat().st_mode
    with service.client("esp9") as early:
        assert early.refusal

    add_user(service.users_file, "esp9", "esp9esp9")
    service.part.process.send_signal(signal.SIGHUP)

    wait_until(lambda: not service.client("esp9").refusal, what="esp9 to be let in")
    assert service.users_file.stat().st_mode == mode


def test_the_line_that_makes_users_their_client_ids_lets_nobody_take_anothers_place(
    service: Service, tmp_path: Path
) -> None:
    documented = "use_username_as_clientid true"
    assert f"#     {documented}\n" in (DROP_IN / "meters.conf").read_text()
    port, configuration = free_port(), tmp_path / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\nuser root\nallow_anonymous false\n"
        f"password_file {service.users_file}\n{documented}\n"
    )
    with Part(require("mosquitto"), "-c", str(configuration), directory=tmp_path):
        wait_until(lambda: listens(port), what="Mosquitto")
        with PlainClient(port, "sensor", user=("esp2", "esp2esp2"), clean_session=False) as device:
            device.subscribe("meters/esp2/set")
            with PlainClient(port, "sensor", user=("esp1", "esp1esp1")) as thief:
                thief.publish("meters/esp2/set", "kept")
            wait_until(lambda: device.payloads == ["kept"])
            assert device.connected
        with PlainClient(port, "esp2", user=("esp1", "esp1esp1")) as thief:
            thief.publish("meters/esp2/set", "queued")
        with PlainClient(port, "sensor", user=("esp2", "esp2esp2"), clean_session=False) as device:
            wait_until(lambda: device.payloads == ["queued"])


def test_readings_and_retained_values_survive_a_restart_of_the_service(service: Service) -> None:
    with service.client("recorder", "lasting", clean_session=False) as recorder:
        recorder.subscribe("meters/+/reading")
    with service.client("bridge") as bridge:
        for number in range(1500):
            bridge.begin_publish("meters/7/reading", str(number))
        bridge.publish("meters/7/reading", "last", retain=True)

    assert service.part.stop() == 0
    service.part = service.start()

    with service.client("recorder", "lasting", clean_session=False) as recorder:
        wait_until(lambda: "last" in recorder.payloads)
        assert recorder.payloads == [*map(str, range(1500)), "last"]
    service.part.stop()
