"""Settings of the broker: which one, where it listens, its users and their rights."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from service.settings import Settings


class BrokerSettings(Settings):
    """Which MQTT broker to start; it listens where the clients connect: MQTT_HOST, MQTT_PORT."""

    broker: Literal["auto", "mosquitto", "embedded"] = Field(
        "auto",
        description="Broker to start: auto (Mosquitto if it is installed), mosquitto or embedded.",
    )
    broker_users_file: Path | None = Field(
        None, description="File of users and passwords (empty = no password needed)."
    )
    broker_acl_file: Path | None = Field(
        None, description="File of access rights (empty = every client may do everything)."
    )
    broker_state: Path = Field(
        Path("state"), description="Directory of the messages that the broker keeps."
    )
