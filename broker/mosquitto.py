"""Mosquitto with the project's `mosquitto.conf`: found, configured, and run in our place."""

import logging
import os
import re
import shutil
from pathlib import Path
from typing import NoReturn

from broker.recovery import damage_of, set_aside
from broker.rights import Rights
from broker.settings import BrokerSettings
from broker.users import read_users
from service.errors import BrokerError

logger = logging.getLogger(__name__)

CONFIGURATION = Path(__file__).parent.parent / "mosquitto.conf"
STATE = Path("state")
_OUTSIDE_PATH = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


def find_mosquitto() -> str | None:
    """Return where the program is; Debian keeps it where a user's PATH does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_OUTSIDE_PATH)


def run_mosquitto(program: str, settings: BrokerSettings) -> NoReturn:
    """Become Mosquitto: its log, its signals and its exit code are this process's own.

    Raises BrokerError where the configuration cannot be read or written, SettingsError where the
    file of users or of rights is not understood.
    """
    try:
        configuration = configuration_for(settings)
        kept = _kept_by(configuration)
        if damage := damage_of(kept):
            set_aside(kept, damage)
        address = f"{settings.mqtt_host}:{settings.mqtt_port}"
        logger.info("mosquitto (%s) listens on %s, by %s", program, address, configuration)
        os.execv(program, [program, "-c", str(configuration)])
    except OSError as error:
        raise BrokerError(f"mosquitto at {program}: {error}") from error


def configuration_for(settings: BrokerSettings) -> Path:
    """Return the project's configuration, or one derived from it for another address or users.

    A derived one and what its broker keeps lie in `state/`, named by the port.
    """
    port = settings.mqtt_port
    text = CONFIGURATION.read_text()
    listener = f"listener {port} {settings.mqtt_host}"
    access = _access(settings)
    if listener in text.splitlines() and not access:
        return CONFIGURATION
    STATE.mkdir(exist_ok=True)
    derived = STATE / f"mosquitto-{port}.conf"
    for setting in (
        listener,
        f"persistence_location {STATE}/",
        f"persistence_file mosquitto-{port}.db",
        *access[:1],
    ):
        text = re.sub(rf"(?m)^{setting.split()[0]} .*$", setting.replace("\\", "\\\\"), text)
    text = "\n".join((f"# Made from {CONFIGURATION} at each start.", text, *access[1:]))
    derived.write_text(text)
    return derived


def _kept_by(configuration: Path) -> Path:
    """Return the file in which a configuration has Mosquitto keep what must survive a restart."""
    said = dict(re.findall(r"(?m)^(persistence_\w+) (.+)$", configuration.read_text()))
    return Path(said["persistence_location"], said["persistence_file"])


def _access(settings: BrokerSettings) -> list[str]:
    """Return the lines that name users and rights; none where there are none."""
    users, rights = settings.broker_users_file, settings.broker_acl_file
    lines = [] if users is None else ["allow_anonymous false", f"password_file {users.absolute()}"]
    if users:
        read_users(users)
    if rights:
        Rights.load(rights)
        lines = [*(lines or ["allow_anonymous true"]), f"acl_file {rights.absolute()}"]
    return lines
