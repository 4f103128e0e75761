"""Mosquitto with the project's `mosquitto.conf`: find it, configure it, become it."""

import logging
import os
import re
import shutil
from pathlib import Path
from typing import NoReturn

from broker.recovery import fault_of_mosquitto_file, set_aside
from broker.rights import Rights
from broker.settings import BrokerSettings
from broker.users import read_users
from service.errors import BrokerError
from service.files import make_directory, replacing

logger = logging.getLogger(__name__)

CONFIGURATION = Path(__file__).with_name("mosquitto.conf").resolve()
"""A link to the repository's own; an installed package has a copy."""
_OUTSIDE_PATH = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


def find_mosquitto() -> str | None:
    """Return the path of the program; Debian installs it outside a user's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_OUTSIDE_PATH)


def run_mosquitto(program: str, settings: BrokerSettings) -> NoReturn:
    """Replace this process by Mosquitto, so that log, signals and exit code are Mosquitto's.

    Raises BrokerError if the configuration cannot be read or written, SettingsError if the file of
    users or of rights is invalid.
    """
    try:
        configuration = configuration_for(settings)
        stored = _stored_by(configuration)
        if fault := fault_of_mosquitto_file(stored):
            set_aside(stored, fault)
        address = f"{settings.mqtt_host}:{settings.mqtt_port}"
        logger.info(
            "mosquitto (%s) listens on %s; configuration: %s", program, address, configuration
        )
        os.execv(program, [program, "-c", str(configuration)])
    except OSError as error:
        raise BrokerError(f"mosquitto at {program}: {error}") from error


def configuration_for(settings: BrokerSettings) -> Path:
    """Return the project's configuration, or one derived from it for another address or users.

    A derived configuration and its broker's stored messages are in BROKER_STATE, named by the port.
    """
    port = settings.mqtt_port
    text = CONFIGURATION.read_text()
    listener = f"listener {port} {settings.mqtt_host}"
    access = _access(settings)
    state = settings.broker_state
    if listener in text.splitlines() and not access and state == _default_state():
        return CONFIGURATION
    make_directory(state)
    derived = state / f"mosquitto-{port}.conf"
    for setting in (
        listener,
        f"persistence_location {state}/",
        f"persistence_file mosquitto-{port}.db",
        *access[:1],
    ):
        text = re.sub(rf"(?m)^{setting.split()[0]} .*$", setting.replace("\\", "\\\\"), text)
    text = "\n".join((f"# Generated from {CONFIGURATION} at every start.", text, *access[1:]))
    with replacing(derived, text=True) as file:
        file.write(text)
    return derived


def _default_state() -> Path:
    return Path(BrokerSettings.model_fields["broker_state"].default)


def _stored_by(configuration: Path) -> Path:
    """Return the file in which Mosquitto stores messages over a restart."""
    found = dict(re.findall(r"(?m)^(persistence_\w+) (.+)$", configuration.read_text()))
    return Path(found["persistence_location"], found["persistence_file"])


def _access(settings: BrokerSettings) -> list[str]:
    """Return the lines that name the files of users and of rights."""
    users, rights = settings.broker_users_file, settings.broker_acl_file
    lines = [] if users is None else ["allow_anonymous false", f"password_file {users.absolute()}"]
    if users:
        read_users(users)
    if rights:
        Rights.load(rights)
        lines = [*(lines or ["allow_anonymous true"]), f"acl_file {rights.absolute()}"]
    return lines
