"""The database behind the recorder: when its commits survive a power cut."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.readings import Reading
from recorder.storage import Storage

NEVER = threading.Event()
START = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage(f"sqlite:///{tmp_path}/energy_meters.db")
    assert opened.open(NEVER)
    yield opened
    opened.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content is synced."""
    names: list[str] = []
    monkeypatch.setattr(
        os, "fdatasync", lambda fd: names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
    )
    return names


def store(storage: Storage, number: int) -> None:
    reading = Reading("1", START + timedelta(seconds=number), {"power": float(number)})
    assert storage.write([reading], [], NEVER) == 1


def test_a_commit_after_a_pause_is_synced_at_once_and_others_later(
    storage: Storage, synced: list[str]
) -> None:
    store(storage, 1)
    assert synced == ["energy_meters.db-wal"]
    store(storage, 2)
    storage.sync()
    assert len(synced) == 1

    storage.sync(0)
    storage.sync(0)

    assert synced == ["energy_meters.db-wal"] * 2, "nothing new: nothing to do"


def test_the_names_of_a_new_history_are_synced_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, list[str]] = {}

    def sync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        names[path.name] = sorted(each.name for each in path.iterdir())

    monkeypatch.setattr(os, "fsync", sync)
    with closing(Storage(f"sqlite:///{tmp_path}/energy_meters.db")) as storage:
        storage.open(NEVER)

    files = ["energy_meters.db", "energy_meters.db-shm", "energy_meters.db-wal"]
    assert names == {tmp_path.name: files}


def test_a_disk_that_cannot_sync_is_logged_once_and_readings_are_stored(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    for number in range(3):
        store(storage, number)
        storage.sync(0)
    assert caplog.text.count("a power cut may cost readings") == 1
    assert storage.trouble is None

    monkeypatch.undo()
    caplog.set_level("INFO")
    store(storage, 3)
    storage.sync(0)

    assert "sync: works again" in caplog.text


def test_a_history_that_was_deleted_is_not_synced(
    storage: Storage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store(storage, 1)
    for file in tmp_path.iterdir():
        file.unlink()

    store(storage, 2)
    storage.sync(0)

    assert "a power cut may cost readings" not in caplog.text
