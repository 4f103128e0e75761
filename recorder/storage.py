"""The database behind the recorder: retries through every trouble, and reports each once."""

import contextlib
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import peewee

from contract.errors import PayloadError
from contract.meter_settings import MeterSettings
from contract.prices import PriceList
from contract.readings import Reading
from contract.replay import Replayed
from contract.utility_readings import UtilityEntry
from history import meter_settings, peaks, prices, queries, utility_readings
from history.database import FIRST_STEP, migrate, name_of, open_database, storage_errors
from history.dialect import dialect_of
from history.errors import StorageError
from history.exchange.archive import Archive
from history.leases import Lease, Leases
from history.readings_table import Rejected, Writer
from history.retention import Keep
from history.sequences import Gap, Numbers, Settled
from history.tables import read_meter
from history.upkeep import Upkeep
from service.files import file_identity
from service.reporting import Reporter

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 10.0
UPKEEP_S = 0.05
"""Seconds of upkeep between two batches."""
LOOK_S = 1.0
"""Seconds between looks at whether the file of the history is still the same."""
REPLACED_S = 0.5
"""Seconds to wait before opening a new file: anyone who deletes a history deletes three files."""
SYNC_S = 30.0
"""Seconds between syncs, and of commits that a power cut may cost at most: a sync at each commit
would wear out an SD card."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _History:
    """The open database; `file` is the identity of its file, None on a server."""

    file: tuple[int, int] | None
    writer: Writer
    leases: Leases
    upkeep: Upkeep


class Storage:
    """Writes batches, each once; a write that fails is tried again.

    For one thread only.
    """

    def __init__(self, url: str, keep: Keep | None = None, archive: Archive | None = None) -> None:
        self._database = open_database(url)
        self._keep, self._archive = keep, archive
        self._history: _History | None = None
        self.opened = 0
        """Counts how often a history was opened: its file may have been replaced."""
        self.replaced = 0
        """Counts how often another history than before was opened."""
        self._last_file: tuple[int, int] | None = None
        self._look_due_s = 0.0
        self._too_old = 0
        self._unsynced, self._synced_s = False, -math.inf
        self.on_change: Callable[[], None] = lambda: None
        """Called when trouble begins, changes and ends: the caller waits for its write then."""
        subject = f"database {self.name}"
        self._troubles = Reporter(
            logger,
            subject,
            advice="nothing is acknowledged until it works, trying again",
            level=logging.ERROR,
        )
        self._upkeep_troubles = Reporter(
            logger, subject, advice="its roll-ups wait", level=logging.ERROR
        )
        self._sync_troubles = Reporter(
            logger,
            f"{subject}: sync",
            advice="a power cut may cost readings",
            level=logging.ERROR,
        )

    @property
    def name(self) -> str:
        """The name of the database in a message."""
        return name_of(self._database)

    @property
    def trouble(self) -> str | None:
        """What is wrong with the database now; None where it works."""
        trouble = self._troubles.trouble
        return None if trouble is None else f"database {self.name}: {trouble}"

    @property
    def too_old(self) -> int:
        """How many readings were refused so far because retention has deleted their time."""
        return self._too_old + (self._history.writer.too_old if self._history else 0)

    def open(self, give_up: threading.Event) -> bool:
        """Prepare the database, waiting while it is locked, full or away; False to end.

        Raises StorageError where waiting does not help: a person must act.
        """
        return self._try(self._open, give_up, lambda error: error.transient) is not None

    def follow_file(self, give_up: threading.Event) -> None:
        """Open the history again, where its file was deleted or replaced; looks once a second."""
        now_s = time.monotonic()
        if self._history and now_s >= self._look_due_s:
            self._look_due_s = now_s + LOOK_S
            if self._history.file != self._file_now():
                self._try(self._ready, give_up, lambda _: True)

    def meters(self) -> list[str]:
        """Return the meters that have readings."""
        with storage_errors(self._database):
            return [meter.meter_id for meter in queries.meters(self._database)]

    def snapshot_meters(self) -> list[str]:
        """Return the meters that are known to send whole readings."""
        return self._history.writer.snapshot_meters if self._history else []

    @property
    def journaled_meters(self) -> Collection[str]:
        """The meters whose bridge can send their readings again, as far as this recorder knows."""
        return self._history.writer.sequences.journaled if self._history else ()

    def write(
        self,
        readings: Sequence[Reading],
        rejected: Sequence[Rejected],
        give_up: threading.Event,
    ) -> int | None:
        """Store a batch and return how many rows were new; None where `give_up` came first."""
        stored = self._try(
            lambda: self._ready().writer.write(readings, rejected), give_up, lambda _: True
        )
        self._unsynced = True
        self.sync()
        return stored

    def store_infos(
        self, infos: Mapping[str, MeterSettings], give_up: threading.Event
    ) -> set[str] | None:
        """Store what infos of meters say, and return those with a row; None on `give_up`."""

        def attempt() -> set[str]:
            self._ready()
            return meter_settings.store_infos(self._database, infos)

        return self._try(attempt, give_up, lambda _: True)

    def change_settings(
        self, meter_id: str, settings: MeterSettings, give_up: threading.Event
    ) -> bool:
        """Store a person's settings of a meter; False where `give_up` came first.

        Raises PayloadError for settings that do not fit the meters of the history.
        """

        def attempt() -> bool:
            self._ready()
            meter_settings.change(self._database, meter_id, settings)
            return True

        return self._try(attempt, give_up, lambda _: True) is not None

    def change_utility_reading(
        self, meter_id: str, entry: UtilityEntry, give_up: threading.Event
    ) -> bool:
        """Enter or remove a reading of the utility's meter; False where `give_up` came first.

        Raises PayloadError for a meter without history.
        """

        def attempt() -> bool:
            self._ready()
            if read_meter(self._database, meter_id) is None:
                raise PayloadError("unknown_meter", [("meter", f"{meter_id!r} has no history")])
            utility_readings.change(self._database, meter_id, entry)
            return True

        return self._try(attempt, give_up, lambda _: True) is not None

    def store_prices(self, tariff: str, given: PriceList, give_up: threading.Event) -> bool:
        """Store the dynamic prices of a tariff; False where `give_up` came first."""

        def attempt() -> bool:
            self._ready()
            prices.store(self._database, tariff, given.quarters())
            return True

        return self._try(attempt, give_up, lambda _: True) is not None

    def follow_demand(self, meter_id: str, now: datetime, zone: ZoneInfo) -> peaks.Followed | None:
        """Return the demand of a meter; None for one without history. Raises StorageError."""
        with storage_errors(self._database):
            self._ready()
            return peaks.follow(self._database, meter_id, now, zone)

    def settle(
        self,
        bridge: str,
        answers: Mapping[str, Replayed],
        abandoned: Collection[str],
        give_up: threading.Event,
    ) -> Settled | None:
        """Record a bridge's answers; None where `give_up` came first."""
        return self._try(
            lambda: self._ready().writer.sequences.settle(bridge, answers, abandoned),
            give_up,
            lambda _: True,
        )

    def gaps(self) -> dict[str, Gap]:
        """Return, by meter, where readings are missing, as far as this recorder has seen."""
        return self._history.writer.sequences.gaps if self._history else {}

    def numbers(self, bridge: str) -> dict[str, Numbers]:
        """Return which numbers of a bridge's meters have arrived; raises StorageError."""
        with storage_errors(self._database):
            return self._ready().writer.sequences.numbers(bridge)

    def unclaimed(self, most: int) -> dict[str, Numbers]:
        """Return the numbers of meters with gaps that belong to no bridge; raises StorageError."""
        with storage_errors(self._database):
            return self._ready().writer.sequences.unclaimed(most)

    def bridges(self) -> list[str]:
        """Return the bridges that can be asked for readings; raises StorageError."""
        with storage_errors(self._database):
            return self._ready().writer.sequences.bridges()

    def lease(self, name: str) -> Lease:
        """Return who holds a lease; raises StorageError."""
        with storage_errors(self._database):
            return self._ready().leases.read(name)

    def acquire_lease(self, name: str, holder: str, seen: Lease) -> Lease | None:
        """Acquire or renew a lease that is still as it was seen, else None; raises StorageError."""
        with storage_errors(self._database):
            return self._ready().leases.acquire(name, holder, seen)

    def run_upkeep(self) -> None:
        """Roll up and delete for a moment, where something is due.

        Readings are stored even while this fails; it is tried again a minute later.
        """
        if self._history is None or not self._history.upkeep.due():
            return
        try:
            with storage_errors(self._database):
                self._history.upkeep.run(time.monotonic() + UPKEEP_S)
        except StorageError as error:
            self._upkeep_troubles.failed(self._without_subject(error))
        else:
            if not self._history.upkeep.due():
                self._upkeep_troubles.works("roll-ups go on")

    def sync(self, every_s: float = SYNC_S) -> None:
        """Wait until commits survive a power cut, at most every so many seconds."""
        now_s = time.monotonic()
        if not self._unsynced or now_s < self._synced_s + every_s:
            return
        self._unsynced, self._synced_s = False, now_s
        try:
            dialect_of(self._database).sync()
        except FileNotFoundError:
            return  # the file was replaced: the next write opens the new one
        except OSError as error:
            self._sync_troubles.failed(str(error))
        else:
            self._sync_troubles.works()

    def close(self) -> None:
        """Release the database."""
        self._too_old = self.too_old
        self._history = None
        with contextlib.suppress(peewee.DatabaseError, peewee.InterfaceError):
            self._database.close()

    def _try(
        self,
        attempt: Callable[[], T],
        give_up: threading.Event,
        worth_waiting: Callable[[StorageError], bool],
    ) -> T | None:
        delay_s = FIRST_DELAY_S
        while True:
            try:
                with storage_errors(self._database):
                    result = attempt()
            except StorageError as error:
                self.close()
                if not worth_waiting(error):
                    raise
                if self._troubles.failed(self._without_subject(error)):
                    self.on_change()
            else:
                if self._troubles.works():
                    self.on_change()
                return result
            if give_up.wait(delay_s * random.uniform(0.8, 1.2)):
                return None
            delay_s = min(delay_s * 2, LONGEST_DELAY_S)

    def _open(self) -> _History:
        self.close()
        steps = migrate(self._database)
        if FIRST_STEP in steps:
            logger.info("database %s: created", self.name)
        else:
            for step in steps:
                logger.info("database %s: schema brought up to date: %s", self.name, step)
        dialect_of(self._database).prepare_log()
        file = self._file_now()
        self.replaced += bool(self.opened and (FIRST_STEP in steps or file != self._last_file))
        self.opened += 1
        self._last_file = file
        self._history = _History(
            file,
            Writer(self._database),
            Leases(self._database),
            Upkeep(self._database, self._keep, self._archive),
        )
        return self._history

    def _ready(self) -> _History:
        """Return the history, after opening it where it is closed or its file was replaced."""
        history = self._history
        if history and history.file == self._file_now():
            return history
        if history:
            logger.warning("database %s: the file was replaced; opening the new one", self.name)
            time.sleep(REPLACED_S)
        return self._open()

    def _file_now(self) -> tuple[int, int] | None:
        file = dialect_of(self._database).file
        return file_identity(file) if file else None

    def _without_subject(self, error: StorageError) -> str:
        return str(error).removeprefix(f"database {self.name}: ")
