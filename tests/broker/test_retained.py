"""Retained messages of the embedded broker: limits, a failing disk, a damaged file."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker import retained
from broker.retained import RetainedMessages
from service.errors import BrokerError


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


def test_a_failed_write_is_logged_and_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.db"
    messages = RetainedMessages(path)
    messages.keep("t", b"old", 1)
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE retained RENAME TO elsewhere")
    asyncio.run(messages.write())
    assert "a restart now would lose retained messages" in caplog.text

    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE elsewhere RENAME TO retained")
    asyncio.run(messages.write())

    assert [topic for topic, _ in RetainedMessages(path).items()] == ["t"]


def test_a_damaged_file_of_retained_messages_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kept.db"
    path.write_text("not a database at all, but long enough to look at" * 30)

    assert len(RetainedMessages(path)) == 0

    assert f"starting with an empty file, the old one is now {path}.damaged" in caplog.text
    assert len(RetainedMessages(path)) == 0


def test_an_unusable_path_raises_an_error_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "kept.db").mkdir()

    with pytest.raises(BrokerError, match="move the file away"):
        RetainedMessages(tmp_path / "kept.db")
