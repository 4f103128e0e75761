"""Commands of a program: the table of them, the dispatcher, the parser that each begins with.

The exit codes of commands are those of every program: `service/lifecycle.py` has them.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn, TypeVar

from service.errors import SettingsError
from service.lifecycle import INTERRUPTED, leave
from service.program import misspelt_settings, run_service
from service.settings import Settings
from service.spelling import did_you_mean

S = TypeVar("S", bound=Settings)


class Command(NamedTuple):
    """A command: the module whose `main` runs it, and its purpose as --help shows it."""

    module: str
    purpose: str


def run_program(
    name: str,
    purpose: str,
    settings_class: type[S],
    run: Callable[[S], None],
    commands: Mapping[str, Command],
    arguments: Sequence[str] | None = None,
) -> None:
    """Run one command where the arguments begin with its name, else the service, and exit."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and not words[0].startswith("-"):
        program = f"meterflow {words[0]}" if words[0] in commands else name
        for problem in misspelt_settings(settings_class):
            sys.stderr.write(f"{program}: {problem}\n")
        leave(program, lambda: run_command(commands, words[0], words[1:]))
    run_service(name, f"{purpose}\n\n{commands_help(commands)}", settings_class, run, words)


def run_command(commands: Mapping[str, Command], name: str, arguments: Sequence[str]) -> NoReturn:
    """Run a command and exit with its code. Raises SettingsError for an unknown name."""
    if name not in commands:
        hint = did_you_mean(name, commands) or f"; the commands are {', '.join(commands)}"
        raise SettingsError(f"unknown command {name!r}{hint}")
    # Imported by name: a service does without what its commands need.
    module = importlib.import_module(commands[name].module)
    try:
        sys.exit(module.main(arguments))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def commands_help(commands: Mapping[str, Command]) -> str:
    """Return the list of commands that --help shows."""
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {command.purpose}" for name, command in commands.items()]
    return "\n".join(["commands, each with its own --help:", *lines])


def command_parser(command: str, purpose: str, more: str = "") -> argparse.ArgumentParser:
    """Return the parser of a command; `more` follows the arguments in its --help."""
    return argparse.ArgumentParser(
        prog=f"meterflow {command}",
        description=purpose,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
