"""Which parts to start, and how."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

SIMULATED = {"MODBUS_HOST": "127.0.0.1", "POLL_INTERVAL": "1"}


class Choice(NamedTuple):
    """What the settings decide: where the broker and the pages listen, which meters are read."""

    mqtt_host: str
    mqtt_port: int
    loopback: bool
    """Whether the broker listens on this machine only, so that it may be started here."""
    http_host: str
    http_port: int
    simulated: str | None
    """Unit ids of simulated meters; None where real ones are configured."""
    poll_interval: str | None


class Part(NamedTuple):
    """A program to start, and what it adds to the environment."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = MappingProxyType({})

    @property
    def command(self) -> str:
        """The command line that starts the part again."""
        program = Path(sys.executable).with_name("meterflow")
        if program.is_relative_to(Path.cwd()):
            program = program.relative_to(Path.cwd())
        environment = [f"{name}={shlex.quote(v)}" for name, v in self.environment.items()]
        verb = self.name.removeprefix("gateway_")
        return " ".join([*environment, str(program), verb, *map(shlex.quote, self.arguments[2:])])


def service(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Part:
    """Return the part that is `python -m module`."""
    return Part(module.rpartition(".")[2], ("-m", module, *arguments), environment or {})


def parts(choice: Choice, simulator_port: int) -> tuple[list[Part], list[Part]]:
    """Return the parts to start with the broker, and those to start when it listens.

    The latter start fast: without a broker or a simulator their logs would begin with a warning.
    """
    units = choice.simulated
    if units is None:
        return [service("web")], [service("recorder"), service("gateway_bridge")]
    environment = {**SIMULATED, "METER_IDS": units, "MODBUS_PORT": str(simulator_port)}
    if choice.poll_interval:
        environment["POLL_INTERVAL"] = choice.poll_interval
    line = ("--port", str(simulator_port), "--units", units)
    return (
        [service("web"), service("simulator", *line)],
        [service("recorder"), service("gateway_bridge", environment=environment)],
    )
