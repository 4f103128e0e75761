"""Whom the files of all services are readable for, whatever umask they are started with."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.parts import Part, free_port, listens, require, wait_until
from tests.support.plain_client import PlainClient

HISTORY = {"energy_meters.db", "energy_meters.db-wal", "energy_meters.db-shm", "copy.db"}


def start(module: str, *arguments: str, directory: Path, umask: int, **settings: object) -> Part:
    shell = f'umask {umask:03o}; exec "$@"'
    command = (sys.executable, "-m", module, *arguments)
    settings |= {"PYTHONDONTWRITEBYTECODE": 1}  # nobody could read what this umask lets it write
    return Part("sh", "-c", shell, "sh", *command, directory=directory, **settings)


def run(module: str, *arguments: str, directory: Path, umask: int, **settings: object) -> None:
    part = start(module, *arguments, directory=directory, umask=umask, **settings)
    assert part.process.wait(30) == 0, part.output


@pytest.mark.parametrize("umask", [0o000, 0o777])
@pytest.mark.parametrize("broker", ["embedded", "mosquitto"])
def test_files_are_for_their_owner_alone_and_the_history_for_its_group(
    tmp_path: Path, umask: int, broker: str
) -> None:
    if broker == "mosquitto":
        require("mosquitto")
    port, site = free_port(), tmp_path / "site"
    place = {"directory": site, "umask": umask}
    settings = {"MQTT_PORT": port, "BROKER": broker}
    gateway = {"MODBUS_HOST": "127.0.0.1", "MODBUS_PORT": free_port()}
    run("broker", "add-user", "someone", **place)
    with (
        start("broker", **place, **settings),
        start("recorder", **place, **settings) as recorder,
        start("gateway_bridge", **place, **settings, **gateway) as bridge,
    ):
        wait_until(lambda: listens(port), what="the broker")
        for part in (recorder, bridge):
            part.wait_for(": connected")
        with PlainClient(port) as client:
            ts = (datetime.now(UTC) - timedelta(days=1)).isoformat()
            client.publish("meters/1/reading", json.dumps({"ts": ts, "power": 1}), retain=True)
        recorder.wait_for("meter 1: first reading")
        wait_until(lambda: (site / "energy_meters.db-wal").exists())
        run("recorder", "backup", "copy.db", **place)
        run("recorder", "export", "readings.csv", **place)
        modes = modes_in(site)
        recorder.stop()
        bridge.stop()
    modes |= modes_in(site)

    assert modes.keys() > HISTORY
    assert {"readings.csv", "state/broker.passwd", "state/journal-gateway.db"} < modes.keys()
    for name, mode in modes.items():
        directory = (site / name).is_dir()
        assert mode == (0o640 if name in HISTORY else 0o700 if directory else 0o600), name


def modes_in(site: Path) -> dict[str, int]:
    """Return the modes of all files, except the logs of the tests themselves."""
    found = (path for path in site.rglob("*") if path.suffix != ".log")
    return {str(path.relative_to(site)): path.stat().st_mode & 0o777 for path in found}
