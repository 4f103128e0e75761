"""The terminal of a command: tables, amounts, and JSON for a script."""

import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from service.terminal import Screen, amount, clock, size, span, table


def test_a_person_sees_text_and_tables_and_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    shown = table("meter", ">count", title="Meters")
    shown.add_row("kitchen", "12")
    with screen.progress("counting") as advance:
        advance(0.5)
    screen.say("done")
    screen.show(shown)
    screen.outcome({"count": 12})

    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["done", "Meters", "meter    count", "kitchen     12"]


def test_foreign_text_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    foreign = "[red]\x1b[2J\u202e"
    screen = Screen()
    shown = table("meter", title=foreign)
    shown.add_row(foreign)
    screen.say(foreign)
    screen.show(shown)
    Screen(as_json=True).outcome(foreign)

    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    text = r"[red]\x1b[2J\u202e"
    assert lines == [text, text, "meter", text, r'"[red]\u001b[2J\u202e"']


def test_a_script_sees_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(as_json=True)
    screen.say("done")
    screen.show(table("meter"))
    screen.outcome({"name": "Küche"})

    shown = capsys.readouterr()
    assert (json.loads(shown.out), shown.err) == ({"name": "Küche"}, "")


def test_numbers_are_shown_as_people_write_them() -> None:
    assert [size(n) for n in (0, 999, 1000, 12_345, 1.5e6, 2e12)] == [
        *("0 B", "999 B", "1.0 kB", "12 kB", "1.5 MB", "2.0 TB")
    ]
    assert [span(n) for n in (5, 90, 5400, 36_000, 200_000)] == [
        *("5 s", "1.5 min", "1.5 h", "10 h", "2.3 d")
    ]
    assert [amount(n, "reading") for n in (0, 1, 2000)] == [
        *("0 readings", "1 reading", "2,000 readings")
    ]
    berlin = ZoneInfo("Europe/Berlin")
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert [clock(each, berlin) for each in (moment, None)] == ["2026-07-01 14:00:00", "-"]
