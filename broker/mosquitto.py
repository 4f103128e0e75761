"""Mosquitto with the project's `mosquitto.conf`: found, configured, and run in our place."""

import logging
import os
import re
import shutil
from pathlib import Path
from typing import NoReturn

from contract.errors import BusError

logger = logging.getLogger(__name__)

CONFIGURATION = Path(__file__).parent.parent / "mosquitto.conf"
STATE = Path("state")
_OUTSIDE_PATH = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


def find_mosquitto() -> str | None:
    """Return where the program is; Debian keeps it where a user's PATH does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_OUTSIDE_PATH)


def run_mosquitto(program: str, host: str, port: int) -> NoReturn:
    """Become Mosquitto: its log, its signals and its exit code are this process's own.

    Raises BusError where the configuration cannot be read or written.
    """
    try:
        configuration = configuration_for(host, port)
        logger.info("mosquitto (%s) listens on %s:%d, by %s", program, host, port, configuration)
        os.execv(program, [program, "-c", str(configuration)])
    except OSError as error:
        raise BusError(f"mosquitto at {program}: {error}") from error


def configuration_for(host: str, port: int) -> Path:
    """Return the project's configuration, or one derived from it for another address.

    A derived one and what its broker keeps lie in `state/`, named by the port.
    """
    text = CONFIGURATION.read_text()
    listener = f"listener {port} {host}"
    if listener in text.splitlines():
        return CONFIGURATION
    STATE.mkdir(exist_ok=True)
    derived = STATE / f"mosquitto-{port}.conf"
    for setting in (
        listener,
        f"persistence_location {STATE}/",
        f"persistence_file mosquitto-{port}.db",
    ):
        text = re.sub(rf"(?m)^{setting.split()[0]} .*$", setting, text)
    derived.write_text(f"# Made from {CONFIGURATION} at each start.\n{text}")
    return derived
