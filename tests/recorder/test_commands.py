"""Commands of the recorder: what a person sees, and no traceback for a person's mistake."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import peewee
import pytest

from contract.readings import Reading
from history.database import migrate, open_database
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from recorder.__main__ import COMMANDS, main
from tests.support.disks import mount
from tests.support.parts import Part
from tests.support.postgresql import on_postgresql

HISTORY = "energy_meters.db"


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended, and its output."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `python -m recorder ...` in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIMEZONE", "Europe/Berlin")

    def run_command(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return run_command


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A history of two meters: three days, ten minutes apart, an hour of the second missing."""
    database = open_database(f"sqlite:///{tmp_path / HISTORY}")
    migrate(database)
    start = datetime(2026, 11, 19, tzinfo=UTC)
    readings = [
        Reading(meter, start + timedelta(minutes=10 * i), {"power": 100.0, "energy": i / 10})
        for i in range(3 * 144)
        for meter in ("1", "2")
        if meter == "1" or i % 144 not in range(50, 56)
    ]
    Writer(database).write(readings)
    assert Rollups(database).run(float("inf"))
    database.close()
    return tmp_path / HISTORY


def sql(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database, database:
        return database.execute(statement).fetchall()


def energy(path: Path) -> object:
    statement = "SELECT ROUND(SUM(delta) / 1000.0, 3) FROM rollup WHERE level = 1440 AND meter = 1"
    return sql(path, statement)[0][0]


@pytest.mark.usefixtures("history")
def test_status_shows_meters_levels_and_the_size_in_a_year(run: Run) -> None:
    result = run("status")

    assert result.code == 0
    assert "history since 2026-11-19 01:00:00" in result.out
    assert "1      2026-11-19 01:00:00  2026-11-22 00:50:00" in result.out
    assert "readings   30 days" in result.out
    assert "at this rate" in result.out.splitlines()[-1]
    assert "if every reading were kept" in result.out


@pytest.mark.parametrize("file", ["all.csv", "all.parquet", HISTORY])
def test_a_history_moves_to_another_place(
    run: Run, history: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    if file != HISTORY:
        assert run("export", file).out == f"{file}: 846 readings of 2 meters\n"
    monkeypatch.setenv("DATABASE_URL", "sqlite:///new.db")

    result = [run("import", file).out.splitlines()[0] for _ in range(2)]

    count = sql(history, "SELECT COUNT(*) FROM readings")[0][0]
    assert result == [
        f"{file}: {count} readings, {count} of them new, 0 known already",
        f"{file}: {count} readings, 0 of them new, {count} known already",
    ]
    for table in ("readings", "rollup"):
        everything = f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4"
        assert sql(history.with_name("new.db"), everything) == sql(history, everything)


@pytest.mark.usefixtures("history")
def test_a_range_of_one_meter_is_exported_by_the_local_day(run: Run) -> None:
    result = run(
        "export", "-", "--meter", "2", "--from", "2026-11-20", "--to", "2026-11-20T00:30:00",
        "--quantities", "energy",
    )  # fmt: skip

    assert result.out.splitlines() == [
        "ts,meter_id,energy",
        "2026-11-19T23:00:00.000Z,2,13.8",
        "2026-11-19T23:10:00.000Z,2,13.9",
        "2026-11-19T23:20:00.000Z,2,14.0",
    ]


def test_a_backup_is_a_whole_history_and_replaces_the_one_before(run: Run, history: Path) -> None:
    first = run("backup", "copy.db")
    sql(history, "DELETE FROM readings_raw WHERE meter = 2")
    second = run("backup", "copy.db")

    copy = history.with_name("copy.db")
    assert (first.code, second.code) == (0, 0)
    assert sql(copy, "SELECT COUNT(*) FROM readings") == [(432,)]
    assert sql(copy, "PRAGMA integrity_check") == [("ok",)]
    assert list(history.parent.glob("*.part")) == []


@pytest.mark.usefixtures("history")
def test_status_prints_the_same_as_json(run: Run) -> None:
    status = json.loads(run("status", "--json").out)

    assert status["database"].endswith(HISTORY)
    assert status["bytes"] > status["free_bytes"] >= 0
    assert status["begins"] == "2026-11-19T00:00:00.000Z"
    assert status["meters"][0] == {
        "meter_id": "1",
        "first_reading": "2026-11-19T00:00:00.000Z",
        "newest_reading": "2026-11-21T23:50:00.000Z",
    }
    assert [level["level"] for level in status["levels"]] == [
        "readings", "5 minutes", "quarters", "hours", "days",
    ]  # fmt: skip
    assert [level["kept_days"] for level in status["levels"]] == [30, 90, None, None, None]
    assert status["bytes_in_a_year_if_all_kept"] > status["bytes_in_a_year"] > 0


def test_status_knows_no_size_of_readings_that_are_not_counted_yet(
    run: Run, tmp_path: Path
) -> None:
    migrate(database := open_database(f"sqlite:///{tmp_path / HISTORY}"))
    start = datetime(2026, 11, 19, 12, tzinfo=UTC)
    for minute in range(8):
        ts = start + timedelta(minutes=minute)
        Writer(database).write([Reading("1", ts, {"power": 100.0, "energy": 5.0})])
    before, shown = json.loads(run("status", "--json").out), run("status").out
    assert Rollups(database).run(float("inf"))
    database.close()
    after = json.loads(run("status", "--json").out)

    assert (before["levels"][0]["rows"], before["bytes_in_a_year"]) == (None, None)
    assert "0 values" not in shown
    assert "the figures follow" in shown.splitlines()[-1]
    assert after["levels"][0]["rows"] == 16
    assert after["bytes_in_a_year"] > 0


def test_status_of_an_empty_history_has_every_key_as_json(run: Run, tmp_path: Path) -> None:
    migrate(database := open_database(f"sqlite:///{tmp_path / HISTORY}"))
    database.close()

    status = json.loads(run("status", "--json").out)

    assert (status["meters"], status["levels"], status["bytes_in_a_year"]) == ([], [], None)
    assert status["begins"] is None


def test_check_prints_the_same_as_json(run: Run, history: Path) -> None:
    sound = run("check", "--json")
    sql(history, "DELETE FROM rollup WHERE level = 1440 AND meter = 1")
    differing = run("check", "--json")

    assert (sound.code, differing.code) == (0, 1)
    found = json.loads(sound.out)
    assert (found["sound"], found["file_problems"]) == (True, [])
    assert found["rollups"] == {"days": 6, "differ": []}
    assert [day["day"] for day in found["gaps"]] == ["2026-11-19", "2026-11-20", "2026-11-21"]
    assert found["gaps"][0] == {
        "meter_id": "2",
        "day": "2026-11-19",
        "readings": 138,
        "gaps": 1,
        "longest_s": 4200.0,
        "missing_s": 3600.0,
        "usual_s": 600.0,
    }
    assert {"meter_id": "1", "day": "2026-11-19"} in json.loads(differing.out)["rollups"]["differ"]


def test_check_reports_a_sound_history_and_its_gaps(run: Run, history: Path) -> None:
    result = run("check")

    assert result.code == 0
    assert f"{history}: sound" in result.out
    assert "roll-ups: 6 days of readings compared, 0 differ" in result.out
    assert [line.split() for line in result.out.splitlines()[-3:]] == [
        ["2", day, "138", "10", "min", "1", "1.2", "h", "1.0", "h", "(4.2%)"]
        for day in ("2026-11-19", "2026-11-20", "2026-11-21")
    ]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE rollup SET max = max + 1 WHERE level = 5 AND bucket = 1763553600",
        "UPDATE rollup SET delta = delta + 1 WHERE level = 60 AND delta > 0 AND meter = 1",
        "DELETE FROM rollup WHERE level = 1440 AND meter = 1",
        "UPDATE readings_raw SET power = 5 WHERE meter = 1 AND ts < 1795132800000 + 86400000",
    ],
)
def test_wrong_roll_ups_are_found(run: Run, history: Path, damage: str) -> None:
    sql(history, damage.replace("1763553600", "(SELECT MIN(bucket) FROM rollup WHERE level = 5)"))

    result = run("check", "--meter", "1")

    assert result.code == 1
    assert "meter 1, 2026-11-19: roll-ups differ from the readings" in result.out


def test_totals_continue_when_a_meter_is_replaced(run: Run, history: Path) -> None:
    sql(history, "UPDATE readings_raw SET energy = energy + 5000000 WHERE ts > 1795262400000")
    wanted = 43.1 - 0.1  # what was counted between the two is not known

    result = [
        run("replace-meter", "1", "2026-11-21T13:05", "--new", "energy=5000") for _ in range(2)
    ]

    assert [each.code for each in result] == [0, 0]
    assert "meter 1: replaced at 2026-11-21T12:05:00.000Z" in result[0].out
    assert ["energy", "36.000", "5,036.100", "kWh"] in [
        x.split() for x in result[0].out.splitlines()
    ]
    assert energy(history) == pytest.approx(wanted + 36.1, abs=0.01)


def test_wrong_readings_are_void_until_that_is_undone(run: Run, history: Path) -> None:
    sql(history, "UPDATE readings_raw SET energy = 9000000 WHERE ts = 1795262400000 AND meter = 1")
    hour = ["--meter", "1", "--from", "2026-11-21T12:30", "--to", "2026-11-21T13:30"]
    assert run("void").out == "no readings are void\n"

    made = [run("void", *hour, "--why", "CT [reversed]") for _ in range(2)]

    assert [each.code for each in made] == [0, 0]
    assert "meter 1: 6 readings from 2026-11-21T11:30:00.000Z to" in made[0].out
    assert energy(history) == pytest.approx(43.1, abs=0.01)
    for shown in (run("void"), run("status"), run("check")):
        assert shown.code == 0
        assert "CT [reversed]" in shown.out
    void = {"meter_id": "1", "from": "2026-11-21T11:30:00.000Z", "to": "2026-11-21T12:30:00.000Z"}
    for command in ("status", "check"):
        (found,) = json.loads(run(command, "--json").out)["voids"]
        assert found.items() >= void.items()
        assert found["undone"] is None

    undone = [run("void", *hour, "--undo") for _ in range(2)]

    assert "meter 1: 1 void undone, the readings count again" in undone[0].out
    assert "meter 1: nothing is void between these times" in undone[1].out
    assert energy(history) > 8000
    assert json.loads(run("status", "--json").out)["voids"] == []
    (record,) = json.loads(run("void", "--json").out)
    assert record["undone"] is not None


@on_postgresql
def test_a_history_moves_to_postgresql(
    database: peewee.Database,
    postgresql: str,
    run: Run,
    history: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("export", "here.csv")
    database.close()
    monkeypatch.setenv("DATABASE_URL", postgresql)

    result = [run(*words.split()) for words in ("import here.csv", "status", "check")]
    run("export", "there.csv", "--quantities", "voltage,current,power,energy")

    assert [each.code for each in result] == [0, 0, 0]
    assert "roll-ups: 6 days of readings compared, 0 differ" in result[2].out
    here, there = (history.with_name(f"{name}.csv").read_text() for name in ("here", "there"))
    assert here == there
    assert "pg_dump" in run("backup").err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["stats"], 2, "unknown command 'stats'; did you mean status?"),
        (["import", "nothing.csv"], 1, "nothing.csv: cannot be read: No such file or directory"),
        (["import", "."], 1, ".: cannot be read: Is a directory"),
        (["import", HISTORY, "--zone", "Mars"], 2, "'Mars' is not a time zone"),
        (["import", HISTORY, "--map", "a=b"], 2, "--map a=b: should be entity=meter/quantity"),
        (["export", "no/such/x.csv"], 1, "no/such/x.csv: cannot be written: No such file"),
        (["export", "x.csv", "--from", "soon"], 2, "'soon': should be a day or a time"),
        (
            ["export", "x.csv", "--meter", "9"],
            1,
            "meter 9: has no history; meters with history: 1, 2",
        ),
        (["export", "x.csv", "--quantities", "x"], 2, "--quantities: 'x' is not a quantity"),
        (["backup", HISTORY], 1, "is the history itself; name another file"),
        (
            ["backup", "no/such/x.db"],
            1,
            "no/such/x.db: cannot be written: No such file or directory",
        ),
        (["replace-meter", "9", "2026-11-20"], 1, "meter 9: has no history"),
        (["replace-meter", "1", "2020-01-01"], 1, "meter 1: its history begins later"),
        (["replace-meter", "1", "2026-11-20", "--old", "power=1"], 2, "'power' is not a counter"),
        (["replace-meter", "1", "2026-11-20", "--old", "energy=nan"], 2, "should be from 0 to"),
        (["replace-meter", "1", "2026-11-20", "--new", "energy=1e99"], 2, "should be from 0 to"),
        (["void", "--meter", "1", "--from", "2026-11-20"], 2, "--to, --why: is missing"),
        (["void", "--undo"], 2, "--meter, --from, --to: is missing"),
        (
            ["void", "--meter", "1", "--from", "2026-11-20", "--to", "2026-11-20", "--why", "x"],
            2,
            "--from 2026-11-20: should be before --to 2026-11-20",
        ),
        (
            ["void", "--meter", "9", "--from", "2026-11-20", "--to", "2026-11-21", "--why", "x"],
            1,
            "meter 9: has no history",
        ),
    ],
)
@pytest.mark.usefixtures("history")
def test_a_mistake_ends_in_one_sentence(
    run: Run, arguments: list[str], code: int, message: str
) -> None:
    result = run(*arguments)

    assert result.code == code
    assert len(result.err.splitlines()) == 1
    assert message in result.err


@pytest.mark.parametrize("command", [["status"], ["export", "x.csv"], ["backup"], ["check"]])
def test_a_missing_or_foreign_history_ends_in_one_sentence(
    run: Run, tmp_path: Path, command: list[str]
) -> None:
    nothing = run(*command)
    (tmp_path / HISTORY).write_text("what is this? " * 100)
    no_database = run(*command)
    (tmp_path / HISTORY).unlink()
    sql(tmp_path / HISTORY, "CREATE TABLE songs (title TEXT)")
    others = run(*command)

    assert [each.code for each in (nothing, no_database, others)] == [1, 1, 1]
    assert "the file does not exist" in nothing.err
    assert "file is not a database" in no_database.err
    assert "holds another program's tables (songs)" in others.err


@pytest.mark.parametrize("command", [["status"], ["import", "x.csv"], ["backup"]])
def test_a_history_of_a_newer_version_is_left_alone(
    run: Run, history: Path, command: list[str]
) -> None:
    history.with_name("x.csv").write_text("ts,meter_id,power\n1,1,1\n")
    sql(history, "UPDATE schema_migration SET name = '9999_later' WHERE name LIKE '0002%'")

    result = run(*command)

    assert result.code == 1
    assert "was prepared by a newer version (9999_later); update this program" in result.err


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a small disk")
@pytest.mark.parametrize("command", [["export", "disk/x.csv"], ["backup", "disk/x.db"]])
def test_a_full_disk_ends_in_one_sentence_and_leaves_nothing(
    run: Run, history: Path, command: list[str]
) -> None:
    disk = history.with_name("disk")
    disk.mkdir()
    if not mount(disk, 16 * 1024):
        pytest.skip("this machine lets nobody mount")
    try:
        result = run(*command)
        left = list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)

    assert result.code == 1
    assert f"{command[1]}: cannot be written: " in result.err
    assert left == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(run: Run, command: str) -> None:
    result = run(command, "--help")

    assert result.code == 0
    assert "DATABASE_URL" in result.out
    assert command in run("--help").out


def test_parquet_without_its_library_is_a_settings_error(
    run: Run, history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "history.exchange.parquet_files", None)

    result = run("export", "x.parquet")

    assert result.code == 2
    assert "Parquet needs pyarrow" in result.err
    assert not history.with_name("x.parquet.part").exists()


def test_what_leaves_the_table_can_still_be_exported(
    tmp_path: Path, broker_port: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(f"sqlite:///{tmp_path / HISTORY}")
    migrate(database)
    old = datetime.now(UTC) - timedelta(days=100)
    Writer(database).write(
        [Reading("1", old + timedelta(seconds=i), {"power": float(i)}) for i in range(500)]
    )
    database.close()
    settings = {"ARCHIVE_DIRECTORY": "archive", "MQTT_PORT": broker_port}

    with Part.module("recorder", directory=tmp_path, **settings) as recorder:
        recorder.wait_for("history: retention deleted")
    monkeypatch.setenv("ARCHIVE_DIRECTORY", "archive")
    result = run("export", "all.csv")

    assert result.out == "all.csv: 500 readings of 1 meter\n"
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 501


def test_check_reports_a_value_of_another_type(run: Run, history: Path) -> None:
    sql(history, "UPDATE meters SET retention_watermark = x'00' WHERE id = 1")

    result = run("check")

    assert result.code == 1
    assert "holds a value that no program has written" in result.err
    assert "restore a backup" in result.err
