"""Users and rights, tested on the embedded broker and on Mosquitto with the same files."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.users import add_user
from tests.support.onsite import Result, command
from tests.support.parts import ROOT, Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

RIGHTS = ROOT / "deploy" / "mosquitto" / "meters.acl"
NAMES = ("esp1", "esp2", "bridge", "recorder", "web", "homeassistant", "viewer")


class GuardedBroker:
    """A broker with users; the password of each is its name twice."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind, self.port = kind, free_port()
        self.users_file = directory / "broker.passwd"
        for name in NAMES:
            add_user(self.users_file, name, name * 2)
        self.part = Part.module(
            "broker",
            directory=directory,
            MQTT_PORT=self.port,
            BROKER=kind,
            BROKER_USERS_FILE=self.users_file,
            BROKER_ACL_FILE=RIGHTS,
        )
        wait_until(lambda: listens(self.port) or self.part.process.poll(), what=kind)

    def client(self, name: str, client_id: str = "", **options: object) -> PlainClient:
        """Connect as a user."""
        return PlainClient(self.port, client_id, user=(name, name * 2), **options)  # type: ignore[arg-type]


@contextmanager
def guarded(kind: str, directory: Path) -> Iterator[GuardedBroker]:
    broker = GuardedBroker(kind, directory)
    with broker.part:
        yield broker


@pytest.fixture(scope="module", params=["mosquitto", "embedded"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuardedBroker]:
    """A broker with users, for all tests of this module."""
    if request.param == "mosquitto":
        require("mosquitto")
    with guarded(request.param, tmp_path_factory.mktemp(request.param)) as started:
        yield started


def test_a_client_without_a_user_or_with_a_wrong_password_is_refused(broker: GuardedBroker) -> None:
    with (
        PlainClient(broker.port) as nobody,
        PlainClient(broker.port, user=("esp1", "wrong")) as wrong,
        PlainClient(broker.port, user=("stranger", "any")) as stranger,
        broker.client("esp1") as known,
    ):
        assert nobody.refusal
        assert wrong.refusal
        assert stranger.refusal
        assert not known.refusal


def test_a_device_writes_its_own_topics_and_no_others(broker: GuardedBroker) -> None:
    with broker.client("viewer") as viewer, broker.client("esp1") as device:
        viewer.subscribe("meters/#")
        for topic in ("meters/esp2/power", "meters/esp1x/power", "meters/esp1/power"):
            device.publish(topic, topic)

        wait_until(lambda: "meters/esp1/power" in viewer.payloads)
        assert viewer.payloads == ["meters/esp1/power"]
        assert device.connected


def test_a_last_will_needs_the_right_to_publish(broker: GuardedBroker) -> None:
    with broker.client("viewer") as viewer:
        viewer.subscribe("meters/+/status")
        broker.client("esp1", will="meters/esp2/status").vanish()
        broker.client("esp1", will="meters/esp1/status").vanish()

        wait_until(lambda: viewer.messages)
        assert [message.topic for message in viewer.messages] == ["meters/esp1/status"]


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("meters/_bridge/house/replay", "recorder"),
        ("meters/_bridge/house/replayed", "bridge"),
        ("meters/_recorder/main/again", "bridge"),
        ("meters/_bridge/house/status", "bridge"),
        ("meters/_bridge/house/info", "bridge"),
        ("meters/_recorder/main/status", "recorder"),
        ("meters/_recorder/main/info", "recorder"),
    ],
)
def test_only_bridges_and_recorders_publish_on_their_topics(
    broker: GuardedBroker, topic: str, allowed: str
) -> None:
    with broker.client("recorder") as subscriber:
        subscriber.subscribe("meters/#")
        for name in sorted(NAMES, key=lambda name: name == allowed):  # the one that may is last
            with broker.client(name) as client:
                client.publish(topic, f"by {name}")

        wait_until(lambda: f"by {allowed}" in subscriber.payloads)
        ours = [m for m in subscriber.messages if m.topic == topic]
        assert [m.payload.decode() for m in ours] == [f"by {allowed}"]


def doctor(broker: GuardedBroker, user: str, directory: Path) -> Result:
    """Run the doctor against the broker; there is no gateway."""
    return command(
        "doctor", "--at", f"127.0.0.1:{free_port()}", directory=directory,
        MQTT_PORT=str(broker.port), MQTT_USER=user, MQTT_PASSWORD=user * 2,
    )  # fmt: skip


def test_the_doctor_finds_that_a_bridge_is_not_authorized_to_publish(
    broker: GuardedBroker, tmp_path: Path
) -> None:
    refused = doctor(broker, "esp1", tmp_path).text

    assert f"the broker at 127.0.0.1:{broker.port} accepts the connection" in refused
    assert "messages on meters/_bridge/gateway/status are acknowledged" in refused
    assert "allow user 'esp1' to write there" in refused


def test_the_doctor_finds_no_fault_with_the_rights_of_a_bridge(
    broker: GuardedBroker, tmp_path: Path
) -> None:
    report = doctor(broker, "bridge", tmp_path).text

    assert f"the broker at 127.0.0.1:{broker.port} accepts the connection" in report
    assert "fault broker" not in report


def test_a_wider_filter_brings_no_more_than_the_user_may_read(broker: GuardedBroker) -> None:
    with broker.client("bridge") as bridge, broker.client("recorder") as recorder:
        granted = bridge.subscribe("meters/#")
        assert bridge.subscribe("meters/_bridge/#")
        recorder.publish("meters/_recorder/main/status", "online")
        recorder.publish("meters/_bridge/main/replay", "please")

        wait_until(lambda: "please" in bridge.payloads)
        received = {message.topic for message in bridge.messages}
        assert received - {"meters/esp1/status"} == {"meters/_bridge/main/replay"}
        assert granted is (broker.kind == "mosquitto"), "Mosquitto grants, and sends nothing of it"


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_a_new_user_may_connect_after_a_reload(kind: str, tmp_path: Path) -> None:
    if kind == "mosquitto":
        require("mosquitto")
    with guarded(kind, tmp_path) as broker:
        answer = subprocess.run(
            [sys.executable, "-m", "broker", "add-user", "esp9", "--file", broker.users_file],
            input="esp9esp9\n",
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        assert "esp9: added to" in answer.stdout
        assert "kill -HUP" in answer.stdout
        broker.part.process.send_signal(signal.SIGHUP if kind == "mosquitto" else 0)

        wait_until(lambda: not broker.client("esp9").refusal, what="esp9 to be let in")


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_a_broker_with_users_may_listen_on_a_network(kind: str, tmp_path: Path) -> None:
    if kind == "mosquitto":
        require("mosquitto")
    port = free_port()
    add_user(tmp_path / "passwd", "esp1", "secret")
    settings = {"MQTT_HOST": "0.0.0.0", "MQTT_PORT": port, "BROKER": kind}
    with Part.module("broker", directory=tmp_path, BROKER_USERS_FILE="passwd", **settings):
        wait_until(lambda: listens(port))

        with PlainClient(port) as nobody, PlainClient(port, user=("esp1", "secret")) as device:
            assert nobody.refusal
            assert not device.refusal


@pytest.mark.parametrize(
    ("host", "rights", "warned"),
    [
        ("0.0.0.0", None, True),
        ("0.0.0.0", RIGHTS, False),
        ("127.0.0.1", None, False),
    ],
)
@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_users_without_rights_on_a_network_are_reported(
    kind: str, host: str, rights: Path | None, warned: bool, tmp_path: Path
) -> None:
    if kind == "mosquitto":
        require("mosquitto")
    port = free_port()
    add_user(tmp_path / "passwd", "esp1", "secret")
    settings: dict[str, object] = {"MQTT_HOST": host, "MQTT_PORT": port, "BROKER": kind}
    settings |= {"BROKER_ACL_FILE": rights} if rights else {}
    with Part.module("broker", directory=tmp_path, BROKER_USERS_FILE="passwd", **settings) as part:
        wait_until(lambda: listens(port))

    assert ("there are users but no rights" in part.output) is warned
