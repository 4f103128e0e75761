"""Several recorders of one group share the readings, by $share on Mosquitto."""

import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.readings import Reading
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

START = datetime(2026, 11, 22, 19, 0, tzinfo=UTC)


def publish(client: PlainClient, numbers: range) -> None:
    """Publish a reading for each number, of ten meters in turn, and wait for the last."""
    for number in numbers:
        meter_id = f"m{number % 10}"
        values = {"power": float(number)}
        reading = Reading(meter_id, START + timedelta(seconds=number), values, number)
        sent = client.begin_publish(f"meters/{meter_id}/reading", reading.encode())
    sent.wait_for_publish(30)


class Group:
    """Mosquitto, and recorders of one group on one database."""

    def __init__(self, directory: Path, kind: str = "mosquitto") -> None:
        self.directory, self.port = directory, free_port()
        self.broker = Part.module(
            "broker", directory=directory / "broker", MQTT_PORT=self.port, BROKER=kind
        )
        wait_until(lambda: listens(self.port), what=kind)

    def recorder(self, name: str) -> Part:
        """Start a recorder of the group."""
        part = Part.module(
            "recorder",
            directory=self.directory / name,
            MQTT_PORT=self.port,
            RECORDER_NAME=name,
            RECORDER_GROUP="night",
            DATABASE_URL=f"sqlite:///{self.directory}/energy_meters.db",
        )
        part.wait_for(f":{self.port}: connected")
        return part

    def stored(self) -> list[int]:
        """Return the powers that are stored, in order."""
        path = f"file:{self.directory}/energy_meters.db?mode=ro"
        with closing(sqlite3.connect(path, uri=True)) as database:
            return sorted(round(p) for (p,) in database.execute("SELECT power FROM readings"))


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    require("mosquitto")
    started = Group(tmp_path)
    with started.broker:
        yield started


def test_two_recorders_share_the_readings_and_each_is_stored_once(group: Group) -> None:
    with (
        group.recorder("one") as one,
        group.recorder("two") as two,
        PlainClient(group.port) as client,
    ):
        publish(client, range(1000))
        wait_until(lambda: len(group.stored()) == 1000)
        assert group.stored() == list(range(1000))
        for part in (one, two):
            assert part.stop() == 0

    taken = {name: _stored_by(part) for name, part in (("one", one), ("two", two))}
    assert sum(taken.values()) == 1000
    assert min(taken.values()) > 100, taken


def _stored_by(part: Part) -> int:
    words = part.output.rpartition("stopped: ")[2].split()
    return int(words[0])


def test_a_recorder_that_stops_leaves_everything_to_the_other(group: Group) -> None:
    with group.recorder("one"), group.recorder("two") as two, PlainClient(group.port) as client:
        publish(client, range(500))
        two.stop()
        publish(client, range(500, 1000))

        wait_until(lambda: group.stored() == list(range(1000)))


def test_a_recorder_that_is_killed_stores_its_share_when_it_is_back(group: Group) -> None:
    with group.recorder("one"), PlainClient(group.port) as client:
        with group.recorder("two") as two:
            for start in range(0, 1000, 100):
                publish(client, range(start, start + 100))
                if start == 500:
                    two.stop(signal.SIGKILL)

        with group.recorder("two"):
            wait_until(lambda: group.stored() == list(range(1000)))

    assert set(Counter(group.stored()).values()) == {1}


def test_programs_that_start_at_once_prepare_a_new_history_together(tmp_path: Path) -> None:
    program = (
        "import sys, threading; from recorder.storage import Storage\n"
        "print('ready', flush=True); open(sys.argv[2])\n"
        "assert Storage(sys.argv[1]).open(threading.Event())\n"
    )
    os.mkfifo(starts := tmp_path / "starts")
    command = (sys.executable, "-c", program, f"sqlite:///{tmp_path}/new.db", str(starts))
    programs = [Part(*command, directory=tmp_path / str(n)) for n in range(4)]
    for part in programs:
        part.wait_for("ready")

    with starts.open("w"):  # all of them have waited for this
        ended = [part.process.wait(30) for part in programs]

    assert ended == [0] * 4, [part.output for part in programs]


def test_a_group_on_the_embedded_broker_is_rejected_with_a_log_line(tmp_path: Path) -> None:
    group = Group(tmp_path, "embedded")
    with group.broker, group.recorder("one") as one:
        one.wait_for("subscription $share/night/meters/+/reading rejected: not authorized, or")
