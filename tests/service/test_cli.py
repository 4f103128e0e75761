"""Commands of a program: dispatch, exit codes, and the list in --help."""

import sys
from types import ModuleType

import pytest

from service.cli import Command, command_parser, commands_help, run_command, run_program
from service.settings import Settings

COMMANDS = {
    "count": Command("command_of_the_test", "count something"),
    "interrupt": Command("interrupted_command", "be interrupted"),
}


@pytest.fixture(autouse=True)
def _commands(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_arguments: object) -> int:
        raise KeyboardInterrupt

    for name, main in (("command_of_the_test", len), ("interrupted_command", interrupted)):
        module = ModuleType(name)
        vars(module)["main"] = main
        monkeypatch.setitem(sys.modules, name, module)


def exit_of(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        run_program("part", "Do something.", Settings, lambda _settings: None, COMMANDS, arguments)
    return ended.value.code


def test_a_command_gets_its_arguments_and_gives_the_exit_code() -> None:
    assert exit_of("count", "a", "b", "--c") == 3
    assert exit_of("interrupt") == 130


def test_an_unknown_command_is_answered_with_the_closest_or_with_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_of("cuont") == 2
    assert exit_of("xyz") == 2

    assert capsys.readouterr().err.splitlines() == [
        "part: unknown command 'cuont'; did you mean count?",
        "part: unknown command 'xyz'; the commands are count, interrupt",
    ]


def test_without_a_command_the_service_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of() == 0
    assert exit_of("--help") == 0

    shown = capsys.readouterr().out
    assert commands_help(COMMANDS) in shown
    assert "MQTT_HOST" in shown


def test_a_command_without_a_program_ends_by_its_code() -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(COMMANDS, "count", ["a"])

    assert ended.value.code == 1


def test_the_help_of_a_command_names_it_as_a_person_types_it() -> None:
    text = command_parser("count", "Count something.", "More.").format_help()

    assert text.startswith("usage: meterflow count")
    assert text.rstrip().endswith("More.")
