"""The database behind the recorder: when its commits survive a power cut."""

import errno
import os
import threading
from collections.abc import Iterator
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
    """The names of the files and directories that are synced."""
    names: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: names.append(Path(f"/proc/self/fd/{fd}").readlink().name)
    )
    return names


def store(storage: Storage, number: int) -> None:
    reading = Reading("1", START + timedelta(seconds=number), {"power": float(number)})
    assert storage.write([reading], [], NEVER) == 1


def test_a_commit_after_a_pause_is_synced_at_once_and_others_later(
    storage: Storage, synced: list[str], tmp_path: Path
) -> None:
    store(storage, 1)
    assert synced == ["energy_meters.db-wal", tmp_path.name]
    store(storage, 2)
    storage.sync()
    assert len(synced) == 2

    storage.sync(0)
    storage.sync(0)

    assert synced == ["energy_meters.db-wal", tmp_path.name] * 2, "nothing new: nothing to do"


def test_a_disk_that_cannot_sync_is_logged_once_and_readings_are_stored(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
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
