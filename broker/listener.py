"""Whether a broker may and can listen at an address, and in words why not."""

import errno
import socket

from broker.settings import BrokerSettings, is_loopback
from service.errors import BrokerError


def check_listener(settings: BrokerSettings) -> None:
    """Raise BrokerError where a broker without users must not listen, or cannot."""
    host, port = settings.mqtt_host, settings.mqtt_port
    if not is_loopback(host) and not settings.broker_users_file:
        raise BrokerError(
            f"MQTT_HOST {host} is not of this machine alone, and the broker started here asks "
            "nobody for a password: set MQTT_HOST=127.0.0.1, or name users by BROKER_USERS_FILE, "
            "or for a network let Mosquitto run as a service (docs/brokers.md), and start none here"
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the broker itself does: connections that are just closing are no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise BrokerError(_in_words(host, port, error)) from error


def _in_words(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"MQTT_PORT {port} on {host} is taken: a broker is already running there? Then there "
            "is nothing to start: all parts will use it. Otherwise choose another MQTT_PORT, or "
            "stop what listens there (Debian's own broker: systemctl stop mosquitto)"
        )
    if error.errno == errno.EACCES:
        return f"MQTT_PORT {port} on {host}: ports below 1024 are for root; choose another"
    return f"MQTT_HOST {host}, MQTT_PORT {port}: {error.strerror or error}"
