"""Columns and views, in a database that anyone can read."""

import json
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import peewee

from contract.readings import Reading
from history import queries
from history.database import open_database
from history.readings_table import Writer
from tests.support.parts import require

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def reading(meter_id: str = "1", second: float = 0, **values: float) -> Reading:
    return Reading(meter_id, NOON + timedelta(seconds=second), values or {"power": 1.0})


def path_of(database: peewee.Database) -> Path:
    return Path(str(database.database))


def test_a_reader_sees_a_column_that_was_added_meanwhile(database: peewee.Database) -> None:
    writer = Writer(database)
    writer.write([reading(power=7.0)])
    with closing(open_database(f"sqlite:///{path_of(database)}", read_only=True)) as other:
        other.connect()
        assert queries.latest(other, "1") == reading(power=7.0)

        writer.write([reading(second=1, charge=2.0)])

        assert queries.latest(other, "1") == reading(second=1, charge=2.0)


def test_the_sqlite_command_line_shows_times_meters_and_units(database: peewee.Database) -> None:
    Writer(database).write([reading("esp1", 0.25, power=-1234.5, voltage=230.421)])
    program = require("sqlite3")

    answer = subprocess.check_output(
        [program, "-json", path_of(database), "SELECT time, meter, voltage, power FROM readings"]
    )

    assert json.loads(answer) == [
        {"time": "2026-11-22T12:00:00.250Z", "meter": "esp1", "voltage": 230.421, "power": -1234.5}
    ]
