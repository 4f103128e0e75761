"""`meterflow reading`: a person enters what the utility's meter shows, and sees the drift."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.readings import Reading
from history.database import migrate, open_database
from history.readings_table import Writer
from history.rollups.rollups import Rollups
from recorder.__main__ import main

START = datetime(2026, 10, 1, tzinfo=UTC)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `meterflow reading ...` on a history of three days with 1 kWh an hour."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIMEZONE", "Europe/Berlin")
    database = open_database(f"sqlite:///{tmp_path}/energy_meters.db")
    migrate(database)
    Writer(database).write(
        Reading("main", START + timedelta(minutes=10 * n), {"energy": round(5000 + n / 6, 3)})
        for n in range(3 * 144)
    )
    assert Rollups(database).run(float("inf"))
    database.close()

    def run_command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["reading", *arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run_command


def enter(run: Run, at: str, value: str, *more: str) -> tuple[int, str, str]:
    return run("--meter", "main", "--at", at, "--value", value, *more)


def test_a_second_entry_shows_the_drift_since_the_first(run: Run) -> None:
    assert enter(run, "2026-10-01T12:00", "777.5")[0] == 0

    code, out, _ = enter(run, "2026-10-03T12:00", "825")

    assert code == 0
    assert "meter main: the import of 2026-10-03T10:00:00.000Z is entered, 825.000 kWh" in out
    first, second = (line.split() for line in out.splitlines() if "2026-10-0" in line[:30])
    assert first[-5:] == ["777.500", "5,010.000", "-", "-", "-"]
    assert second[-8:] == [
        "825.000", "5,058.000", "47.500", "48.000", "+0.500", "kWh", "(+1.05", "%)",
    ]  # fmt: skip


def test_entries_are_listed_as_json_and_removed(run: Run) -> None:
    for at, value in (("2026-10-01T12:00", "10"), ("2026-10-02T12:00", "34")):
        enter(run, at, value)
        enter(run, at, "5", "--export")

    code, out, _ = run("--list", "--meter", "main", "--json")
    listed = json.loads(out)

    assert code == 0
    assert [each["register"] for each in listed] == ["import", "import", "export", "export"]
    assert (listed[1]["by_utility"], listed[1]["by_meter"], listed[1]["drift"]) == (24, 24, 0)
    assert listed[1]["since"] == "2026-10-01T10:00:00.000Z"

    for at in ("2026-10-01T12:00", "2026-10-02T12:00"):
        assert "is removed" in run("--remove", "--meter", "main", "--at", at)[1]
    again = run("--remove", "--meter", "main", "--at", "2026-10-01T12:00")

    assert "is not there; nothing is removed" in again[1]
    assert [each["register"] for each in json.loads(run("--json")[1])] == ["export", "export"]


def test_an_entry_long_after_our_last_reading_says_so(run: Run) -> None:
    _, out, _ = enter(run, "2026-10-05T12:00", "100")

    assert "our last reading is 1.4 d older; the drift lacks what came after it" in out


def test_a_lower_entry_asks_whether_the_meter_was_replaced(run: Run) -> None:
    enter(run, "2026-10-01T12:00", "100")

    _, out, _ = enter(run, "2026-10-02T12:00", "10")

    assert "lower than the entry before; was the utility's meter replaced?" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--value", "5"], "--meter: is missing"),
        (["--remove", "--meter", "main"], "--at: is missing"),
        (["--list", "--value", "5", "--meter", "main"], "--value: not with --list or --remove"),
        (["--value", "12,5", "--meter", "main"], "--value 12,5: should be a number of kWh"),
        (["--value", "nan", "--meter", "main"], "--value nan: should be from 0 to"),
        (["--value", "-1", "--meter", "main"], "--value -1: should be from 0 to"),
        (["--value", "1", "--meter", "main", "--at", "soon"], "'soon': should be a day or a time"),
        (["--value", "1", "--meter", "main", "--at", "2126-01-01"], "is in the future"),
    ],
)
def test_a_mistake_ends_in_one_line(run: Run, arguments: list[str], message: str) -> None:
    code, _, error = run(*arguments)

    assert code == 2
    assert message in error
    assert "Traceback" not in error


def test_an_entry_needs_a_meter_with_history(run: Run) -> None:
    code, _, error = run("--value", "1", "--meter", "9")

    assert (code, error) == (1, "meterflow reading: meter 9: has no history\n")


def test_a_history_without_entries_says_so(run: Run) -> None:
    assert run() == (0, "no readings of the utility's meter are entered\n", "")
