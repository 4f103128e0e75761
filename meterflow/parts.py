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
    """What decides which parts to start; everything else each part reads for itself."""

    modbus_host: str | None = Field(None, description="The gateway; empty: simulated meters.")
    meters_file: Path = Field(Path("meters.toml"), description="Several gateways, as a file.")
    meter_ids: UnitIds = Field((1, 2, 3), description="Unit ids of the meters.")
    poll_interval: str | None = Field(None, description="Seconds between readings.")
    http_host: Host = Field("127.0.0.1", description="Where the pages are served.")
    http_port: Port = Field(8000, description="Port of the pages.")

    @property
    def simulates(self) -> bool:
        """Whether there is no meter to read but a simulated one."""
        given = "meters_file" in self.model_fields_set
        return not (self.modbus_host or given or self.meters_file.exists())


@dataclass(frozen=True, slots=True)
class Part:
    """A program to start, with what its environment has beyond ours."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The line that starts it again by hand."""
        python = Path(sys.executable)
        if python.is_relative_to(Path.cwd()):
            python = python.relative_to(Path.cwd())
        environment = [f"{name}={shlex.quote(v)}" for name, v in self.environment.items()]
        return " ".join([*environment, str(python), *map(shlex.quote, self.arguments)])


def service(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Part:
    """Return the part that is `python -m module`."""
    return Part(module.rpartition(".")[2], ("-m", module, *arguments), environment or {})


def parts(settings: RunSettings, simulator_port: int) -> tuple[list[Part], list[Part]]:
    """Return what to start besides the broker: beside it, and when broker and simulator listen.

    The second ones are quick to start and would begin their logs with a complaint.
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
