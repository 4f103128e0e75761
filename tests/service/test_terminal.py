"""The terminal of a command: tables, and JSON for a script."""

import json

import pytest

from service.terminal import Screen, table


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
