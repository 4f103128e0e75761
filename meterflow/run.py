"""`meterflow run`: start all parts on this machine.

Each part is a process, and each line of its log begins with its name. If a part ends, that is
logged and the others continue. Ctrl-C stops all, the broker last, so that every `offline` arrives.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from contract.errors import MeterflowError
from meterflow import demo
from meterflow.parts import Choice, service
from meterflow.supervisor import Supervisor
from service.lifecycle import leave

SIMULATOR_PORT = 5020
START_S = 10.0
CALM_S = 1.0
"""The log has said what there is to say about the start when it is silent for so long."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all parts until Ctrl-C."""
    argparse.ArgumentParser(
        prog="meterflow run",
        description="Start all parts of Meterflow on this machine: the broker, the bridge, the "
        "recorder and the web service. Without MODBUS_HOST and meters.toml it shows a demo, "
        f"which is stored in {demo.DIRECTORY}/.",
        epilog="The settings are in the environment or in .env; .env.example lists those of all "
        "parts, and docs/settings.md says what they mean.",
    ).parse_args(arguments)
    leave("meterflow", lambda: run(read_choice(), sys.stdout))


def read_choice() -> Choice:
    """Return what the settings decide; exit as `meterflow.settings` does if one is wrong."""
    command = (sys.executable, "-m", "meterflow.settings")
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return Choice(*json.loads(done.stdout))


def run(choice: Choice, output: TextIO) -> None:
    """Run all parts until stopped. Raises MeterflowError if a port is in use, or all parts end."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(claimed_http(choice.http_host, choice.http_port))
        supervisor = Supervisor(output)
        supervisor.handle_signals()
        port = stack.enter_context(claimed_port(SIMULATOR_PORT)) if choice.demo else None
        _start(choice, supervisor, port)
        stopped = supervisor.wait()
        supervisor.stop_all()
    if not stopped:
        raise MeterflowError("all parts have ended; the lines above show why")


def _start(choice: Choice, supervisor: Supervisor, demo_port: int | None) -> None:
    """Start the parts; those that would begin with a warning when the others listen."""
    past = []
    if demo_port is not None:
        supervisor.print(
            f"no gateway is configured: this is a demo, stored in {demo.DIRECTORY}/ (its history: "
            f"DATABASE_URL={demo.ENVIRONMENT['DATABASE_URL']}); for your own meters, set "
            "MODBUS_HOST"
        )
        past = demo.past()
        demo.write_meters_file(demo_port)
        supervisor.environment = demo.ENVIRONMENT
    _start_broker(choice, supervisor)
    supervisor.start(service("web"))
    if demo_port is not None:
        supervisor.start(demo.simulator(demo_port))
        _wait_for("simulator", "127.0.0.1", demo_port, supervisor)
    _wait_for("broker", choice.mqtt_host, choice.mqtt_port, supervisor)
    for part in (service("recorder"), service("gateway_bridge"), *past):
        supervisor.start(part)
    _wait_for("web", choice.http_host, choice.http_port, supervisor)
    ends_s = time.monotonic() + START_S
    while supervisor.follow(CALM_S) and not supervisor.stopping and time.monotonic() < ends_s:
        pass
    if supervisor.runs("web") and not supervisor.stopping:
        supervisor.print(f"open {choice.url} in a browser; Ctrl-C stops all")


def _start_broker(choice: Choice, supervisor: Supervisor) -> None:
    host, port = choice.mqtt_host, choice.mqtt_port
    if _listens(host, port):
        supervisor.print(f"a broker already listens on {host}:{port}: using it")
    elif not choice.loopback:
        supervisor.print(f"no broker responds yet at MQTT_HOST {host}, port {port}; waiting for it")
    else:
        supervisor.start(service("broker"))


def _wait_for(name: str, host: str, port: int, supervisor: Supervisor) -> None:
    ends_s = time.monotonic() + START_S
    while supervisor.runs(name) and not _listens(host, port) and time.monotonic() < ends_s:
        supervisor.follow(0.03)


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.5):
        return True
    return False


@contextlib.contextmanager
def claimed_http(host: str, port: int) -> Iterator[None]:
    """Hold the UDP port of the same number, so that of two that start at once only one goes on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as claim:
        try:
            claim.bind((host, port))
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            raise MeterflowError(
                f"HTTP_PORT {port} on {host}: {os.strerror(error.errno or 0)}; "
                "if Meterflow is already running, stop it, or choose another HTTP_PORT "
                "(a second Meterflow also needs its own MQTT_PORT and DATABASE_URL)"
            ) from error
        yield


@contextlib.contextmanager
def claimed_port(preferred: int) -> Iterator[int]:
    """Yield a free port for a part to listen on: `preferred`, or another one where it is taken.

    Another `meterflow run` may start at the same time, before the part listens. So the UDP port of
    the same number, which no part uses, is held until the block ends. Raises MeterflowError.
    """
    for port in (preferred, 0):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            claim = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            claim.bind(("127.0.0.1", port))
            number = int(claim.getsockname()[1])
            socket.create_server(("127.0.0.1", number)).close()
            held = stack.pop_all()
            break
    else:
        raise MeterflowError("no free port on 127.0.0.1 for the simulator")
    with held:
        yield number
