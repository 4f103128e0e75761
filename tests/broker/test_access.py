"""Users and rights, asked of the embedded broker and of Mosquitto alike: one file for both."""

import asyncio
import hashlib
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker import users
from broker.rights import Rights, covers
from broker.users import Users, add_user, matches
from contract.topics import filter_matches
from service.errors import SettingsError
from tests.support.onsite import Result, command
from tests.support.parts import ROOT, Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

RIGHTS = ROOT / "deploy" / "mosquitto" / "meters.acl"
NAMES = ("esp1", "esp2", "bridge", "recorder", "viewer")


class GuardedBroker:
    """A broker that asks for users; each one's password is its name twice."""

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


def test_who_has_no_user_or_a_wrong_password_is_refused(broker: GuardedBroker) -> None:
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


def test_a_unit_writes_its_own_topics_and_nobody_elses(broker: GuardedBroker) -> None:
    with broker.client("viewer") as viewer, broker.client("esp1") as unit:
        viewer.subscribe("meters/#")
        for topic in ("meters/esp2/power", "meters/esp1x/power", "meters/esp1/power"):
            unit.publish(topic, topic)

        wait_until(lambda: "meters/esp1/power" in viewer.payloads)
        assert viewer.payloads == ["meters/esp1/power"]
        assert unit.connected


def test_a_last_will_needs_the_right_to_publish(broker: GuardedBroker) -> None:
    with broker.client("viewer") as viewer:
        viewer.subscribe("meters/+/status")
        broker.client("esp1", will="meters/esp2/status").vanish()
        broker.client("esp1", will="meters/esp1/status").vanish()

        wait_until(lambda: viewer.messages)
        assert [message.topic for message in viewer.messages] == ["meters/esp1/status"]


def doctor(broker: GuardedBroker, user: str, directory: Path) -> Result:
    """What the doctor says of the broker; of the gateway there is none."""
    return command(
        "doctor", "--at", f"127.0.0.1:{free_port()}", directory=directory,
        MQTT_PORT=str(broker.port), MQTT_USER=user, MQTT_PASSWORD=user * 2,
    )  # fmt: skip


def test_the_doctor_finds_that_a_bridge_publishes_without_the_right_to(
    broker: GuardedBroker, tmp_path: Path
) -> None:
    refused = doctor(broker, "esp1", tmp_path).text

    assert f"the broker at 127.0.0.1:{broker.port} accepts the connection" in refused
    assert "messages on meters/_bridge/gateway/status are acknowledged" in refused
    assert "allow user 'esp1' to write there" in refused


def test_the_doctor_is_content_with_the_rights_of_a_bridge(
    broker: GuardedBroker, tmp_path: Path
) -> None:
    said = doctor(broker, "bridge", tmp_path).text

    assert f"the broker at 127.0.0.1:{broker.port} accepts the connection" in said
    assert "fault broker" not in said


def test_no_wider_filter_brings_more_than_one_may_read(broker: GuardedBroker) -> None:
    with broker.client("bridge") as bridge, broker.client("recorder") as recorder:
        granted = bridge.subscribe("meters/#")
        assert bridge.subscribe("meters/_bridge/#")
        recorder.publish("meters/_recorder/main/status", "online")
        recorder.publish("meters/_bridge/main/replay", "please")

        wait_until(lambda: "please" in bridge.payloads)
        assert set(bridge.payloads) == {"please"}
        assert granted is (broker.kind == "mosquitto"), "Mosquitto grants, and sends nothing of it"


@pytest.mark.parametrize("kind", ["mosquitto", "embedded"])
def test_a_new_user_is_let_in_after_a_reload(kind: str, tmp_path: Path) -> None:
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

        with PlainClient(port) as nobody, PlainClient(port, user=("esp1", "secret")) as unit:
            assert nobody.refusal
            assert not unit.refusal


def test_a_password_is_made_up_where_none_is_given(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    answer = subprocess.run(
        [sys.executable, "-m", "broker", "add-user", "esp1", "--file", file],
        input="",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )

    password = answer.stdout.partition("password: ")[2].split()[0]
    assert matches(users.read_users(file)["esp1"], password)
    assert password not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_changed_password_replaces_the_old_one_and_keeps_the_files_mode(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    assert add_user(file, "esp1", "old")
    assert add_user(file, "esp2", "other")
    file.chmod(0o640)

    assert not add_user(file, "esp1", "new")

    stored = users.read_users(file)
    assert matches(stored["esp1"], "new")
    assert matches(stored["esp2"], "other")
    assert file.stat().st_mode & 0o777 == 0o640


def test_mosquitto_passwd_and_we_understand_one_file(tmp_path: Path) -> None:
    program = require("mosquitto_passwd")
    file = tmp_path / "passwd"
    add_user(file, "esp1", "ours")

    subprocess.run([program, "-b", file, "esp2", "theirs"], check=True, capture_output=True)

    stored = users.read_users(file)
    assert matches(stored["esp1"], "ours")
    assert matches(stored["esp2"], "theirs")
    assert not matches(stored["esp2"], "ours")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", "+", "#", "x" * 33])
def test_a_name_that_is_no_meter_id_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="user "):
        add_user(tmp_path / "passwd", name, "secret")


def test_a_password_is_checked_beside_the_traffic_and_only_once(tmp_path: Path) -> None:
    salt, rounds = b"twelve bytes", 600_000
    digest = hashlib.pbkdf2_hmac("sha512", b"secret", salt, rounds)
    line = f"esp1:$7${rounds}${users.base64.b64encode(salt).decode()}$"
    (tmp_path / "passwd").write_text(line + users.base64.b64encode(digest).decode())
    gaps: list[float] = []

    async def ticks() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0)
            gaps.append(time.monotonic() - before)

    async def log_in() -> tuple[float, float]:
        known = Users(tmp_path / "passwd")
        ticking = asyncio.create_task(ticks())
        times = [time.monotonic()]
        for _ in range(2):
            assert await known.accept("esp1", "secret")
            times.append(time.monotonic())
        ticking.cancel()
        return times[1] - times[0], times[2] - times[1]

    first_s, second_s = asyncio.run(log_in())

    assert max(gaps) < first_s / 2, "the check stops the broker"
    assert second_s < first_s / 5, "a right password is not remembered"


@pytest.mark.parametrize(
    "line", ["topic deny meters/#", "topics read meters/#", "topic read a b c", "pattern"]
)
def test_a_line_of_rights_that_is_not_understood_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text(f"# rights\n\n{line}\n")

    with pytest.raises(SettingsError, match=r"line 3: .*should be"):
        Rights.load(tmp_path / "acl")


def test_a_user_named_like_a_wildcard_opens_nothing() -> None:
    rights = Rights.load(RIGHTS)

    assert rights.may_write("esp1", "any", "meters/esp1/power")
    assert not rights.may_write("+", "any", "meters/esp1/power")
    assert not rights.may_write("#", "any", "meters/esp1/power")
    assert not rights.may_write(None, "esp1", "meters/esp1/power")


def _levels(alphabet: str, most: int) -> Iterator[str]:
    for length in range(1, most + 1):
        for levels in itertools.product(alphabet, repeat=length):
            yield "/".join(levels)


def test_a_right_covers_a_filter_exactly_when_it_matches_all_of_its_topics() -> None:
    topics = list(_levels("ab$", 4))
    filters = [f for f in _levels("a$+#", 3) if "#" not in f[:-1]]

    wrong = [
        (allowed, wanted)
        for allowed, wanted in itertools.product(filters, repeat=2)
        if covers(allowed, wanted)
        != all(filter_matches(allowed, t) for t in topics if filter_matches(wanted, t))
    ]

    assert wrong == []
