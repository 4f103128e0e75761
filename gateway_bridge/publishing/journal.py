"""The journal: the readings of the last days, kept on disk so that they can be sent again.

A thread of its own writes readings in blocks: the event loop never waits for the disk, and an SD
card is written to every half minute. What the broker has acknowledged is at the broker meanwhile;
what it has not, is written within seconds.
"""

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from contract.readings import EARLIEST, HIGHEST_SEQ, Reading
from contract.times import epoch_ms
from gateway_bridge.publishing.journal_file import JournalFile, Kept
from gateway_bridge.publishing.numbering import Numbering
from service.amounts import amount
from service.reporting import Reporter

logger = logging.getLogger(__name__)

URGENT_S = 5.0
"""Seconds between writes while the broker does not acknowledge, or many readings wait."""
MANY = 5_000
MOST_UNWRITTEN = 20_000
"""Readings to keep in memory while the disk takes none; beyond these the oldest are dropped."""
_EARLIEST_MS = epoch_ms(EARLIEST)


class Found(NamedTuple):
    """All readings after the number `since`, in the order of their numbers."""

    readings: list[Kept]
    since: int
    oldest: int | None


class Journal:
    """Keeps readings for `keep_s` seconds, or up to `most_bytes`. Safe to use from any thread."""

    def __init__(self, path: Path, keep_s: float, most_bytes: int, interval_s: float) -> None:
        self._file = JournalFile(path)
        self._keep_ms = int(keep_s * 1000)
        self._most_bytes = most_bytes
        self._interval_s = interval_s
        self._unwritten: deque[Kept] = deque()
        self._dropped = 0
        self._reporter = Reporter(
            logger,
            f"journal {path}",
            advice="readings are still published, retrying",
            level=logging.ERROR,
        )
        self._lock = threading.Lock()
        self._file_lock = threading.Lock()
        self._stopping = False
        self._due = threading.Event()
        self._flushed_s = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self, numbering: Numbering, meters: Iterable[str]) -> None:
        """Open the file, continue its numbers, and start to write."""
        try:
            crashes = self._open()
            for meter in meters:
                numbering.resume(meter, self._file.newest(meter), crashes)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
        self._thread.start()

    def stop(self) -> None:
        """Write what is not written yet, and close the file."""
        self._stopping = True
        self._due.set()
        self._thread.join()

    def hurry(self) -> None:
        """Write now: the broker is away, and what it had may be lost."""
        self._due.set()

    def add(self, reading: Reading, text: str, *, urgent: bool = False) -> None:
        """Keep a reading, unless the clock was not set: it could not be stored by its time.

        Readings are `urgent` while the broker does not acknowledge them.
        """
        ts = epoch_ms(reading.ts)
        if reading.seq is None or ts < _EARLIEST_MS:
            return
        with self._lock:
            self._unwritten.append(Kept(reading.meter_id, reading.seq, ts, text))
            if len(self._unwritten) > MOST_UNWRITTEN:
                self._unwritten.popleft()
                self._dropped += 1
            many = len(self._unwritten) >= MANY
        if (urgent or many) and time.monotonic() - self._flushed_s >= URGENT_S:
            self._due.set()

    def description(self) -> dict[str, object]:
        """Return the journal's part of the bridge's info."""
        trouble = self._reporter.trouble
        return {"file": str(self._file.path), "hours": self._keep_ms / 3_600_000} | (
            {"trouble": trouble} if trouble else {}
        )

    def after(self, meter: str, seq: int, most: int) -> Found:
        """Return at most `most` readings after a number, the oldest first."""
        with self._file_lock:
            waiting = [each for each in self._waiting() if each.meter == meter]
            try:
                kept, oldest = self._read(meter, seq, most)
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
                seq = max(seq, waiting[0].seq - 1) if waiting else HIGHEST_SEQ
                kept, oldest = [], None
        kept += [each for each in waiting if each.seq > (kept[-1].seq if kept else seq)]
        if oldest is None and waiting:
            oldest = waiting[0].seq
        return Found(kept[:most], seq, oldest)

    def flush(self) -> bool:
        """Write new readings, remove old ones; return False where that failed."""
        with self._file_lock:
            batch = self._waiting()
            self._flushed_s = time.monotonic()
            before_ms = int(time.time() * 1000) - self._keep_ms
            try:
                if not self._file.opened:
                    self._open()
                if fresh := [kept for kept in batch if kept.ts >= before_ms]:
                    self._file.append(fresh)
                self._written(batch)
                self._file.shorten(before_ms, self._most_bytes)
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
                return False
        dropped = f"; {amount(self._dropped, 'reading')} not kept" if self._dropped else ""
        if self._reporter.works(detail=dropped):
            self._dropped = 0
        return True

    def _run(self) -> None:
        while not self._stopping:
            self._due.wait(self._interval_s)
            self._due.clear()
            if not self._stopping:
                self.flush()
        if self.flush():
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
        self._file.abandon()

    def _open(self) -> int:
        """Open the file, and return how often in a row it was not closed cleanly."""
        try:
            return self._file.open()
        except sqlite3.DatabaseError as error:
            self._recover(error)
            return 1

    def _read(self, meter: str, seq: int, most: int) -> tuple[list[Kept], int | None]:
        """Return the readings after a number, and the lowest number that is there."""
        try:
            kept = self._file.after(meter, seq, most)
        except sqlite3.DatabaseError as error:
            self._recover(error)
            kept = self._file.after(meter, seq, most)
        return kept, self._file.oldest(meter)

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        """Continue with what can be read of a damaged file; other errors are raised again."""
        if type(error) is not sqlite3.DatabaseError:  # a subclass: not damage
            raise error
        aside, readings = self._file.recover()
        logger.error(
            "journal %s: %s; moved to %s, starting a new one with the %s that it still has; "
            "check the disk",
            self._file.path,
            error,
            aside,
            amount(readings, "reading"),
        )

    def _waiting(self) -> list[Kept]:
        with self._lock:
            return list(self._unwritten)

    def _written(self, batch: list[Kept]) -> None:
        """Forget readings that are written, if they were not dropped meanwhile."""
        written = set(map(id, batch))
        with self._lock:
            while self._unwritten and id(self._unwritten[0]) in written:
                self._unwritten.popleft()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, sqlite3.DatabaseError):
            try:
                self._recover(error)
            except (sqlite3.Error, OSError) as now:
                error = now
            else:
                return
        self._reporter.failed(self._reporter.trouble or str(error))
