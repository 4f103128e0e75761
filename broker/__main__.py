"""Starts the MQTT broker: `python -m broker`; adds its users: `python -m broker add-user NAME`."""

import getpass
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from broker.listener import check_listener
from broker.mosquitto import find_mosquitto, run_mosquitto
from broker.settings import BrokerSettings
from broker.users import add_user
from service.errors import BrokerError
from service.lifecycle import leave, load, parser_for

PURPOSE = "Start the MQTT broker, for this machine only unless it has users."
SERVICE_USERS = Path("/etc/mosquitto/meters.passwd")
"""Where the drop-in for Debian's Mosquitto has them: deploy/mosquitto/meters.conf."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the broker, or add a user to it."""
    parser = parser_for("broker", PURPOSE, BrokerSettings)
    commands = parser.add_subparsers(dest="command", metavar="{add-user}", title="commands")
    adding = commands.add_parser("add-user", help="give a user a password, new or changed")
    adding.add_argument("name", help="name of the user; of a unit: its meter id")
    adding.add_argument("--file", type=Path, help="users file; default: BROKER_USERS_FILE")
    options = parser.parse_args(arguments)
    if options.command == "add-user":
        leave("broker", lambda: _add_user(options.name, options.file))
    leave("broker", lambda: run(load(BrokerSettings)))


def run(settings: BrokerSettings) -> None:
    """Be the broker that the settings ask for, until stopped.

    Raises BrokerError where it cannot listen, or where Mosquitto is wanted and missing.
    """
    check_listener(settings)
    program = None if settings.broker == "embedded" else find_mosquitto()
    if program:
        run_mosquitto(program, settings)
    if settings.broker == "mosquitto":
        raise BrokerError(
            "mosquitto is not installed: install it (Debian: apt install mosquitto), "
            "or set BROKER=embedded"
        )
    # Here, because amqtt takes longer to import than Mosquitto to start.
    from broker.server import run_embedded

    run_embedded(settings)


def _add_user(name: str, file: Path | None) -> None:
    """Ask for a password, make one up where none is given, and say what to do next."""
    known = BrokerSettings.load().broker_users_file
    path = file or known or _default_file()
    given = _ask_for_password(name)
    password = given or secrets.token_urlsafe(15)
    new = add_user(path, name, password)
    say = sys.stdout.write
    say(f"{name}: {'added to' if new else 'password changed in'} {path.absolute()}\n")
    if not given:
        say(f"password: {password}   (shown this once)\n")
    if path.absolute().is_relative_to("/etc/mosquitto"):
        say("Next: systemctl reload mosquitto\n")
    else:
        say("Next: nothing with the embedded broker; for Mosquitto kill -HUP its process\n")
        if path != known:
            say(f"Not known to the broker yet: put BROKER_USERS_FILE={path} into .env\n")


def _default_file() -> Path:
    return SERVICE_USERS if SERVICE_USERS.exists() else Path("state/broker.passwd")


def _ask_for_password(name: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"Password of {name} (empty: one is made up): ")
    return sys.stdin.readline().rstrip("\n")


if __name__ == "__main__":
    main()
