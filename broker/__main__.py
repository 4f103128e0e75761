"""Starts the MQTT broker: `python -m broker`."""

from broker.listener import check_listener
from broker.mosquitto import find_mosquitto, run_mosquitto
from broker.settings import BrokerSettings
from contract.errors import BusError
from contract.service import run_service


def main() -> None:
    """Start Mosquitto where it is installed, else the embedded broker."""
    run_service("broker", "Start the MQTT broker, for this machine only.", BrokerSettings, run)


def run(settings: BrokerSettings) -> None:
    """Be the broker that the settings ask for, until stopped.

    Raises BusError where it cannot listen, or where Mosquitto is wanted and missing.
    """
    check_listener(settings.mqtt_host, settings.mqtt_port)
    program = None if settings.broker == "embedded" else find_mosquitto()
    if program:
        run_mosquitto(program, settings.mqtt_host, settings.mqtt_port)
    if settings.broker == "mosquitto":
        raise BusError(
            "mosquitto is not installed: install it (Debian: apt install mosquitto), "
            "or set BROKER=embedded"
        )
    # Here, because amqtt takes longer to import than Mosquitto to start.
    from broker.embedded import run_embedded

    run_embedded(settings.mqtt_host, settings.mqtt_port)


if __name__ == "__main__":
    main()
