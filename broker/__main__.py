"""`meterflow broker`: start the MQTT broker; `meterflow broker add-user NAME`: add a user to it."""

import errno
import getpass
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from broker.mosquitto import find_mosquitto, run_mosquitto
from broker.settings import BrokerSettings
from broker.users import add_user
from service.errors import BrokerError
from service.lifecycle import leave
from service.program import add_command, load, parser_for
from service.settings import is_loopback

logger = logging.getLogger(__name__)

PURPOSE = "Start the MQTT broker. Without users it listens on this machine only."
SERVICE_USERS = Path("/etc/mosquitto/meters.passwd")
"""Users file of deploy/mosquitto/meters.conf, the drop-in for Debian's Mosquitto."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the broker, or add a user to it."""
    parser = parser_for("broker", PURPOSE, BrokerSettings)
    commands = parser.add_subparsers(dest="command", metavar="{add-user}", title="commands")
    adding = add_command(commands, "add-user", "add a user, or change a user's password")
    adding.add_argument("name", help="name of the user; for a device: its meter id")
    adding.add_argument("--file", type=Path, help="users file (default: BROKER_USERS_FILE)")
    options = parser.parse_args(arguments)
    if options.command == "add-user":
        leave("broker", lambda: _add_user(options.name, options.file))
    leave("broker", lambda: run(load(BrokerSettings)))


def run(settings: BrokerSettings) -> None:
    """Run the broker that the settings select, until it is stopped.

    Raises BrokerError if it cannot listen, or if Mosquitto is selected and not installed.
    """
    check_listener(settings)
    _warn_without_rights(settings)
    program = None if settings.broker == "embedded" else find_mosquitto()
    if program:
        run_mosquitto(program, settings)
    if settings.broker == "mosquitto":
        raise BrokerError(
            "mosquitto is not installed: install it (Debian: apt install mosquitto), "
            "or set BROKER=embedded"
        )
    run_embedded(settings)


def run_embedded(settings: BrokerSettings) -> NoReturn:
    """Replace this process by the embedded broker: without the 10 MB that read the settings."""
    files = (settings.broker_users_file, settings.broker_acl_file)
    listener = (
        *(settings.mqtt_host, settings.mqtt_port),
        *(str(path) if path else None for path in files),
        *(str(settings.broker_state), settings.log_level),
    )
    arguments = [sys.executable, "-m", "broker.server", json.dumps(listener)]
    os.execv(sys.executable, arguments)


def check_listener(settings: BrokerSettings) -> None:
    """Raise BrokerError if a broker without users would be open to a network, or cannot listen."""
    host, port = settings.mqtt_host, settings.mqtt_port
    if not is_loopback(host) and not settings.broker_users_file:
        raise BrokerError(
            f"MQTT_HOST {host} is reachable from the network, but no users are configured: set "
            "MQTT_HOST=127.0.0.1, or BROKER_USERS_FILE; or run Mosquitto as a service for the "
            "network (docs/brokers.md) and start no broker here"
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the broker does: connections in TIME_WAIT do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise BrokerError(_listener_fault(host, port, error)) from error


def _warn_without_rights(settings: BrokerSettings) -> None:
    host, rights = settings.mqtt_host, settings.broker_acl_file
    if settings.broker_users_file and not rights and not is_loopback(host):
        logger.warning(
            "MQTT_HOST %s is reachable from the network, and there are users but no rights: each "
            "user may publish for every meter, and as every part; set BROKER_ACL_FILE to a copy of "
            "deploy/mosquitto/meters.acl (docs/brokers.md, Users and rights)",
            host,
        )


def _listener_fault(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"MQTT_PORT {port} on {host} is in use: if a broker runs there, start no other; all "
            "parts use it. Otherwise choose another MQTT_PORT, or stop the program that listens "
            "there (Debian's own broker: systemctl stop mosquitto)"
        )
    if error.errno == errno.EACCES:
        return f"MQTT_PORT {port} on {host}: ports below 1024 need root; choose another"
    return f"MQTT_HOST {host}, MQTT_PORT {port}: {error.strerror or error}"


def _add_user(name: str, file: Path | None) -> None:
    """Read or generate a password, store it, and print what to do next."""
    configured = BrokerSettings.load().broker_users_file
    path = file or configured or _default_file()
    given = _read_password(name)
    password = given or secrets.token_urlsafe(15)
    new = add_user(path, name, password)
    write = sys.stdout.write
    write(f"{name}: {'added to' if new else 'password changed in'} {path.absolute()}\n")
    if not given:
        write(f"password: {password}   (shown only this once)\n")
    if path.absolute().is_relative_to("/etc/mosquitto"):
        write("Next: systemctl reload mosquitto\n")
    else:
        write("Next: nothing for the embedded broker; for Mosquitto: kill -HUP its process\n")
        if path != configured:
            write(f"The broker does not read this file yet: set BROKER_USERS_FILE={path} in .env\n")


def _default_file() -> Path:
    return SERVICE_USERS if SERVICE_USERS.exists() else Path("state/broker.passwd")


def _read_password(name: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"Password for {name} (empty: generate one): ")
    return sys.stdin.readline().rstrip("\n")


if __name__ == "__main__":
    main()
