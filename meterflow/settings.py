"""The settings that decide which parts to start, read by a process of its own.

`meterflow run` lives as long as its parts. It starts this module and takes what it prints, so that
the 14 MB of pydantic are gone when the parts run.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from broker.settings import BrokerSettings
from gateway_bridge.settings import UnitIds
from meterflow.parts import Choice
from service.errors import SettingsError
from service.lifecycle import leave
from service.settings import Host, Port, Settings, is_loopback, page_url
from service.zones import Zone

_PARTS = {
    "gateway_bridge.settings": "BridgeSettings",
    "recorder.settings": "RecorderSettings",
    "web.settings": "WebSettings",
}
"""Imported only to explain a mistake: the web takes half a second."""


class RunSettings(BrokerSettings):
    """The settings that decide which parts to start; each part reads its own."""

    modbus_host: str | None = Field(None, description="Gateway (empty = the demo).")
    meters_file: Path = Field(Path("meters.toml"), description="File with several gateways.")
    meter_ids: UnitIds = Field((1,), description="Unit ids of the meters.")
    http_host: Host = Field("127.0.0.1", description="Address of the pages.")
    http_port: Port = Field(8000, description="Port of the pages.")
    timezone: Zone | None = Field(None, description="Time zone of days and prices.")

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
            page_url(self.http_host, self.http_port),
            not (self.modbus_host or given or self.meters_file.exists()),
        )

    @model_validator(mode="after")
    def _check_gateway(self) -> Self:
        if self.choice.demo and "meter_ids" in self.model_fields_set:
            raise ValueError(
                "METER_IDS is set, but MODBUS_HOST, the address of their gateway, is not; to see "
                "the demo, remove METER_IDS"
            )
        return self


def choose() -> Choice:
    """Return what to start. Raises SettingsError with all that is wrong, for every part."""
    try:
        settings = RunSettings.load()
        if not is_loopback(settings.http_host):
            _check_exposure()
        return settings.choice
    except SettingsError as error:
        problems = [*str(error).splitlines(), *_problems_of_parts()]
        raise SettingsError("\n".join(dict.fromkeys(problems))) from error


def _check_exposure() -> None:
    from web.settings import WebSettings, check_exposure

    check_exposure(WebSettings.load())


def _problems_of_parts() -> Iterator[str]:
    """Yield what is wrong in the settings of the parts: they would report it one step later."""
    for module, name in _PARTS.items():
        settings: type[Settings] = getattr(importlib.import_module(module), name)
        try:
            settings.load()
        except SettingsError as error:
            yield from str(error).splitlines()


if __name__ == "__main__":
    leave("meterflow", lambda: json.dump(choose(), sys.stdout))
