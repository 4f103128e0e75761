"""The journal: what the bridge has read, kept for some days so that it can be sent again.

Readings are written in batches by a thread of its own: the event loop never waits for the disk,
and an SD card is written to once in five seconds instead of with every reading.
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

from contract.readings import EARLIEST, Reading, epoch_ms
from contract.replay import HIGHEST_SEQ
from gateway_bridge.publishing.journal_file import JournalFile, Kept
from gateway_bridge.publishing.numbering import Numbering

logger = logging.getLogger(__name__)

FLUSH_S = 5.0
MOST_UNWRITTEN = 20_000
"""So many readings wait in memory while the disk takes none; then the oldest are given up."""
_EARLIEST_MS = epoch_ms(EARLIEST)


class Found(NamedTuple):
    """Readings in the order of their numbers, complete for all that came after `since`."""

    readings: list[Kept]
    since: int
    oldest: int | None


class Journal:
    """Keeps readings for `keep_s` seconds, or up to `most_bytes`. Safe to use from any thread."""

    def __init__(self, path: Path, keep_s: float, most_bytes: int) -> None:
        self._file = JournalFile(path)
        self._keep_ms = int(keep_s * 1000)
        self._most_bytes = most_bytes
        self._unwritten: deque[Kept] = deque()
        self._given_up = 0
        self._trouble: str | None = None
        self._lock = threading.Lock()
        self._file_lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self, numbering: Numbering, meters: Iterable[str]) -> None:
        """Open the file, go on with its numbers, and begin to write."""
        try:
            clean = self._file.open()
            for meter in meters:
                numbering.go_on(meter, self._file.newest(meter), clean=clean)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
        self._thread.start()

    def stop(self) -> None:
        """Write what is unwritten, and close the file."""
        self._stopping.set()
        self._thread.join()

    def add(self, reading: Reading, text: str) -> None:
        """Keep a reading; one without a usable clock is not kept, it could not be filed later."""
        ts = epoch_ms(reading.ts)
        if reading.seq is None or ts < _EARLIEST_MS:
            return
        with self._lock:
            self._unwritten.append(Kept(reading.meter_id, reading.seq, ts, text))
            if len(self._unwritten) > MOST_UNWRITTEN:
                self._unwritten.popleft()
                self._given_up += 1

    def description(self) -> dict[str, object]:
        """Return what the bridge's info says of the journal."""
        return {"file": str(self._file.path), "hours": self._keep_ms / 3_600_000} | (
            {"trouble": self._trouble} if self._trouble else {}
        )

    def after(self, meter: str, seq: int, most: int) -> Found:
        """Return what came after a number, at most `most` readings, the oldest first."""
        with self._file_lock:
            waiting = [each for each in self._waiting() if each.meter == meter]
            try:
                kept = self._file.after(meter, seq, most)
                oldest = self._file.oldest(meter)
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
                seq = max(seq, waiting[0].seq - 1) if waiting else HIGHEST_SEQ
                kept, oldest = [], None
        kept += [each for each in waiting if each.seq > (kept[-1].seq if kept else seq)]
        if oldest is None and waiting:
            oldest = waiting[0].seq
        return Found(kept[:most], seq, oldest)

    def flush(self) -> bool:
        """Write what is unwritten, remove what is too old or too much; False where it failed."""
        with self._file_lock:
            batch = self._waiting()
            try:
                if not self._file.opened:
                    self._file.open()
                if batch:
                    self._file.append(batch)
                self._written(batch)
                self._file.shorten(int(time.time() * 1000) - self._keep_ms, self._most_bytes)
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
                return False
        self._tell(None)
        return True

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_S):
            self.flush()
        if self.flush():
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
        self._file.abandon()

    def _waiting(self) -> list[Kept]:
        with self._lock:
            return list(self._unwritten)

    def _written(self, batch: list[Kept]) -> None:
        """Forget what has been written, and has not been given up meanwhile."""
        written = set(map(id, batch))
        with self._lock:
            while self._unwritten and id(self._unwritten[0]) in written:
                self._unwritten.popleft()

    def _failed(self, error: Exception) -> None:
        if type(error) is sqlite3.DatabaseError:  # not one of its kinds: the file is damaged
            with contextlib.suppress(OSError):
                aside = self._file.set_aside()
                logger.error(
                    "journal %s: %s; begun anew, the old one is %s", self._file.path, error, aside
                )
                return
        self._tell(self._trouble or str(error))

    def _tell(self, trouble: str | None) -> None:
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            logger.error(
                "journal %s: %s; readings are published all the same, trying again",
                self._file.path,
                trouble,
            )
            return
        lost = f"; {self._given_up} readings were not kept" if self._given_up else ""
        logger.info("journal %s: works again%s", self._file.path, lost)
        self._given_up = 0
