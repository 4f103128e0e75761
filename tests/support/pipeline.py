"""The whole pipeline as real processes, for the chaos test: to be killed, frozen and damaged."""

import asyncio
import contextlib
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import psycopg

from simulator.bus import LineTiming
from simulator.simulator import Simulator
from tests.support.clocks import can_fake, read_clock, set_clock
from tests.support.disks import filled, mount
from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.postgresql import Server

METERS = tuple(range(1, 21))
INTERVAL_S = 0.4
RATE = len(METERS) / INTERVAL_S
DISK_BYTES = 24_000_000


class Meters(threading.Thread):
    """Simulated meters in this process, so that each of their responses can be looked up."""

    def __init__(self) -> None:
        super().__init__(name="meters", daemon=True)
        timing = LineTiming(baud=0, turnaround_s=0, pause_s=0)
        self.simulator = Simulator(METERS, timing=timing)
        self.simulator.statistics.served = deque()
        self.port = 0
        self._ready = threading.Event()
        self.start()
        self._ready.wait(10)

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        async with self.simulator:
            self.port = self.simulator.port
            self._ready.set()
            await asyncio.Event().wait()


JOURNAL_S = 5.0
"""Seconds between writes of the bridge's journal."""


class Pipeline:
    """Bridge, broker and recorder, and another subscriber that keeps everything it receives.

    Each part has a directory of its own; that of the recorder is a small disk, if run by root.
    """

    def __init__(
        self,
        directory: Path,
        broker: str,
        *,
        small_disk: bool = True,
        journal_s: float = JOURNAL_S,
        port: int | None = None,
        postgresql: Server | None = None,
        group: bool = False,
    ) -> None:
        self.directory = directory
        self._journal_s = journal_s
        self._postgresql = postgresql
        self.recorders = ("recorder", "recorder_2") if group else ("recorder",)
        self.meters = Meters()
        self.mqtt = port or free_port()
        self.kind = broker
        self.parts: dict[str, Part] = {}
        self.replaced: set[tuple[str, int]] = set()
        self.clock = directory / "clock"
        self.set_clock(0)
        self.history.parent.mkdir(parents=True, exist_ok=True)
        self.disk = small_disk and not postgresql and mount(self.history.parent, DISK_BYTES)

    @property
    def names(self) -> tuple[str, ...]:
        """Its parts, all of which can be killed and frozen."""
        database = ("postgresql",) if self._postgresql else ()
        return ("gateway_bridge", "broker", *self.recorders, *database)

    @property
    def has_file(self) -> bool:
        """Whether the history is a file, which can be replaced and whose disk can be full."""
        return self._postgresql is None

    @property
    def history(self) -> Path:
        return self.directory / "recorder" / "energy_meters.db"

    @property
    def journal(self) -> Path:
        return self.directory / "bridge" / "state" / "journal-gateway.db"

    def start(self, name: str) -> None:
        """Start a part that is not running."""
        if name == "postgresql":
            assert self._postgresql
            if self._postgresql.process.poll() is not None:
                self._postgresql.start()
        elif name not in self.parts:
            place = self.directory / name.replace("gateway_", "")
            settings = self._settings(name)
            self.parts[name] = Part.module(name.removesuffix("_2"), directory=place, **settings)
            if name == "broker":
                wait_until(lambda: listens(self.mqtt), what="the broker")

    def _settings(self, name: str) -> dict[str, Any]:
        settings: dict[str, Any] = {"MQTT_PORT": self.mqtt}
        if name == "broker":
            return settings | {"BROKER": self.kind}
        if name == "gateway_bridge":
            settings |= {
                "MODBUS_HOST": "127.0.0.1",
                "MODBUS_PORT": self.meters.port,
                "MODBUS_BAUD": 1_000_000,
                "METER_IDS": ",".join(map(str, METERS)),
                "POLL_INTERVAL": INTERVAL_S,
                "QUANTITIES": "power,energy",
                "JOURNAL_INTERVAL": self._journal_s,
            }
        else:
            url = self._postgresql.url if self._postgresql else f"sqlite:///{self.history}"
            settings["DATABASE_URL"] = url
            if len(self.recorders) > 1:
                settings |= {"RECORDER_GROUP": "house", "RECORDER_NAME": name.replace("_", "-")}
        return settings | read_clock(self.clock)

    def kill(self, name: str) -> None:
        """Kill a part."""
        if name == "postgresql":
            assert self._postgresql
            self._postgresql.kill()
        if part := self.parts.pop(name, None):
            part.process.kill()
            part.process.wait()

    def freeze(self, name: str, for_s: float) -> None:
        """Freeze a part for a while."""
        send = self._signal(name)
        send(signal.SIGSTOP)
        time.sleep(for_s)
        send(signal.SIGCONT)

    def _signal(self, name: str) -> Callable[[int], None]:
        if name == "postgresql":
            assert self._postgresql
            return self._postgresql.signal
        return self.parts[name].process.send_signal

    def forget_broker_state(self) -> None:
        """Delete the state of the broker."""
        shutil.rmtree(self.directory / "broker" / "state", ignore_errors=True)

    def back_up(self) -> None:
        """Copy the history."""
        with (
            closing(sqlite3.connect(self.history)) as here,
            closing(sqlite3.connect(self.directory / "backup.db")) as there,
        ):
            here.backup(there)

    def restore(self) -> None:
        """Replace the history by the copy, and remember what the replaced one had."""
        query = "SELECT name, ts FROM readings_raw JOIN meters ON id = meter"
        with closing(sqlite3.connect(self.history, timeout=10)) as database:
            self.replaced |= set(database.execute(query))
        for file in self.history.parent.glob("energy_meters.db*"):
            file.unlink()
        shutil.copy(self.directory / "backup.db", self.history)

    def fill_disk(self, for_s: float) -> None:
        """Fill the disk of the history for a while."""
        with filled(self.history.parent):
            time.sleep(for_s)

    def set_clock(self, by_s: float) -> None:
        """Set the clock of bridge and recorder, relative to the true time."""
        set_clock(self.clock, by_s)

    @property
    def has_clock(self) -> bool:
        return can_fake()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what another program sees in the history; nothing while it has no tables."""
        if self._postgresql:
            with (
                contextlib.suppress(psycopg.errors.UndefinedTable),
                psycopg.connect(self._postgresql.url) as it,
            ):
                return it.execute(query).fetchall()
            return []
        uri = f"file:{self.history}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
            return database.execute(query).fetchall()

    def __enter__(self) -> Self:
        self.start("broker")
        self.log = Part(  # it ends at once where there is no broker yet
            *(require("mosquitto_sub"), "-p", str(self.mqtt), "-i", "log", "-c", "-q", "1"),
            *("-t", "meters/+/reading"),
            directory=self.directory,
        )
        for name in ("gateway_bridge", *self.recorders):
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for part in [self.log, *self.parts.values()]:
            part.process.send_signal(signal.SIGCONT)
            part.process.kill()
            part.process.wait()
        if self.disk:
            subprocess.run(["umount", "-l", self.directory / "recorder"], check=False)
