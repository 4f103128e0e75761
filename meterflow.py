"""`python -m meterflow`: all parts together on this machine, for `make run`.

Each part is a process of its own, and each line of its log begins with its name. A part that dies
is told, and the others go on. Ctrl-C stops all, the broker last, so that every goodbye arrives.
"""

import argparse
import asyncio
import contextlib
import ctypes
import os
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from pydantic import Field

from broker.settings import BrokerSettings, is_loopback
from contract import __version__
from contract.errors import PipelineError
from contract.service import leave
from contract.settings import Host, Port

SIMULATOR_PORT = 5020
SIMULATED = {"MODBUS_HOST": "127.0.0.1", "METER_IDS": "1,2,3", "POLL_INTERVAL": "1"}
BROKER_START_S = 10.0
STOP_S = 8.0
LONGEST_LINE = 1_000_000
STOP_LAST = {"broker", "simulator"}
_COLOURS = dict.fromkeys(("meterflow",), 1) | dict(
    zip(("broker", "simulator", "gateway_bridge", "recorder", "web"), range(32, 37), strict=True)
)
_WIDTH = max(map(len, _COLOURS))
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class RunSettings(BrokerSettings):
    """What decides which parts to start; everything else each part reads for itself."""

    modbus_host: str | None = Field(None, description="The gateway; empty: simulated meters.")
    meters_file: Path = Field(Path("meters.toml"), description="Several gateways, as a file.")
    meter_ids: str | None = Field(None, description="Unit ids of the meters.")
    poll_interval: str | None = Field(None, description="Seconds between readings.")
    http_host: Host = Field("127.0.0.1", description="Where the pages are served.")
    http_port: Port = Field(8000, description="Port of the pages.")

    @property
    def simulates(self) -> bool:
        """Whether there is no meter to read but a simulated one."""
        given = "meters_file" in self.model_fields_set
        return not (self.modbus_host or given or self.meters_file.exists())


@dataclass(frozen=True, slots=True)
class Part:
    """A program to start, with what its environment has beyond ours."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The line that starts it again by hand."""
        python = Path(sys.executable)
        if python.is_relative_to(Path.cwd()):
            python = python.relative_to(Path.cwd())
        environment = [f"{name}={shlex.quote(v)}" for name, v in self.environment.items()]
        return " ".join([*environment, str(python), *map(shlex.quote, self.arguments)])


def service(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Part:
    """Return the part that is `python -m module`."""
    return Part(module.rpartition(".")[2], ("-m", module, *arguments), environment or {})


def parts(settings: RunSettings, simulator_port: int) -> list[Part]:
    """Return what to start besides the broker."""
    if not settings.simulates:
        return [service("recorder"), service("web"), service("gateway_bridge")]
    environment = {**SIMULATED, "MODBUS_PORT": str(simulator_port)}
    for name in ("meter_ids", "poll_interval"):
        if getattr(settings, name):
            environment[name.upper()] = getattr(settings, name)
    units = environment["METER_IDS"].partition("#")[0].replace(" ", "")
    return [
        service("gateway_bridge.simulator", "--port", str(simulator_port), "--units", units),
        service("recorder"),
        service("web"),
        service("gateway_bridge", environment=environment),
    ]


class Supervisor:
    """Runs parts, passes on what they say, tells when one ends, and stops them all."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._colour = output.isatty()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._followers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._nothing_runs = asyncio.Event()

    def say(self, line: str, name: str = "meterflow") -> None:
        """Print a line of the log, with the name of the part whose it is."""
        head = f"{name:<{_WIDTH}} |"
        if self._colour:
            head = f"\x1b[{_COLOURS.get(name, 0)}m{head}\x1b[0m"
        with contextlib.suppress(BrokenPipeError):  # whoever read us has gone: no reason to stop
            print(head, line, file=self._output, flush=True)

    def runs(self, name: str) -> bool:
        """Tell whether a part has been started and has not ended."""
        return name in self._running

    async def start(self, part: Part) -> None:
        """Start a part, out of reach of the terminal's Ctrl-C, which is ours to pass on."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *part.arguments,
            env={**os.environ, **part.environment, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST_LINE,
            process_group=0,
            preexec_fn=_end_with_parent,
        )
        self._running[part.name] = process
        self._nothing_runs.clear()
        follower = asyncio.create_task(self._follow(part, process), name=part.name)
        self._followers.append(follower)

    async def wait(self) -> bool:
        """Wait for Ctrl-C or SIGTERM; False where all parts ended by themselves before."""
        waits = [asyncio.ensure_future(e.wait()) for e in (self._stop, self._nothing_runs)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for waiting in waits:
            waiting.cancel()
        return self._stop.is_set()

    async def stop_all(self) -> None:
        """End all parts: those that still have something to say to the broker first."""
        await self._end(name for name in self._running if name not in STOP_LAST)
        await self._end(self._running)
        await asyncio.gather(*self._followers)

    def asked_to_stop(self) -> None:
        """Note a Ctrl-C; a second one leaves nobody time for a goodbye."""
        if self._stop.is_set():
            for process in self._running.values():
                process.kill()
        else:
            self.say("stopping")
        self._stop.set()

    async def _end(self, names: Iterable[str]) -> None:
        ending = {name: self._running[name] for name in names}
        for process in ending.values():
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(
                asyncio.gather(*(process.wait() for process in ending.values())), STOP_S
            )
        for name, process in ending.items():
            if process.returncode is None:
                self.say(f"{name} does not stop in {STOP_S:.0f} s: killed")
                process.kill()

    async def _follow(self, part: Part, process: asyncio.subprocess.Process) -> None:
        async for line in _lines(process):
            self.say(line, part.name)
        code = await process.wait()
        del self._running[part.name]
        if not self._stop.is_set():
            self.say(
                f"{part.name} ended ({_reason(code)}); the others go on; "
                f"start it again with: {part.command}"
            )
        if not self._running:
            self._nothing_runs.set()


async def run(settings: RunSettings, output: TextIO) -> None:
    """Run all parts until stopped. Raises PipelineError where a port is taken, or all ended."""
    _check_http(settings.http_host, settings.http_port)
    supervisor = Supervisor(output)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.asked_to_stop)
    await _start_broker(settings, supervisor)
    if settings.simulates:
        supervisor.say("no MODBUS_HOST and no meters.toml: reading simulated meters")
    for part in parts(settings, _simulator_port()):
        await supervisor.start(part)
    opening = asyncio.create_task(_announce(settings, supervisor), name="announce")
    stopped = await supervisor.wait()
    opening.cancel()
    await supervisor.stop_all()
    if not stopped:
        raise PipelineError("all parts have ended; see above why")


async def _start_broker(settings: RunSettings, supervisor: Supervisor) -> None:
    host, port = settings.mqtt_host, settings.mqtt_port
    if _listens(host, port):
        supervisor.say(f"a broker listens on {host}:{port} already: using it")
    elif not is_loopback(host):
        supervisor.say(f"MQTT_HOST {host} is another machine, and no broker answers there yet")
    else:
        await supervisor.start(service("broker"))
        # The others would wait for it by themselves, but begin their log with a complaint.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BROKER_START_S):
                await _until_listens(host, port, lambda: supervisor.runs("broker"))


async def _announce(settings: RunSettings, supervisor: Supervisor) -> None:
    host = "127.0.0.1" if settings.http_host in {"0.0.0.0", "::"} else settings.http_host
    await _until_listens(host, settings.http_port, lambda: True)
    supervisor.say(f"open http://{f'[{host}]' if ':' in host else host}:{settings.http_port}")


async def _until_listens(host: str, port: int, worth_waiting: Callable[[], bool]) -> None:
    while worth_waiting() and not _listens(host, port):  # noqa: ASYNC110
        await asyncio.sleep(0.03)


async def _lines(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    assert process.stdout
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:  # a line longer than the limit: asyncio has thrown it away
            continue
        if not line:
            return
        yield line.decode("utf-8", "replace").rstrip()


def _reason(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"exit code {code}"


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
        raise PipelineError(
            f"HTTP_PORT {port} on {host}: {error.strerror or error}; is Meterflow running already? "
            "Stop it, or choose another HTTP_PORT"
        ) from error


def _simulator_port() -> int:
    for port in (SIMULATOR_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)) as probe:
            return int(probe.getsockname()[1])
    raise PipelineError("no free port on 127.0.0.1 for the simulator")


def _end_with_parent() -> None:
    if _libc is not None:  # so that nothing is left behind even when we are killed
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> None:
    """Run everything until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m meterflow", description="Run all parts of Meterflow on this machine."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.parse_args()
    leave("meterflow", lambda: asyncio.run(run(RunSettings.load(), sys.stdout)))


if __name__ == "__main__":
    main()
