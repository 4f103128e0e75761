"""Which parts to start, and how."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from broker.settings import BrokerSettings
from gateway_bridge.settings import UnitIds
from service.settings import Host, Port

SIMULATED = {"MODBUS_HOST": "127.0.0.1", "POLL_INTERVAL": "1"}


class RunSettings(BrokerSettings):
    """The settings that decide which parts to start; each part reads its own."""

    modbus_host: str | None = Field(None, description="Gateway (empty = simulated meters).")
    meters_file: Path = Field(Path("meters.toml"), description="File with several gateways.")
    meter_ids: UnitIds = Field((1, 2, 3), description="Unit ids of the meters.")
    poll_interval: str | None = Field(None, description="Seconds between readings.")
    http_host: Host = Field("127.0.0.1", description="Address of the pages.")
    http_port: Port = Field(8000, description="Port of the pages.")

    @property
    def simulates(self) -> bool:
        """Whether no meter is configured, so that simulated ones are read."""
        given = "meters_file" in self.model_fields_set
        return not (self.modbus_host or given or self.meters_file.exists())


@dataclass(frozen=True, slots=True)
class Part:
    """A program to start, and what it adds to the environment."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

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


def parts(settings: RunSettings, simulator_port: int) -> tuple[list[Part], list[Part]]:
    """Return the parts to start with the broker, and those to start when it listens.

    The latter start fast: without a broker or a simulator their logs would begin with a warning.
    """
    if not settings.simulates:
        return [service("web")], [service("recorder"), service("gateway_bridge")]
    units = ",".join(map(str, settings.meter_ids))
    environment = {**SIMULATED, "METER_IDS": units, "MODBUS_PORT": str(simulator_port)}
    if settings.poll_interval:
        environment["POLL_INTERVAL"] = settings.poll_interval
    line = ("--port", str(simulator_port), "--units", units)
    return (
        [service("web"), service("simulator", *line)],
        [service("recorder"), service("gateway_bridge", environment=environment)],
    )
