"""The demo, for anyone who has no gateway yet: a house with solar power, and its past year.

What it stores is in a directory of its own, so that none of it is ever in a real history.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from contract.errors import MeterflowError
from meterflow.parts import Part, service
from service.files import make_directory, replacing
from service.lifecycle import leave

DIRECTORY = Path("demo")
HISTORY = DIRECTORY / "energy_meters.db"
METERS_FILE = DIRECTORY / "meters.toml"
TARIFFS_FILE = Path(__file__).with_name("demo-tariffs.toml").resolve()
DAYS = 400
BAUD = 19200
IDS = ("house", "solar", "heat_pump", "workshop")
"""By unit id, as the simulator's homestead has them."""
ENVIRONMENT = {
    "DATABASE_URL": f"sqlite:///{HISTORY}",
    "JOURNAL_FILE": str(DIRECTORY / "journal.db"),
    "BROKER_STATE": str(DIRECTORY / "state"),
    "METERS_FILE": str(METERS_FILE),
    "TARIFFS_FILE": str(TARIFFS_FILE),
}
"""What the parts of the demo have instead of the settings of the same names."""
_GATEWAY = """\
# The meters of the demo; written at each start.
[[gateway]]
address = "127.0.0.1:{port}"
baud = {baud}
interval = 1
"""
_METER = """
[[gateway.meter]]
unit = {unit}
id = "{id}"
name = "{name}"
role = "{role}"
{parent}"""
_METERS = (
    ("Main meter", "grid"),
    ("Solar", "production"),
    ("Heat pump", "consumer"),
    ("Workshop", "consumer"),
)


def simulator(port: int) -> Part:
    """Return the part that simulates the meters."""
    units = ",".join(str(unit) for unit, _ in enumerate(IDS, start=1))
    meters = ("--units", units, "--homestead", "--baud", str(BAUD))
    return service("simulator", "--port", str(port), *meters)


def past() -> list[Part]:
    """Return the part that stores the past year until now, unless the demo has a history.

    It is called before the meters are read: their readings begin where the past ends.
    """
    if HISTORY.exists():
        return []
    return [Part("demo", ("-m", "meterflow.demo", str(int(time.time()))), ends=True)]


def write_meters_file(port: int) -> None:
    """Write the meters file for a simulator at a port of this machine."""
    make_directory(DIRECTORY)
    with replacing(METERS_FILE, text=True) as file:
        file.write(_GATEWAY.format(port=port, baud=BAUD))
        for unit, (meter_id, (name, role)) in enumerate(zip(IDS, _METERS, strict=True), start=1):
            parent = f'parent = "{IDS[0]}"\n' if unit > 1 else ""
            file.write(_METER.format(unit=unit, id=meter_id, name=name, role=role, parent=parent))


def store_past(until: str) -> None:
    """Store what the meters would have measured. Raises MeterflowError where that fails."""
    readings = DIRECTORY / "past.csv"
    with replacing(readings) as file:
        _run("simulator.past", str(DAYS), until, *IDS, output=file)
    _run("recorder", "import", str(readings), output=subprocess.DEVNULL)
    readings.unlink()
    sys.stdout.write("the past year of the demo's meters is stored\n")


def _run(module: str, *arguments: str, output: IO[bytes] | int) -> None:
    command = (sys.executable, "-m", module, *arguments)
    done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise MeterflowError(f"the demo has no past: {done.stderr.decode().strip()}")


if __name__ == "__main__":
    leave("demo", lambda: store_past(sys.argv[1]))
