"""What benchmarks of the whole share: `meterflow run` as a user starts it, and its processes."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.support.parts import ROOT, Part, free_port, listens, simulated_gateway, wait_until

BROKERS = ("mosquitto", "embedded")
PROGRAMS = 5
"""The launcher, broker, bridge, recorder and web."""
ONLY_FOR_TESTS = ("requests", "websocket")
"""Packages that the libraries of the web import if they are installed; `make run` installs none."""


class Process(NamedTuple):
    """A process by the name of its program."""

    name: str
    pid: int

    def proc(self, file: str) -> dict[str, int]:
        """Return the numbers of a file of /proc/PID, by name; empty if the process has ended."""
        try:
            text = Path(f"/proc/{self.pid}/{file}").read_text()
        except OSError:
            return {}
        rows = (row.split() for row in text.splitlines())
        return {row[0].rstrip(":"): int(row[1]) for row in rows if row[1:] and row[1].isdecimal()}

    @property
    def pss_mb(self) -> float:
        """Memory: its own, and its share of what it shares."""
        return self.proc("smaps_rollup").get("Pss", 0) / 1000

    @property
    def cpu_s(self) -> float:
        """CPU time that its threads have used, to the nanosecond."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9


class Whole:
    """`meterflow run` in a directory of its own, on free ports."""

    def __init__(
        self, directory: Path, python: str, broker: str, settings: dict[str, object]
    ) -> None:
        self.directory, self.mqtt, self.http = directory, free_port(), free_port()
        settings = {"BROKER": broker, "MQTT_PORT": self.mqtt, "HTTP_PORT": self.http} | settings
        self.part = Part(python, "-m", "meterflow", "run", directory=directory, **settings)

    def processes(self) -> list[Process]:
        """Return the process that was started, and those that it has started."""
        return list(_family(self.part.process.pid))

    def wait_until_complete(self, programs: int) -> None:
        """Wait until so many programs run and the pages are served."""
        wait_until(lambda: len(self.processes()) >= programs, what="all programs")
        wait_until(lambda: listens(self.http), what="the pages")
        self.part.wait_for("recorder       | ")


def _family(pid: int) -> Iterator[Process]:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    module = words[words.index("-m") + 1] if "-m" in words else ""
    program = module.partition(".")[0] or Path(words[0]).name
    yield Process(program, pid)
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


@contextmanager
def running(broker: str, settle_s: float, **settings: object) -> Iterator[Whole]:
    """Run the whole with three simulated meters, and wait so many seconds from its start on."""
    with TemporaryDirectory() as place, TemporaryDirectory() as missing:
        for name in ONLY_FOR_TESTS:
            Path(missing, f"{name}.py").write_text("raise ImportError\n")
        settings["PYTHONPATH"] = f"{ROOT}:{missing}"
        with simulated_gateway(Path(place), "1,2,3") as modbus:
            settings = {"POLL_INTERVAL": 1, **settings, **modbus}
            whole = Whole(Path(place), sys.executable, broker, settings)
            with whole.part:
                whole.wait_until_complete(PROGRAMS)
                time.sleep(settle_s)
                assert len(whole.processes()) == PROGRAMS, whole.part.output
                yield whole
