"""Which parts to start, and how."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Choice(NamedTuple):
    """What the settings decide: where the broker and the pages listen, which meters are read."""

    mqtt_host: str
    mqtt_port: int
    loopback: bool
    """Whether the broker listens on this machine only, so that it may be started here."""
    http_host: str
    http_port: int
    url: str
    """The pages' address in a browser on this machine."""
    demo: bool
    """Whether to show simulated meters: no gateway is configured."""


class Part(NamedTuple):
    """A program to start."""

    name: str
    arguments: tuple[str, ...]
    ends: bool = False
    """Whether it ends by itself, when it has done its work."""

    def command(self, environment: Mapping[str, str]) -> str:
        """Return the command line that starts the part again, with additions to the environment."""
        program = Path(sys.executable).with_name("meterflow")
        if program.is_relative_to(Path.cwd()):
            program = program.relative_to(Path.cwd())
        given = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
        verb = self.name.removeprefix("gateway_")
        return " ".join([*given, str(program), verb, *map(shlex.quote, self.arguments[2:])])


def service(module: str, *arguments: str) -> Part:
    """Return the part that is `python -m module`."""
    return Part(module.rpartition(".")[2], ("-m", module, *arguments))
