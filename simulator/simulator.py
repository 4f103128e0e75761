"""The simulator as an object: meters on a line behind a gateway that listens on a port."""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway_bridge.models import MODELS, MeterModel
from gateway_bridge.models.model import Register, WordOrder
from simulator.bus import Bus, Clock, LineTiming, Statistics
from simulator.device import SimulatedMeter
from simulator.faults import Faults, SimulatorError
from simulator.frames import Framing
from simulator.gateway import Absent, Gateway, SerialClient, TcpClient


class Simulator:
    """Meters behind a gateway, as long as an `async with` lasts; `port` is where it listens.

    `units` are their unit ids. A meter is an SDM630 unless `models` gives another model. `clock`
    returns the time (seconds since 1970) that decides what the meters measure.
    """

    def __init__(
        self,
        units: Iterable[int] = (1, 2, 3),
        *,
        timing: LineTiming | None = None,
        framing: Framing = "tcp",
        models: Mapping[int, MeterModel] | None = None,
        seed: int = 1,
        clock: Clock = time.time,
        word_order: WordOrder = "high-first",
        absent: Absent = "silent",
        listen: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.host, self.port = listen
        chosen = models or {}
        self.meters = {
            unit: SimulatedMeter(unit, chosen.get(unit, MODELS["sdm630"]), seed) for unit in units
        }
        self.bus = Bus(
            self.meters,
            timing or LineTiming(),
            Faults(random.Random(seed)),
            clock=clock,
            word_order=word_order,
        )
        self.gateway = Gateway(self.bus, absent)
        self._framing = framing
        self._serial: list[SerialClient] = []
        self._listening: socket.socket | None = None
        self._accepting: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def statistics(self) -> Statistics:
        """What has passed on the line."""
        return self.bus.statistics

    async def __aenter__(self) -> Self:
        await self.start(self.port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> int:
        """Listen on a port (0: a free one) and return its number; raises SimulatorError."""
        self.port = self._open_port(port)
        if self.bus.faults.number("refuse") is not None:
            self._close_port()
        self._tasks = [
            asyncio.create_task(self.gateway.work(), name=f"line behind port {self.port}"),
            asyncio.create_task(self.gateway.watch(), name=f"gateway on port {self.port}"),
        ]
        return self.port

    def open_serial(self, path: Path) -> None:
        """Open the line at a pseudo-terminal `path` too, for masters without a gateway."""
        self._serial.append(SerialClient(self.gateway, path))

    async def stop(self) -> None:
        """Close the port and all connections."""
        self._close_port()
        while self._serial:
            self._serial.pop().end()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def set(self, unit: int, quantity: str, value: float) -> None:
        """Pin a quantity of a meter, or its `serial_number`, `system_type` or `netting`."""
        meter = self._meter(unit)
        if quantity == "serial_number":
            meter.serial_number = int(value)
        elif quantity == "system_type":
            meter.system_type = value
        elif quantity == "netting":
            meter.netting = bool(value)
        else:
            meter.pinned[self._register(meter, quantity)] = value

    def clear(self, unit: int, quantity: str | None = None) -> None:
        """Unpin a quantity of a meter, or all: they follow the load again."""
        meter = self._meter(unit)
        if quantity is None:
            meter.pinned.clear()
        else:
            meter.pinned.pop(self._register(meter, quantity), None)

    def fault(
        self,
        unit: int | None,
        name: str,
        argument: float | None = None,
        *,
        share: float = 1.0,
        times: int | None = None,
    ) -> None:
        """Switch a fault on, for a unit id or for the gateway (None); `FAULTS` lists them."""
        if unit is not None:
            self._meter(unit)
        self.bus.faults.switch_on(unit, name, argument, share=share, times=times)
        if name == "refuse":
            self._close_port()

    def mend(self, unit: int | None, name: str | None = None) -> None:
        """Switch one fault off, or all faults of a unit id (None: of the gateway)."""
        self.bus.faults.switch_off(unit, name)
        closed = self._listening is None and self._tasks
        if closed and self.bus.faults.number("refuse") is None:
            self._open_port(self.port)

    def _open_port(self, port: int) -> int:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        try:
            listening.bind((self.host, port))
            listening.listen(100)
        except OSError as error:
            listening.close()
            raise SimulatorError(
                f"cannot listen on {self.host}:{port}: {error.strerror or error}; "
                "choose another port"
            ) from error
        self._listening = listening
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)
        return int(listening.getsockname()[1])

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            connection.setblocking(False)
            # asyncio sets it only where the socket names its protocol. Without it an answer that
            # follows stray bytes waits for their acknowledgement.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self._serve(connection), name="a new client")
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

    async def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: TcpClient(self.gateway, self._framing), connection
            )

    def _close_port(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        for client in list(self.gateway.clients):
            client.reset()

    def _meter(self, unit: int) -> SimulatedMeter:
        if unit not in self.meters:
            raise SimulatorError(f"no meter {unit}; there are {', '.join(map(str, self.meters))}")
        return self.meters[unit]

    def _register(self, meter: SimulatedMeter, quantity: str) -> Register:
        register = meter.model.registers.get(quantity)
        if register is None:
            raise SimulatorError(f"{meter.model.title} has no quantity {quantity!r}")
        if register.parts > 1:
            raise SimulatorError(f"{quantity} of {meter.model.title} is a sum; set its parts")
        return register
