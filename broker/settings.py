"""Settings of the broker: which one, and where it listens."""

import ipaddress
from typing import Literal

from pydantic import Field

from contract.settings import Settings


class BrokerSettings(Settings):
    """Which MQTT broker to start; it listens where the clients connect: MQTT_HOST, MQTT_PORT."""

    broker: Literal["auto", "mosquitto", "embedded"] = Field(
        "auto", description="auto (Mosquitto where installed), mosquitto or embedded."
    )


def is_loopback(host: str) -> bool:
    """Tell whether only programs of this machine can reach a listener at `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
