"""Settings of the broker: which one, where it listens, and who may do what."""

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field

from service.settings import Settings


class BrokerSettings(Settings):
    """Which MQTT broker to start; it listens where the clients connect: MQTT_HOST, MQTT_PORT."""

    broker: Literal["auto", "mosquitto", "embedded"] = Field(
        "auto", description="auto (Mosquitto where installed), mosquitto or embedded."
    )
    broker_users_file: Path | None = Field(
        None, description="Users and passwords of the broker; empty: nobody is asked for one."
    )
    broker_acl_file: Path | None = Field(
        None, description="Who may publish and subscribe to what; empty: everyone to all."
    )


def is_loopback(host: str) -> bool:
    """Tell whether only programs of this machine can reach a listener at `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
