"""A bridge with simulated meters, recorders and a broker, each to be started and killed alone."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.journals import journaled
from tests.support.parts import Part, free_port, listens, wait_until


class Site:
    """A simulator with two meters, a bridge and a recorder; the broker is the test's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.modbus, self.mqtt = free_port(), free_port()
        self.history = directory / "recorder" / "energy_meters.db"
        self.journal = directory / "bridge" / "state" / "journal-gateway.db"

    def simulator(self, units: str = "1,2") -> Part:
        line = ("--port", str(self.modbus), "--units", units, "--baud", "0", "--turnaround", "0")
        part = Part.module("simulator", *line, "--pause=0", directory=self.directory)
        wait_until(lambda: listens(self.modbus), what="the simulator")
        return part

    def bridge(self, **settings: object) -> Part:
        settings = {
            "METER_IDS": "1,2",
            "POLL_INTERVAL": 0.1,
            "QUANTITIES": "power",
            "JOURNAL_INTERVAL": 0.5,
        } | settings
        return Part.module(
            "gateway_bridge",
            directory=self.directory / "bridge",
            MODBUS_HOST="127.0.0.1",
            MODBUS_PORT=self.modbus,
            MQTT_PORT=self.mqtt,
            **settings,
        )

    def recorder(self, **settings: object) -> Part:
        """Start a recorder; all of them have one history."""
        self.history.parent.mkdir(exist_ok=True)
        name = settings.get("RECORDER_NAME", "")
        settings = {"COMMIT_INTERVAL": 0.1} | settings
        return Part.module(
            "recorder",
            directory=self.directory / f"recorder{name}",
            MQTT_PORT=self.mqtt,
            DATABASE_URL=f"sqlite:///{self.history}",
            **settings,
        )

    def broker(self, **settings: object) -> Part:
        part = Part.module(
            "broker", directory=self.directory / "broker", MQTT_PORT=self.mqtt, **settings
        )
        wait_until(lambda: listens(self.mqtt), what="the broker")
        return part

    def stored(self) -> set[tuple[str, int]]:
        """The readings that are in the history: meter and epoch ms."""
        query = "SELECT name, ts FROM readings_raw JOIN meters ON meters.id = meter"
        return rows(self.history, query)

    def kept(self) -> set[tuple[str, int]]:
        """The readings that the bridge has in its journal by now."""
        return {(kept.meter, kept.ts) for kept in journaled(self.journal)}

    def wait_for_readings(self, more: int = 4) -> None:
        wanted = len(self.kept()) + more
        wait_until(lambda: len(self.kept()) >= wanted, what="readings in the journal")


def rows(path: Path, query: str) -> set[tuple[Any, ...]]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return set(database.execute(query).fetchall())
    except sqlite3.OperationalError:
        return set()
