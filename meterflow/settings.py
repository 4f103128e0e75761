"""The settings that decide which parts to start, read by a process of its own.

`meterflow run` lives as long as its parts. It starts this module and takes what it prints, so that
the 14 MB of pydantic are gone when the parts run.
"""

import json
import sys
from pathlib import Path

from pydantic import Field

from broker.settings import BrokerSettings
from gateway_bridge.settings import UnitIds
from meterflow.parts import Choice
from service.lifecycle import leave
from service.settings import Host, Port, is_loopback


class RunSettings(BrokerSettings):
    """The settings that decide which parts to start; each part reads its own."""

    modbus_host: str | None = Field(None, description="Gateway (empty = simulated meters).")
    meters_file: Path = Field(Path("meters.toml"), description="File with several gateways.")
    meter_ids: UnitIds = Field((1, 2, 3), description="Unit ids of the meters.")
    poll_interval: str | None = Field(None, description="Seconds between readings.")
    http_host: Host = Field("127.0.0.1", description="Address of the pages.")
    http_port: Port = Field(8000, description="Port of the pages.")

    @property
    def choice(self) -> Choice:
        """What to start, and where it listens."""
        given = "meters_file" in self.model_fields_set
        return Choice(
            self.mqtt_host,
            self.mqtt_port,
            is_loopback(self.mqtt_host),
            self.http_host,
            self.http_port,
            None
            if self.modbus_host or given or self.meters_file.exists()
            else ",".join(map(str, self.meter_ids)),
            self.poll_interval,
        )


def main() -> None:
    """Print what to start. Raises SettingsError for a wrong setting."""
    settings = RunSettings.load()
    if not is_loopback(settings.http_host):
        # Imported here because the web service takes 0.5 s to import.
        from web.settings import WebSettings, check_exposure

        check_exposure(WebSettings.load())
    json.dump(settings.choice, sys.stdout)


if __name__ == "__main__":
    leave("meterflow", main)
