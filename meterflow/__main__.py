"""`python -m meterflow`: start everything.

Each part is a process of its own, and each line of its log begins with its name. A part that dies
is told, and the others go on. Ctrl-C stops all, the broker last, so that every goodbye arrives.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from typing import TextIO

from broker.settings import is_loopback
from contract.errors import MeterflowError
from meterflow.parts import RunSettings, parts, service
from meterflow.supervisor import Supervisor
from service import __version__
from service.lifecycle import leave

SIMULATOR_PORT = 5020
START_S = 10.0


def main() -> None:
    """Run everything until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m meterflow", description="Run all parts of Meterflow on this machine."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.parse_args()
    leave("meterflow", lambda: asyncio.run(run(RunSettings.load(), sys.stdout)))


async def run(settings: RunSettings, output: TextIO) -> None:
    """Run all parts until stopped. Raises MeterflowError where a port is taken, or all ended."""
    _check_http(settings.http_host, settings.http_port)
    supervisor = Supervisor(output)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.asked_to_stop)
    await _start_broker(settings, supervisor)
    if settings.simulates:
        supervisor.say("no MODBUS_HOST and no meters.toml: reading simulated meters")
    simulator_port = _simulator_port()
    beside, after = parts(settings, simulator_port)
    for part in beside:
        await supervisor.start(part)
    await _wait_for("broker", settings.mqtt_host, settings.mqtt_port, supervisor)
    await _wait_for("simulator", "127.0.0.1", simulator_port, supervisor)
    for part in after:
        await supervisor.start(part)
    stopped = await supervisor.wait()
    await supervisor.stop_all()
    if not stopped:
        raise MeterflowError("all parts have ended; see above why")


async def _start_broker(settings: RunSettings, supervisor: Supervisor) -> None:
    host, port = settings.mqtt_host, settings.mqtt_port
    if _listens(host, port):
        supervisor.say(f"a broker listens on {host}:{port} already: using it")
    elif not is_loopback(host):
        supervisor.say(f"MQTT_HOST {host} is another machine, and no broker answers there yet")
    else:
        await supervisor.start(service("broker"))


async def _wait_for(name: str, host: str, port: int, supervisor: Supervisor) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while supervisor.runs(name) and not _listens(host, port):  # noqa: ASYNC110
                await asyncio.sleep(0.03)


def _listens(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.5):
        return True
    return False


def _check_http(host: str, port: int) -> None:
    try:
        socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ).close()
    except OSError as error:
        raise MeterflowError(
            f"HTTP_PORT {port} on {host}: {os.strerror(error.errno or 0)}; "
            "is Meterflow running already? Stop it, or choose another HTTP_PORT "
            "(a second Meterflow also needs an MQTT_PORT and a DATABASE_URL of its own)"
        ) from error


def _simulator_port() -> int:
    for port in (SIMULATOR_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)) as probe:
            return int(probe.getsockname()[1])
    raise MeterflowError("no free port on 127.0.0.1 for the simulator")


if __name__ == "__main__":
    main()
