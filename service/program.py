"""A program that has settings: --help that lists them, the log, the start."""

import argparse
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from service import __version__
from service.lifecycle import leave, set_up_log
from service.settings import Settings, misspelt, names_in_env_file, shown

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=Settings)


def run_service(
    name: str,
    purpose: str,
    settings_class: type[S],
    run: Callable[[S], None],
    arguments: Sequence[str] | None = None,
) -> None:
    """Read the settings, call `run` with them, and exit."""
    parser = parser_for(name, purpose, settings_class)
    parser.parse_args(arguments)
    leave(name, lambda: run(load(settings_class)))


def load(settings_class: type[S]) -> S:
    """Return the settings, set up the log, and log the settings in one line."""
    settings = settings_class.load()
    set_up_log(settings.log_level)
    for problem in misspelt_settings(settings_class):
        logger.warning("%s", problem)
    logger.info("version %s starts; settings: %s", __version__, settings.summary())
    return settings


def misspelt_settings(settings_class: type[Settings]) -> Iterator[str]:
    """Yield a sentence for each setting whose name is nearly one of a program's."""
    known = {field.upper() for field in settings_class.model_fields}
    for given, meant in misspelt([*os.environ, *names_in_env_file()], known).items():
        yield f"setting {given}: unknown; did you mean {meant}?"


def parser_for(name: str, purpose: str, settings_class: type[Settings]) -> argparse.ArgumentParser:
    """Return a parser whose --help lists the settings: name, default, meaning."""
    parser = argparse.ArgumentParser(
        prog=f"meterflow {name.removeprefix('gateway_')}",
        description=purpose,
        epilog=settings_help(settings_class),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, purpose: str
) -> argparse.ArgumentParser:
    """Return the parser of a command below a program, whose own --help begins with its purpose."""
    description = f"{purpose[0].upper()}{purpose[1:]}."
    return commands.add_parser(name, help=purpose, description=description)


def settings_help(settings_class: type[Settings]) -> str:
    """Return the table of settings that --help shows."""
    lines = ["settings, from the environment or .env (name, default, meaning):"]
    width = max(map(len, settings_class.model_fields))
    for name, field in settings_class.model_fields.items():
        default = shown(field.get_default(call_default_factory=True))
        lines.append(f"  {name.upper():<{width}}  {default:<27}  {field.description}")
    return "\n".join(lines)
