"""Clients that lie: what they publish and whose place they take, tried on both brokers.

The attackers are `mosquitto_pub` and `mosquitto_sub`.
"""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from broker.users import add_user
from tests.support.bridged import Site, rows
from tests.support.parts import ROOT, Part, free_port, require, wait_until
from tests.support.plain_client import PlainClient

RIGHTS = ROOT / "deploy" / "mosquitto" / "meters.acl"
USERS = ("esp1", "bridge", "recorder", "web", "viewer")
HIGHEST = 2**53
CONFIG = "homeassistant/device/meters/1/config"


class Attacked(Site):
    """A site whose broker has users and the rights that come with it, or none."""

    def __init__(self, directory: Path, kind: str, *, guarded: bool) -> None:
        super().__init__(directory)
        self.kind, self.guarded, self.http = kind, guarded, free_port()
        self.users = directory / "broker.passwd"
        for name in USERS if guarded else ():
            add_user(self.users, name, name * 2)

    def broker(self, **settings: object) -> Part:
        files = {"BROKER_USERS_FILE": self.users, "BROKER_ACL_FILE": RIGHTS}
        given = {"BROKER": self.kind} | (files if self.guarded else {}) | settings
        return super().broker(**given)

    def login(self, name: str) -> dict[str, object]:
        return {"MQTT_USER": name, "MQTT_PASSWORD": name * 2} if self.guarded else {}

    def bridge(self, **settings: object) -> Part:
        return super().bridge(**self.login("bridge"), **settings)

    def recorder(self, **settings: object) -> Part:
        part = super().recorder(**self.login("recorder"), **settings)
        part.wait_for(f":{self.mqtt}: connected")
        return part

    def web(self) -> Part:
        url = f"sqlite:///{self.history}"
        settings = {"MQTT_PORT": self.mqtt, "HTTP_PORT": self.http, "DATABASE_URL": url}
        part = Part.module("web", directory=self.directory, **self.login("web"), **settings)
        part.wait_for("listening")
        return part

    def meter(self, meter_id: str) -> Any:
        """Return what the web service says of a meter."""
        with urlopen(f"http://127.0.0.1:{self.http}/meters/{meter_id}", timeout=30) as answer:
            return json.load(answer)

    def client(self, name: str) -> PlainClient:
        return PlainClient(self.mqtt, user=(name, name * 2) if self.guarded else None)

    def attack(self, program: str, *arguments: str, user: str = "esp1") -> None:
        """Run a client of Mosquitto's as a stolen device."""
        login = ("-u", user, "-P", user * 2) if self.guarded else ()
        command = [require(program), "-p", str(self.mqtt), *login, *arguments]
        subprocess.run(command, check=False, timeout=30, capture_output=True)

    def take_place_of(self, client_id: str) -> None:
        """Connect with a client id and a clean session, which deletes the session before."""
        self.attack("mosquitto_sub", "-i", client_id, "-E", "-t", "meters/esp1/x")


@pytest.fixture(params=["mosquitto", "embedded"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of broker."""
    if request.param == "mosquitto":
        require("mosquitto")
    return str(request.param)


@pytest.fixture
def site(tmp_path: Path, kind: str) -> Iterator[Attacked]:
    """A site whose broker lets everyone do everything; only the simulator runs."""
    site = Attacked(tmp_path, kind, guarded=False)
    with site.simulator():
        yield site


def powers(site: Site) -> list[float]:
    """Return what is stored of meter esp1."""
    query = "SELECT power FROM readings WHERE meter = 'esp1'"
    return sorted(float(str(power)) for (power,) in rows(site.history, query))


@pytest.mark.parametrize("guarded", [True, False])
def test_nobody_takes_the_place_of_a_recorder_and_its_queue(
    tmp_path: Path, kind: str, guarded: bool
) -> None:
    site = Attacked(tmp_path, kind, guarded=guarded)
    with site.broker():
        with site.recorder() as recorder, site.client("esp1") as device:
            site.take_place_of("meters-recorder-main")
            device.publish("meters/esp1/reading", '{"ts": 1795383576, "power": 0}')
            wait_until(lambda: powers(site) == [0])
            assert "connection lost" not in recorder.output
        with site.client("esp1") as device:
            for number in range(1, 100):
                payload = json.dumps({"ts": 1795383576 + number, "power": number})
                device.publish("meters/esp1/reading", payload)
        site.take_place_of("meters-recorder-main")
        with site.recorder():
            wait_until(lambda: powers(site) == [*range(100)], what="all that waited")


def test_nobody_takes_the_place_of_a_bridge(site: Attacked) -> None:
    with site.broker(), site.bridge() as bridge, PlainClient(site.mqtt) as client:
        client.subscribe("meters/1/reading")
        wait_until(lambda: client.messages, what="a reading")
        site.take_place_of("meters-bridge-gateway")
        before = len(client.messages)
        wait_until(lambda: len(client.messages) > before + 3, what="readings")

        assert "connection lost" not in bridge.output


def test_the_session_of_a_recorder_survives_its_history(site: Attacked) -> None:
    with site.broker():
        with site.recorder():
            pass
        site.history.unlink()
        with PlainClient(site.mqtt) as device:
            device.publish("meters/esp1/reading", '{"ts": 1795383576, "power": 1}')
        with site.recorder():
            wait_until(lambda: powers(site) == [1])


def test_no_log_of_ours_has_the_secret_of_a_client_id(tmp_path: Path) -> None:
    site = Attacked(tmp_path, "embedded", guarded=True)
    narrow, lowest = tmp_path / "narrow.acl", {"LOG_LEVEL": "DEBUG"}
    narrow.write_text("user bridge\ntopic write meters/_bridge/#\nuser recorder\ntopic #\n")
    with (
        site.simulator(),
        site.broker(BROKER_ACL_FILE=narrow, **lowest) as broker,
        site.recorder(**lowest) as recorder,
        site.bridge(**lowest) as bridge,
    ):
        broker.wait_for("client meters-bridge-gateway-***")
        secrets = [
            path.read_text().strip().rpartition("-")[2] for path in tmp_path.rglob("*.client-id")
        ]
        assert len(secrets) == 2
        logs = broker.output + recorder.output + bridge.output
        assert [secret for secret in secrets if secret in logs] == []


def numbers(site: Site) -> set[tuple[object, ...]]:
    return rows(site.history, "SELECT name, bridge, seq_upto, seq_above FROM meters")


def test_an_answer_that_nobody_has_asked_for_changes_nothing(site: Attacked) -> None:
    with site.broker(), site.recorder(), PlainClient(site.mqtt) as client:
        client.publish("meters/1/reading", '{"ts": 1795383576, "seq": 5, "power": 1}')
        wait_until(lambda: numbers(site) == {("1", None, 0, "[[5,5]]")})
        replayed = {"after": 0, "upto": HIGHEST, "sent": []}
        answer = {"recorder": "main", "request": "1", "meters": {"1": replayed}}
        topic = "meters/_bridge/gateway/replayed"

        site.attack("mosquitto_pub", "-q", "1", "-t", topic, "-m", json.dumps(answer))

        client.publish("meters/esp1/reading", '{"ts": 1795383576, "power": 1}')
        wait_until(lambda: powers(site) == [1])
        assert ("1", None, 0, "[[5,5]]") in numbers(site)


def test_a_number_beyond_the_limit_neither_stops_a_recorder_nor_counts(site: Attacked) -> None:
    with site.broker(), site.bridge(), site.recorder():
        wait_until(site.stored, what="a row")
        payload = json.dumps({"seq": HIGHEST + 1, "power": 1})

        site.attack("mosquitto_pub", "-q", "1", "-t", "meters/1/reading", "-m", payload)

        query = "SELECT reason FROM rejected_messages WHERE topic = 'meters/1/reading'"
        wait_until(lambda: rows(site.history, query) == {("bad_value",)})
        assert str(HIGHEST + 1) not in str(numbers(site))
        known = site.kept()
        wait_until(lambda: site.kept() - known, what="readings")
        later = site.kept()
        wait_until(lambda: later <= site.stored(), what="what was published since")


def test_a_thousand_invented_bridges_do_not_crowd_out_the_real_one(site: Attacked) -> None:
    with site.broker(), PlainClient(site.mqtt) as attacker:
        for number in range(1000):
            topic = f"meters/_bridge/invented{number}/status"
            sent = attacker.begin_publish(topic, "online", retain=True)
        sent.wait_for_publish(30)
        with site.bridge() as bridge:
            site.wait_for_readings()  # before there is a recorder
            before = site.kept()
            with site.recorder():
                wait_until(lambda: before <= site.stored(), 60, "what was read before")
                query = "SELECT bridge FROM meters WHERE name = '1'"
                wait_until(lambda: rows(site.history, query) == {("gateway",)}, what="the bridge")
            bridge.stop(signal.SIGKILL)
        with site.web():
            wait_until(lambda: site.meter("1")["online"] is False, what="its last will")


PUT_IN_PLACE = {
    "meters/_bridge/gateway/status": "offline",
    "meters/_bridge/gateway/info": "{}",
    "meters/_recorder/main/status": "offline",
    "meters/_recorder/main/info": "",
    "meters/1/status": "offline",
    "meters/1/info": "",
    CONFIG: "",
    "homeassistant/device/meters_bridge/gateway/config": "",
}


def test_what_others_put_in_place_of_a_retained_message_is_corrected_by_its_owner(
    site: Attacked,
) -> None:
    with site.broker(), site.bridge(), site.recorder(), PlainClient(site.mqtt) as client:

        def of(topic: str) -> list[str]:
            return [m.payload.decode() for m in list(client.messages) if m.topic == topic]

        def corrected(topic: str, payload: str) -> bool:
            seen = of(topic)
            return payload in seen and seen[-1] not in {payload, ""}

        for topic in PUT_IN_PLACE:
            client.subscribe(topic)
        wait_until(lambda: all(map(of, PUT_IN_PLACE)), what="what the owners publish")
        wait_until(lambda: of("meters/1/status")[-1] == "online", what="meter 1")
        client.messages.clear()
        for topic, payload in PUT_IN_PLACE.items():
            given = ["-m", payload] if payload else ["-n"]
            site.attack("mosquitto_pub", "-r", "-q", "1", "-t", topic, *given)

        for topic, payload in PUT_IN_PLACE.items():
            wait_until(
                lambda topic=topic, payload=payload: corrected(topic, payload),
                what=f"the correction of {topic}",
            )


def test_a_bridge_corrects_what_is_its_own_with_the_rights_of_a_bridge(
    tmp_path: Path, kind: str
) -> None:
    site = Attacked(tmp_path, kind, guarded=True)
    with site.simulator(), site.broker(), site.bridge() as bridge, site.client("viewer") as viewer:
        viewer.subscribe("meters/1/status")
        wait_until(lambda: viewer.payloads[-1:] == ["online"])

        site.attack("mosquitto_pub", "-r", "-q", "1", "-t", "meters/1/status", "-m", "offline",
                    user="web")  # fmt: skip

        wait_until(lambda: viewer.payloads[-2:] == ["offline", "online"], what="the correction")
        assert "meters/1/status: changed by another client; published again" in bridge.output


def test_a_flood_of_made_up_meters_keeps_out_neither_those_of_a_bridge_nor_a_device_with_a_status(
    site: Attacked,
) -> None:
    with site.broker(), site.recorder(NEW_METERS_PER_HOUR=5) as recorder:
        for number in range(10):
            topic = f"meters/made-up{number}/reading"
            site.attack("mosquitto_pub", "-q", "1", "-t", topic, "-m", '{"power": 1}')
        recorder.wait_for("too many new meters")
        with site.bridge(), PlainClient(site.mqtt) as device:
            device.publish("meters/esp1/status", "online", retain=True)
            device.publish("meters/esp1/reading", '{"power": 1}')
            wait_until(lambda: {"1", "2", "esp1"} <= meters(site), what="the real meters")

        assert len(meters(site)) == 5 + 3


def meters(site: Site) -> set[str]:
    """Return the meters that have readings."""
    return {str(name) for (name,) in rows(site.history, "SELECT name FROM meters")}


@pytest.mark.parametrize("deleted", ["energy_meters.db*", "energy_meters.db"])
def test_a_history_that_is_deleted_under_its_recorder_is_filled_again(
    site: Attacked, deleted: str
) -> None:
    with site.broker(), site.bridge(), site.recorder() as recorder:
        wait_until(lambda: len(site.stored()) > 20, what="rows")
        before = site.stored()
        for file in site.history.parent.glob(deleted):
            file.unlink()

        recorder.wait_for("the file was replaced; opening the new one")

        wait_until(lambda: before <= site.stored(), what="what was deleted")
        site.wait_for_readings()
        everything = site.kept()
        wait_until(lambda: everything <= site.stored(), what="what was read since")
