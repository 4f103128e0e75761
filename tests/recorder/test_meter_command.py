"""`meterflow meter`: what a person sets, and sees."""

import json
from pathlib import Path

import pytest

from tests.recorder.test_commands import Run, sql
from tests.recorder.test_commands import history as history  # a fixture
from tests.recorder.test_commands import run as run  # a fixture

pytestmark = pytest.mark.usefixtures("history")


def test_what_is_set_is_shown_with_its_source(run: Run, history: Path) -> None:
    sql(history, "UPDATE meters SET info_title = 'Meter 2', info_parent = '1' WHERE name = '2'")

    result = run("meter", "2", "--role", "consumer", "--name", "Heat pump")

    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert ["role", "consumer", "this", "command"] in lines
    assert ["name", "Heat", "pump", "this", "command"] in lines
    assert ["parent", "1", "its", "info"] in lines
    assert ["billing", "-"] in lines
    assert run("meter", "2").out == result.out


def test_without_an_id_all_meters_are_listed(run: Run) -> None:
    run("meter", "1", "--role", "grid", "--billing", "netted")
    run("meter", "2", "--parent", "1", "--name", "Cellar", "--serial", "48211")

    text, found = run("meter"), json.loads(run("meter", "--json").out)

    assert [line.split() for line in text.out.splitlines()] == [
        ["meter", "role", "parent", "name", "billing", "serial"],
        ["1", "grid", "-", "-", "netted", "-"],
        ["2", "-", "1", "Cellar", "-", "48211"],
    ]
    assert found[1] == {
        "meter_id": "2", "role": None, "parent": "1", "name": "Cellar", "billing": None,
        "serial": "48211",
        "set": {
            "role": None, "parent": "1", "name": "Cellar", "billing": None, "serial": "48211",
        },
        "info": {"role": None, "parent": None, "name": None, "billing": None, "serial": None},
    }  # fmt: skip


def test_cleared_settings_are_those_of_the_info_again(run: Run, history: Path) -> None:
    sql(history, "UPDATE meters SET info_title = 'Meter 2' WHERE name = '2'")
    run("meter", "2", "--role", "consumer", "--name", "Heat pump", "--parent", "1")

    run("meter", "2", "--clear", "name")
    after_name = json.loads(run("meter", "2", "--json").out)
    run("meter", "2", "--clear")
    after_all = json.loads(run("meter", "2", "--json").out)

    assert (after_name["name"], after_name["role"], after_name["parent"]) == (
        "Meter 2", "consumer", "1",
    )  # fmt: skip
    assert (after_all["name"], after_all["role"], after_all["parent"]) == ("Meter 2", None, None)


def test_clearing_the_rest_keeps_what_is_set_at_once(run: Run) -> None:
    run("meter", "2", "--role", "consumer", "--parent", "1")

    found = json.loads(run("meter", "2", "--role", "storage", "--clear", "--json").out)

    assert (found["role"], found["parent"]) == ("storage", None)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["22", "--role", "grid"], 1, "meter '22' has no history; did you mean 2?"),
        (["kitchen"], 1, "meter 'kitchen' has no history"),
        (["2", "--role", "gird"], 2, "--role: should be 'grid', 'production', 'storage' or"),
        (["2", "--parent", "9"], 2, "--parent: '9' has no history"),
        (["2", "--parent", "2"], 2, "--parent: '2' leads back to the meter itself (2 → 2)"),
        (["2", "--parent", "a b"], 2, "--parent: should be 1 to 32 letters"),
        (["2", "--billing", "net"], 2, "--billing: should be 'per_phase' or 'netted'"),
        (["2", "--name", ""], 2, "--name: should have at least 1 character"),
        (["2", "--name", "x" * 101], 2, "--name: should have at most 100 characters"),
    ],
)
def test_a_mistake_ends_in_one_sentence(
    run: Run, arguments: list[str], code: int, message: str
) -> None:
    result = run("meter", *arguments)

    assert (result.code, len(result.err.splitlines())) == (code, 1)
    assert message in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--role", "grid"], "ID: is missing"),
        (["2", "--role", "grid", "--clear", "role"], "--role: is set and cleared at once"),
        (["2", "--clear", "roll"], "invalid choice: 'roll'"),
    ],
)
def test_a_contradiction_is_refused(run: Run, arguments: list[str], message: str) -> None:
    result = run("meter", *arguments)

    assert result.code == 2
    assert message in result.err
