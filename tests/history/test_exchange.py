"""Import and export: exported readings are imported unchanged, and a second time does no harm."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.quantities import BY_NAME
from contract.readings import Reading
from history import queries
from history.database import migrate, open_database
from history.dialect import fetch
from history.errors import StorageError
from history.exchange import importing
from history.exchange.archive import Archive, merged_rows
from history.exchange.batches import Batch
from history.exchange.csv_files import CsvWriter
from history.exchange.files import new_file, source_of
from history.exchange.importing import Import, Outcome
from history.exchange.parquet_files import ParquetWriter
from history.exchange.sqlite_files import _HOME_ASSISTANT_NAMES, HomeAssistantSource
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.levels import DAY
from history.rollups.rollups import Rollups
from history.tables import Meter, read_meter, read_meters, stored_quantities
from tests.support.parts import ROOT
from tests.support.postgresql import BOTH

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DATABASES = BOTH
KINDS = ("csv", "parquet")


def reading(seconds: float, meter_id: str = "1", **values: float) -> Reading:
    return Reading(meter_id, NOON + timedelta(seconds=seconds), values)


def at(days_ago: float, energy: float, meter_id: str = "1") -> Reading:
    return reading(-86_400 * days_ago, meter_id, energy=energy)


def export(database: peewee.Database, path: Path, archive: Archive | None = None) -> None:
    names = stored_quantities(database)
    with new_file(path, text=path.suffix == ".csv") as file:
        writer = (CsvWriter if path.suffix == ".csv" else ParquetWriter)(file, names)
        for meter in read_meters(database):
            rows = list(merged_rows(database, archive, meter, names, 0, 2**62))
            writer.write(Batch(meter.name, names, rows))
        writer.close()


def bring_in(database: peewee.Database, path: Path, **how: object) -> Outcome:
    return Import(database).run(source_of(path, **how))  # type: ignore[arg-type]


def write(database: peewee.Database, readings: Iterable[Reading]) -> None:
    Writer(database).write(readings)
    assert Rollups(database).run(float("inf"))


def put_away(database: peewee.Database, directory: Path) -> Archive:
    archive = Archive(directory)
    list(Retention(database, Keep(raw=30), archive).steps(NOON.timestamp()))
    return archive


def total(database: peewee.Database) -> float:
    rows = fetch(database, "SELECT SUM(delta) FROM rollup WHERE level = ?", (DAY,))
    return float(rows[0][0] or 0) / 1000


def count(database: peewee.Database) -> int:
    return int(fetch(database, "SELECT COUNT(*) FROM readings_raw")[0][0])


def meter(database: peewee.Database) -> Meter:
    found = read_meter(database, "1")
    assert found
    return found


def other(path: Path) -> peewee.Database:
    """Return an empty history beside the one of the test."""
    opened = open_database(f"sqlite:///{path}")
    migrate(opened)
    return opened


# -- files of ours -----------------------------------------------------------------------------

numbers = st.integers(-(10**9), 10**9).map(lambda value: value / 1000)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from("12"), numbers), min_size=1))
def test_what_is_exported_comes_back_the_same(
    tmp_path: Path, kind: str, drawn: list[tuple[int, str, float]]
) -> None:
    for old in tmp_path.glob("*.db*"):
        old.unlink()
    source = other(tmp_path / "a.db")
    Writer(source).write([Reading(m, NOON + timedelta(milliseconds=t), {"power": p, "energy": 1.5})
                          for t, m, p in drawn])  # fmt: skip
    wanted = queries.readings(source, limit=1000)
    export(source, tmp_path / f"all.{kind}")
    source.close()

    target = other(tmp_path / "b.db")
    first = bring_in(target, tmp_path / f"all.{kind}")
    again = bring_in(target, tmp_path / f"all.{kind}")

    assert queries.readings(target, limit=1000) == wanted
    assert (first.stored, again.stored, again.known) == (len(wanted), 0, len(wanted))
    target.close()


def test_a_group_may_read_the_archive(database: peewee.Database, tmp_path: Path) -> None:
    write(database, [at(days, 1.0) for days in range(90, 0, -1)])

    put_away(database, tmp_path / "archive")

    modes = {p.suffix: p.stat().st_mode & 0o777 for p in (tmp_path / "archive").rglob("*")}
    assert modes == {"": 0o750, ".parquet": 0o640}


def test_parquet_takes_a_fraction_of_the_table(database: peewee.Database, tmp_path: Path) -> None:
    write(database, [reading(i, power=100 + i % 7, voltage=230 + i % 5 / 10) for i in range(9000)])
    rows = count(database)

    export(database, tmp_path / "all.parquet")

    assert (tmp_path / "all.parquet").stat().st_size / rows / 2 < 1.7


def test_a_file_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("before")

    def break_off() -> None:
        with new_file(path, text=True) as file:
            file.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


# -- files of others ---------------------------------------------------------------------------


def test_a_table_of_another_program_is_imported(database: peewee.Database, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("Time,Power,note,energy\n2026-03-01 12:00:00,1.5,a,\n1772366460,2,b,7\n")

    outcome = bring_in(database, path, meter="old", zone=ZoneInfo("Europe/Berlin"))

    found = [(f"{r.ts:%H:%M}", dict(r.values)) for r in queries.readings(database, "old")]
    assert found == [("12:01", {"power": 2.0, "energy": 7.0}), ("11:00", {"power": 1.5})]
    assert (outcome.given, outcome.stored) == (2, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("power\n1\n", "has no column ts, time or timestamp"),
        ("ts,power\n", "has no column meter_id; name the meter with --meter"),
        ("ts,meter_id,watts\n", "has no column named after a quantity, such as power"),
        ("ts,meter_id,power\n2026,1,1\nsoon,1,1\n", "line 3: not a time: 'soon'"),
        ("ts,meter_id,power\n1,1,1\n1,1,much\n", "line 3: could not convert"),
        ("ts,meter_id,power\n1,1,9e99\n", "line 2: power: 9e+99 is outside"),
        ("ts,meter_id,power\n1,1,nan\n", "line 2: power: nan is outside"),
        ("ts,meter_id,power\n1,two words,1\n", "line 2: not a meter id: 'two words'"),
        ("ts,meter_id,power\n1,1\n", "line 2: too few columns"),
        ("\xff\xfe\0\0", "beginning: 'utf-8' codec can't decode"),
        ("PAR1 and then nonsense", "cannot be read as Parquet"),
        ("SQLite format 3\0 and then nonsense", "cannot be read as SQLite: file is not a database"),
    ],
)
def test_the_error_for_a_wrong_file_names_its_line(
    database: peewee.Database, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "wrong.csv"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(StorageError) as caught:
        bring_in(database, path)

    assert str(caught.value).startswith(f"{path}")
    assert message in str(caught.value)


def sqlite_file(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as made, made:
        for statement in statements:
            made.execute(statement)
    return path


def test_the_table_of_a_simple_logger_is_imported(
    database: peewee.Database, tmp_path: Path
) -> None:
    path = sqlite_file(
        tmp_path / "old.db",
        "CREATE TABLE smart_meter (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE meter_readings (id INTEGER PRIMARY KEY, meter_id INTEGER, "
        "timestamp DATETIME, voltage FLOAT, current FLOAT, power FLOAT, energy FLOAT)",
        "INSERT INTO meter_readings VALUES (1, 3, '2025-03-01 10:00:00.123456', 230.5, NULL, 7, 1)",
    )

    outcomes = [bring_in(database, path).stored for _ in range(2)]

    assert outcomes == [1, 0]
    assert queries.readings(database, "3") == [
        Reading(
            "3",
            datetime(2025, 3, 1, 10, 0, 0, 123_000, tzinfo=UTC),
            {"voltage": 230.5, "power": 7.0, "energy": 1.0},
        )
    ]


def home_assistant(path: Path) -> Path:
    start = 1_772_366_400  # 2026-03-01 12:00
    rows = ", ".join(f"(1, {start + h * 3600}, 0.5, NULL, NULL), "
                     f"(2, {start + h * 3600}, NULL, {1000 + h}, {h})"
                     for h in range(3))  # fmt: skip
    return sqlite_file(
        path,
        "CREATE TABLE statistics_meta (id INTEGER PRIMARY KEY, statistic_id TEXT, "
        "unit_of_measurement TEXT)",
        "CREATE TABLE statistics (metadata_id INTEGER, start_ts FLOAT, mean FLOAT, state FLOAT, "
        "sum FLOAT)",
        "INSERT INTO statistics_meta VALUES (1, 'sensor.meter_7_power', 'kW'), "
        "(2, 'sensor.boiler', 'Wh'), (3, 'sensor.outside', '°C')",
        f"INSERT INTO statistics VALUES {rows}, (3, {start}, 21, NULL, NULL)",
    )


def test_an_import_lets_others_write_between_its_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "energy_meters.db"
    imported = tmp_path / "readings.csv"
    rows = (f"{1_795_000_000 + 60 * n},1,{n}" for n in range(3 * importing.MOST_ROWS))
    imported.write_text("\n".join(["ts,meter_id,power", *rows]))
    written = 0

    def write(_: float) -> None:
        nonlocal written
        other.execute("UPDATE meters SET serial = serial")  # fails where the lock is held
        written += 1

    monkeypatch.setattr(importing, "WORK_S", 0.0)
    monkeypatch.setattr("time.sleep", write)
    with closing(open_database(f"sqlite:///{path}")) as database:
        migrate(database)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            assert bring_in(database, imported).stored == 3 * importing.MOST_ROWS
            between_rows, written = written, 0
            Import(database).roll_up()

    assert between_rows >= 3
    assert written >= 3


def test_statistics_of_home_assistant_are_imported(
    database: peewee.Database, tmp_path: Path
) -> None:
    path = home_assistant(tmp_path / "home-assistant_v2.db")
    source = source_of(path, names={"sensor.boiler": "boiler/energy"})

    outcome = Import(database).run(source)

    assert outcome.stored == 6
    assert [dict(r.values) for r in queries.readings(database, "7")] == [{"power": 500.0}] * 3
    assert [(f"{r.ts:%H:%M:%S}", dict(r.values)) for r in queries.readings(database, "boiler")] == [
        ("14:59:59", {"energy": 1.002}),
        ("13:59:59", {"energy": 1.001}),
        ("12:59:59", {"energy": 1.0}),
    ]
    assert any("sensor.outside: left out" in note for note in source.notes)


# -- what retention has deleted -----------------------------------------------------------------


def test_older_years_are_filled_in_before_the_retention_watermark(
    database: peewee.Database, tmp_path: Path
) -> None:
    write(database, [at(day, 1000 - day) for day in range(100, 0, -1)])
    list(Retention(database).steps(NOON.timestamp()))
    before = total(database)
    path = tmp_path / "old.csv"
    lines = [f"{at(day, 0).ts.isoformat()},1,{1000 - day}" for day in range(400, 50, -1)]
    path.write_text("\n".join(["ts,meter_id,energy", *lines]))

    first = bring_in(database, path)
    assert Rollups(database).run(float("inf"))
    list(Retention(database).steps(NOON.timestamp()))
    again = bring_in(database, path)
    assert Rollups(database).run(float("inf"))

    assert (first.stored, first.too_old) == (300, 50)
    assert (again.stored, again.too_old) == (0, 350)
    assert total(database) == before + 299


def test_old_days_of_several_meters_are_filled_in_while_a_recorder_rolls_them_up(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for meter_id in "12":
        write(database, [at(day, 1000 - day, meter_id) for day in range(99, 0, -1)])
    list(Retention(database).steps(NOON.timestamp()))
    path = tmp_path / "old.csv"
    minutes = [at(200 - minute / 1440, 0).ts.isoformat() for minute in range(3 * 1440)]
    lines = [f"{ts},{meter_id},5" for ts in minutes for meter_id in "12"]
    path.write_text("\n".join(["ts,meter_id,power", *lines]))
    store = Writer.write_rows

    def and_roll_up(writer: Writer, *batch: Any) -> int:
        stored = store(writer, *batch)
        assert Rollups(database).run(float("inf"))
        return stored

    monkeypatch.setattr(Writer, "write_rows", and_roll_up)

    outcome = bring_in(database, path)

    assert (outcome.stored, outcome.too_old) == (len(lines), 0)


def test_a_line_without_any_value_is_no_reading(database: peewee.Database, tmp_path: Path) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text("ts,meter_id,power,energy\n1700000000,1,5,\n1700000001,1,,\n1700000002,1,,7\n")

    outcome = bring_in(database, path)

    assert (outcome.given, outcome.stored) == (2, 2)
    found = [each.values for each in queries.readings(database, "1")]
    assert sorted(found, key=str) == [{"energy": 7.0}, {"power": 5.0}]


def test_imported_readings_are_not_deleted_before_they_are_rolled_up(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(database, [at(100, 1.0), at(99, 2.0), at(1, 3.0)])
    retention = Retention(database)
    writer = Writer(database, fill_in=True)
    predecessors = retention._predecessors

    def and_meanwhile_more(meter: int, end: int) -> set[int]:
        writer.write([at(200, 0.5)])
        return predecessors(meter, end)

    monkeypatch.setattr(retention, "_predecessors", and_meanwhile_more)
    list(retention.steps(NOON.timestamp()))

    assert at(200, 0.5).ts in [r.ts for r in queries.readings(database, "1")]


# -- the archive -------------------------------------------------------------------------------


def test_what_leaves_the_table_stands_in_the_archive(
    database: peewee.Database, tmp_path: Path
) -> None:
    sent = [at(day / 2, 1000 - day) for day in range(240, 0, -1)]
    write(database, sent)

    archive = put_away(database, tmp_path)

    files = [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.glob("*/*.parquet"))]
    assert files == ["1/2026-07.parquet", "1/2026-08.parquet", "1/2026-09.parquet"]
    rows = list(merged_rows(database, archive, meter(database), ("energy",), 0, 2**62))
    assert rows == [(round(r.ts.timestamp() * 1000), r.values["energy"] * 1000) for r in sent]
    assert count(database) == len([r for r in sent if r.ts.month >= 10]) + 1


def test_the_archive_is_written_once(database: peewee.Database, tmp_path: Path) -> None:
    write(database, [at(day, 1000 - day) for day in range(120, 0, -1)])
    put_away(database, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}

    put_away(database, tmp_path)

    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")} == files


def test_a_month_that_gets_more_later_has_a_second_file(
    database: peewee.Database, tmp_path: Path
) -> None:
    write(database, [at(day, 1000 - day) for day in range(120, 0, -2)])
    put_away(database, tmp_path)
    Writer(database, fill_in=True).write([at(day, 1000 - day) for day in range(119, 90, -2)])
    assert Rollups(database).run(float("inf"))

    archive = put_away(database, tmp_path)

    rows = list(merged_rows(database, archive, meter(database), ("energy",), 0, 2**62))
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})
    assert len(rows) == 60 + 15
    assert [path.name for path in archive.months("1")[0].files] == [
        "2026-07.2.parquet",
        "2026-07.parquet",
    ]


def test_an_archive_that_cannot_be_written_keeps_the_readings(
    database: peewee.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(database, [at(day, 1000 - day) for day in range(120, 0, -1)])
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))

    with pytest.raises(StorageError, match="cannot be written: No space left"):
        put_away(database, tmp_path)

    assert count(database) == 120
    assert list(tmp_path.glob("1/*")) == []


def test_the_end_of_an_entity_id_is_its_quantity(tmp_path: Path) -> None:
    source = HomeAssistantSource(tmp_path / "unused.db")
    ends = {name: name for name in BY_NAME} | _HOME_ASSISTANT_NAMES

    found = {end: source._place(f"sensor.house_{end}") for end in ends}

    assert found == {end: ("house", name) for end, name in ends.items()}


def test_imports_depend_on_names_and_on_no_label() -> None:
    files = set((ROOT / "history").rglob("*.py"))
    people_read = {ROOT / "history" / "exchange" / "statement_files.py"}
    sources = [path.read_text() for path in files - people_read]

    assert not [text for text in sources if ".label" in text]
    assert set(_HOME_ASSISTANT_NAMES.values()) <= set(BY_NAME)
