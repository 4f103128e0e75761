"""Real parts for tests: services as processes on free ports, and waiting on conditions."""

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

import pytest

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""Options that let Chromium run without a sandbox, and offline."""
FIRST_PORT, PORTS = 10_000, 22_000
"""Ports that tests listen on: below those that Linux assigns to clients."""
WORKERS = 8
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
_turns = itertools.count(secrets.randbelow(PORTS // WORKERS))
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "TZ", "CI", "COMMIT_INTERVAL")


def require(program: str) -> str:
    """Return the path of a program that a test needs.

    Where it is missing the test is skipped with a reason; under CI=true it fails.
    """
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path:
        return path
    reason = f"{program} is not installed; tools/install-test-packages installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now.

    Neither the system assigns it to clients, nor may a test beside this one take it.
    """
    while True:
        port = FIRST_PORT + (next(_turns) * WORKERS + _worker) % PORTS
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def listens(port: int) -> bool:
    """Return whether something accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(
    condition: Callable[[], T], timeout_s: float = 30, what: str = "", *, each_s: float = 0.02
) -> T:
    """Return the value of `condition` as soon as it is true; fail when it never is.

    The condition is checked every `each_s`: less often where the check is expensive.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {what or condition}; last: {value!r}")
        time.sleep(each_s)


class Part:
    """A program of the project as a process of its own, with its output in a file."""

    def __init__(self, *command: str, directory: Path, **settings: object) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.output_file = (
            directory / f"{'-'.join(command[:2]).replace('/', '_')}-{time.time_ns()}.log"
        )
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        environment |= {name: str(value) for name, value in settings.items()}
        with self.output_file.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @classmethod
    def module(cls, name: str, *arguments: str, directory: Path, **settings: object) -> Self:
        """Start `python -m name`."""
        return cls(sys.executable, "-m", name, *arguments, directory=directory, **settings)

    @property
    def output(self) -> str:
        """What the process has printed so far."""
        return self.output_file.read_text(errors="replace")

    def wait_for(self, text: str, timeout_s: float = 30) -> None:
        """Wait until the process has printed `text`."""
        wait_until(lambda: text in self.output or self._gone(text), timeout_s, f"{text!r}")

    def _gone(self, text: str) -> bool:
        if self.process.poll() is not None and text not in self.output:
            raise AssertionError(f"ended with {self.process.returncode}:\n{self.output}")
        return False

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        """Stop the process and return its exit code; fail with where it hangs, if it does."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # Python prints the stack of each thread
            self.process.wait()
            raise AssertionError(f"does not end:\n{self.output}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()


@contextmanager
def simulated_gateway(
    directory: Path, units: str, **settings: object
) -> Iterator[dict[str, object]]:
    """Run a gateway with simulated meters, and give the settings of a bridge that reads them."""
    port = free_port()
    arguments = ("--port", str(port), "--units", units)
    with Part.module("simulator", *arguments, directory=directory, **settings):
        wait_until(lambda: listens(port), what="the simulator")
        yield {"MODBUS_HOST": "127.0.0.1", "MODBUS_PORT": port, "METER_IDS": units}
