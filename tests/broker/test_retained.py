"""Retained messages of the embedded broker: limits, a failing disk, a damaged file."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker import retained
from broker.retained import RetainedMessages
from service.errors import BrokerError
from tests.support.polling import until


def topics_in(path: Path) -> list[str]:
    messages = RetainedMessages(path)
    try:
        return [topic for topic, _ in messages.items()]
    finally:
        messages.close()


def test_retained_topics_and_bytes_have_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retained, "MOST_TOPICS", 3)
    monkeypatch.setattr(retained, "MOST_BYTES", 100)
    messages = RetainedMessages(tmp_path / "kept.db")

    assert all(messages.keep(f"t/{number}", b"x" * 10, 1) for number in range(3))
    assert not messages.keep("t/3", b"x", 1), "a fourth topic"
    assert not messages.keep("t/2", b"x" * 90, 1), "too many bytes"
    assert messages.keep("t/2", b"y", 1), "a known topic goes on"
    assert messages.keep("t/1", b"", 1)
    assert messages.keep("t/3", b"x", 1), "room again"
    messages.close()


def test_a_failed_write_is_logged_and_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.db"
    messages = RetainedMessages(path)
    messages.keep("t", b"old", 1)
    messages._database.execute("ALTER TABLE retained RENAME TO elsewhere")
    asyncio.run(messages.write())
    assert "a restart now would lose retained messages" in caplog.text

    messages._database.execute("ALTER TABLE elsewhere RENAME TO retained")
    asyncio.run(messages.write())
    messages.close()

    assert topics_in(path) == ["t"]


def test_a_damaged_file_of_retained_messages_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.db"
    path.write_text("not a database at all, but long enough to look at" * 30)

    assert topics_in(path) == []

    assert f"starting with an empty file, the old one is now {path}.damaged" in caplog.text
    assert topics_in(path) == []


def test_an_unusable_path_raises_an_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "kept.db").mkdir()

    with pytest.raises(BrokerError, match="move the file away"):
        RetainedMessages(tmp_path / "kept.db")


def test_the_log_of_a_damaged_file_is_not_read_into_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    for payload in (b"old", b"new"):
        messages = RetainedMessages(path)
        messages.keep("t", payload, 1)
        asyncio.run(messages.write())
        if payload == b"old":
            messages.close()
    log = path.with_name("kept.db-wal").read_bytes()
    messages.close()
    path.write_text("not a database at all, but long enough to look at" * 30)
    path.with_name("kept.db-wal").write_bytes(log)

    assert topics_in(path) == []


def test_changed_values_are_written_seldom_and_changed_topics_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retained, "TOPICS_EVERY_S", 0.01)
    monkeypatch.setattr(retained, "VALUES_EVERY_S", 1e9)
    messages = RetainedMessages(tmp_path / "kept.db")

    async def keep(payload: bytes, *, is_written: bool) -> None:
        messages.keep("t", payload, 1)
        stop = asyncio.Event()
        writing = asyncio.create_task(messages.write_behind(stop))
        if is_written:
            await until(lambda: not messages._changed)
        else:
            await asyncio.sleep(0.1)  # ten times as long as a new topic waits
            assert messages._changed
        stop.set()
        await writing
        await messages.write()

    asyncio.run(keep(b"1", is_written=True))  # a new topic
    asyncio.run(keep(b"1", is_written=True))  # the same value
    asyncio.run(keep(b"2", is_written=False))  # another value
    asyncio.run(keep(b"", is_written=True))  # a topic that is gone
    messages.close()


def test_messages_of_an_older_version_get_checksums(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TABLE retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL, "
            "qos INTEGER NOT NULL) WITHOUT ROWID"
        )
        database.execute("INSERT INTO retained VALUES ('t', x'31', 1)")
        database.commit()

    assert topics_in(path) == ["t"]
    assert topics_in(path) == ["t"]
