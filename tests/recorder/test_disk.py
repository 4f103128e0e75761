"""The recorder on real disks that are full, too small or read-only: it waits, and loses nothing."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.readings import Reading
from tests.support.disks import fill, mount
from tests.support.parts import Part, require, wait_until
from tests.support.plain_client import PlainClient

START = datetime(2026, 11, 22, 19, 0, tzinfo=UTC)
DISK_BYTES = 2_000_000
AS_OTHERS = "--bounding-set=-dac_override,-dac_read_search"
"""Root may write to read-only files; a recorder without these rights may not."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own; where none may be mounted the test is skipped, or fails in CI."""
    directory = tmp_path / "recorder"
    directory.mkdir()
    if not mount(directory, DISK_BYTES):
        reason = "a small disk can be mounted by root only"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


def start(directory: Path, port: int, *before: str) -> Part:
    command = (*before, sys.executable, "-m", "recorder")
    part = Part(*command, directory=directory, MQTT_PORT=port)
    part.wait_for(f":{port}: connected")
    return part


def publish(client: PlainClient, numbers: range) -> None:
    """Publish readings; they are the broker's when this returns."""
    for number in numbers:
        reading = Reading("1", START + timedelta(seconds=number), {"power": float(number)}, number)
        sent = client.begin_publish("meters/1/reading", reading.encode())
    sent.wait_for_publish(30)


def stored(directory: Path) -> list[int]:
    """Return the powers that another program sees in the history, in the order of time."""
    path = f"file:{directory}/energy_meters.db?mode=ro"
    with closing(sqlite3.connect(path, uri=True)) as database:
        return [round(p) for (p,) in database.execute("SELECT power FROM readings ORDER BY ts")]


def test_a_full_disk_is_logged_once_and_all_is_stored_when_there_is_space(
    disk: Path, broker_port: int
) -> None:
    with start(disk, broker_port) as recorder, PlainClient(broker_port) as client:
        publish(client, range(100))
        wait_until(lambda: len(stored(disk)) == 100)
        fill(disk / "ballast")
        publish(client, range(100, 3000))
        recorder.wait_for("nothing is acknowledged until it works")
        client.subscribe("meters/_recorder/main/info")
        wait_until(lambda: any("disk is full" in text for text in client.payloads))

        (disk / "ballast").unlink()

        wait_until(lambda: stored(disk) == list(range(3000)))
        assert recorder.output.count("trying again") == 1, recorder.output
        assert recorder.output.count("works again after") == 1


def test_a_recorder_that_starts_on_a_full_disk_waits_for_space(
    disk: Path, tmp_path: Path, broker_port: int
) -> None:
    with start(disk, broker_port):
        pass
    fill(disk / "ballast")
    url = f"sqlite:///{disk}/energy_meters.db"
    with Part.module(  # its log lies elsewhere, or there would be no room for it
        "recorder", directory=tmp_path / "log", DATABASE_URL=url, MQTT_PORT=broker_port
    ) as recorder:
        recorder.wait_for("trying again")
        (disk / "ballast").unlink()
        recorder.wait_for(f":{broker_port}: connected")
        with PlainClient(broker_port) as client:
            publish(client, range(10))
            wait_until(lambda: stored(disk) == list(range(10)))


def test_a_recorder_that_is_killed_on_a_full_disk_has_acknowledged_nothing_it_lacks(
    disk: Path, broker_port: int
) -> None:
    with start(disk, broker_port) as recorder, PlainClient(broker_port) as client:
        fill(disk / "ballast")
        publish(client, range(2000))
        recorder.wait_for("disk is full")
        recorder.stop(signal.SIGKILL)
    (disk / "ballast").unlink()

    with start(disk, broker_port):
        wait_until(lambda: stored(disk) == list(range(2000)))


def test_a_file_that_may_not_grow_is_waited_for(tmp_path: Path, broker_port: int) -> None:
    directory = tmp_path / "recorder"
    with start(directory, broker_port) as recorder, PlainClient(broker_port) as client:
        publish(client, range(10))
        wait_until(lambda: len(stored(directory)) == 10)
        pid, (_, most) = recorder.process.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, most))
        publish(client, range(10, 2000))
        recorder.wait_for("nothing is acknowledged until it works")

        resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))

        wait_until(lambda: stored(directory) == list(range(2000)))
        assert recorder.output.count("trying again") == 1


def test_a_read_only_history_is_logged_once_and_waited_for(
    tmp_path: Path, broker_port: int
) -> None:
    before = (require("setpriv"), AS_OTHERS) if os.geteuid() == 0 else ()
    directory = tmp_path / "recorder"
    history = directory / "energy_meters.db"
    with start(directory, broker_port, *before) as recorder, PlainClient(broker_port) as client:
        publish(client, range(10))
        wait_until(lambda: len(stored(directory)) == 10)
        _put_back_read_only(history)
        publish(client, range(10, 500))
        recorder.wait_for("readonly database; check who owns the file, -wal and -shm beside it")

        for file in directory.glob("energy_meters.db*"):  # made as read-only as the first
            file.chmod(0o644)

        wait_until(lambda: stored(directory) == list(range(500)))
        assert recorder.output.count("trying again") == 1


def _put_back_read_only(history: Path) -> None:
    """Replace the history by a read-only copy, as a careless restore does."""
    copy = history.with_name("copy.db")
    with closing(sqlite3.connect(history)) as here, closing(sqlite3.connect(copy)) as there:
        here.backup(there)
    copy.chmod(0o444)
    for name in ("-wal", "-shm"):
        history.with_name(history.name + name).unlink(missing_ok=True)
    shutil.move(copy, history)
